// SPDX-License-Identifier: Apache-2.0
// Tagged frames on real devices: client -- bridge -- backend, the programs on
// both of the bridge's ports, where the kernel has taken the (outermost) tag
// out of the frame. This kernel has no VLAN devices, so client and backend have
// one of the test's own: a TAP whose frames get their tags from a thread, and
// give them back. Sockets, TCP and all, are the kernel's.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "tests/harness/scopes.h"
#include "tests/harness/sockets.h"
#include "tests/prog/tc_rows.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::prog {
namespace {

using harness::NetnsScope;
using harness::SocketFamily;

constexpr int kTcxIngress = 46;  // BPF_TCX_INGRESS, Linux 6.6
constexpr int kTcxEgress = 47;
constexpr uint16_t kOuter = 100;
constexpr uint16_t kInner = 7;
constexpr size_t kMacs = 12;

struct Tag {
  uint16_t type;
  uint16_t id;
};

// All frames of a device, with what the kernel says of each.
class Tap {
 public:
  Tap(const NetnsScope& netns, const std::string& device, int direction) {
    absl::Status opened = netns.Run([&]() -> absl::Status {
      fd_.reset(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      const int yes = 1;
      sockaddr_ll at = {};
      at.sll_family = AF_PACKET;
      at.sll_protocol = htons(ETH_P_ALL);
      at.sll_ifindex = static_cast<int>(if_nametoindex(device.c_str()));
      if (setsockopt(fd_.get(), SOL_PACKET, PACKET_AUXDATA, &yes,
                     sizeof yes) != 0 ||
          (direction == PACKET_HOST &&
           setsockopt(fd_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes,
                      sizeof yes) != 0) ||
          bind(fd_.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) {
        return ErrnoStatus(errno, "open", device);
      }
      return absl::OkStatus();
    });
    EXPECT_TRUE(opened.ok()) << opened;
  }
  int fd() const { return fd_.get(); }

  struct Frame {
    Bytes bytes;  // without the tag that is in the metadata
    std::optional<Tag> tag;
  };
  std::optional<Frame> Next() {
    Frame frame;
    frame.bytes.resize(2048);
    iovec data = {frame.bytes.data(), frame.bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(tpacket_auxdata))];
    msghdr message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t size = recvmsg(fd_.get(), &message, 0);
    if (size < 0) return std::nullopt;
    frame.bytes.resize(static_cast<size_t>(size));
    tpacket_auxdata aux = {};
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header != nullptr) std::memcpy(&aux, CMSG_DATA(header), sizeof aux);
    if (aux.tp_status & TP_STATUS_VLAN_VALID) {
      frame.tag = Tag{aux.tp_vlan_tpid,
                      static_cast<uint16_t>(aux.tp_vlan_tci & 0xfff)};
    }
    return frame;
  }

 private:
  UniqueFd fd_;
};

void Put16(Bytes* frame, size_t at, uint16_t value) {
  const uint8_t bytes[] = {static_cast<uint8_t>(value >> 8),
                           static_cast<uint8_t>(value)};
  frame->insert(frame->begin() + static_cast<std::ptrdiff_t>(at), bytes,
                bytes + 2);
}

uint16_t Get16(const Bytes& frame, size_t at) {
  return static_cast<uint16_t>(frame[at] << 8 | frame[at + 1]);
}

// The device v0 of a namespace, whose frames are tagged ones on `under`.
// `tags`: the outermost first.
class VlanDevice {
 public:
  VlanDevice(const NetnsScope& netns, const std::string& under,
             std::vector<Tag> tags)
      : tags_(std::move(tags)),
        under_(netns, under, PACKET_HOST),
        stop_(eventfd(0, EFD_CLOEXEC)) {
    absl::Status opened = netns.Run([&]() -> absl::Status {
      device_.reset(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
      ifreq request = {};
      std::strncpy(request.ifr_name, "v0", IFNAMSIZ - 1);
      request.ifr_flags = IFF_TAP | IFF_NO_PI;
      if (ioctl(device_.get(), TUNSETIFF, &request) != 0) {
        return ErrnoStatus(errno, "open", "/dev/net/tun");
      }
      return absl::OkStatus();
    });
    EXPECT_TRUE(opened.ok()) << opened;
    thread_ = std::thread([this] { Carry(); });
  }
  ~VlanDevice() {
    (void)eventfd_write(stop_.get(), 1);
    thread_.join();
  }

  // Frames for us that had other tags, or none.
  int strangers() const { return strangers_; }
  int frames() const { return frames_; }

 private:
  void Carry() {
    for (;;) {
      pollfd ready[] = {{device_.get(), POLLIN, 0},
                        {under_.fd(), POLLIN, 0},
                        {stop_.get(), POLLIN, 0}};
      (void)poll(ready, 3, -1);
      if (ready[2].revents != 0) return;
      Bytes frame(2048);
      const ssize_t size = read(device_.get(), frame.data(), frame.size());
      if (size > 0) {
        frame.resize(static_cast<size_t>(size));
        Send(std::move(frame));
      }
      if (auto arrived = under_.Next()) Receive(*std::move(arrived));
    }
  }

  void Send(Bytes frame) {
    for (size_t i = tags_.size(); i-- > 0;) {
      Put16(&frame, kMacs, tags_[i].id);
      Put16(&frame, kMacs, tags_[i].type);
    }
    (void)!send(under_.fd(), frame.data(), frame.size(), 0);
  }

  void Receive(Tap::Frame frame) {
    bool ours = frame.tag.has_value() && frame.tag->id == tags_[0].id &&
                frame.tag->type == tags_[0].type;
    for (size_t i = 1; ours && i < tags_.size(); ++i) {
      ours = Get16(frame.bytes, kMacs) == tags_[i].type &&
             Get16(frame.bytes, kMacs + 2) == tags_[i].id;
      frame.bytes.erase(frame.bytes.begin() + kMacs,
                        frame.bytes.begin() + kMacs + 4);
    }
    ++(ours ? frames_ : strangers_);
    if (!ours) return;
    (void)!write(device_.get(), frame.bytes.data(), frame.bytes.size());
  }

  std::vector<Tag> tags_;
  Tap under_;
  UniqueFd device_;
  UniqueFd stop_;
  std::atomic<int> frames_ = 0;
  std::atomic<int> strangers_ = 0;
  std::thread thread_;
};

struct Setting {
  bool ipv6;
  bool stacked;  // a second tag, which stays in the frame
  bool masquerade;
};

class TcVlan : public testing::TestWithParam<Setting> {
 protected:
  static NetnsScope MakeNetns() {
    auto netns = NetnsScope::Create();
    EXPECT_TRUE(netns.ok()) << netns.status();
    return *std::move(netns);
  }
  void Sh(const NetnsScope& netns, const std::string& command) {
    auto output = netns.Command("set -e; " + command);
    ASSERT_TRUE(output.ok()) << output.status();
  }

  static void SetUpTestSuite() { run_ = new TcRun; }
  static void TearDownTestSuite() { delete run_; }

  void SetUp() override {
    run_->Clear();
    // Nobody but v0 has anything to say.
    for (const NetnsScope* netns : {&client_, &node_, &backend_}) {
      Sh(*netns, "sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
    }
    Sh(client_, "sysctl -qw net.ipv4.tcp_syn_retries=2");
    ASSERT_TRUE(AddVethPair(client_, "c0", node_, "p0").ok());
    ASSERT_TRUE(AddVethPair(node_, "p1", backend_, "b0").ok());
    Sh(node_,
       "ip link add br0 type bridge mcast_snooping 0; ip link set br0 up; "
       "ip link set p0 master br0; ip link set p1 master br0");
    std::vector<Tag> tags = {{ETH_P_8021Q, kOuter}};
    if (GetParam().stacked) {
      tags = {{ETH_P_8021AD, kOuter}, {ETH_P_8021Q, kInner}};
    }
    client_device_.emplace(client_, "c0", tags);
    backend_device_.emplace(backend_, "b0", tags);
    Address(client_, "02:00:00:00:05:01", client_ip());
    Address(backend_, "02:00:00:00:05:02", backend_ip());
    // The VIP is where the backend is, and the masqueraded client the client:
    // the bridge only looks at hardware addresses.
    Sh(client_, Neighbour(vip(), "02:00:00:00:05:02"));
    Sh(backend_, Neighbour(masquerade(), "02:00:00:00:05:01"));
    for (const char* port : {"p0", "p1"}) {
      Attach(port, Hook::kIngress, kTcxIngress);
      Attach(port, Hook::kEgress, kTcxEgress);
    }
    Serve();
  }
  void TearDown() override {
    for (int link : links_) close(link);
  }

  void Address(const NetnsScope& netns, const std::string& mac,
               const std::string& ip) {
    Sh(netns, StrCat("sysctl -qw net.ipv6.conf.v0.disable_ipv6=0; ",
                     "ip link set v0 address ", mac, " mtu 1400; ",
                     "ip link set v0 up; ip addr add ", ip,
                     GetParam().ipv6 ? "/64 dev v0 nodad" : "/24 dev v0"));
  }
  std::string Neighbour(const std::string& ip, const std::string& mac) const {
    return StrCat("ip route add ", ip, " dev v0; ip neigh add ", ip,
                  " lladdr ", mac, " dev v0 nud permanent");
  }
  void Attach(const std::string& device, Hook hook, int type) {
    auto index = DeviceIndex(node_, device);
    ASSERT_TRUE(index.ok());
    const absl::Status attached = node_.Run([&]() -> absl::Status {
      const int link =
          bpf_link_create(run_->program_fd(hook), *index,
                          static_cast<bpf_attach_type>(type), nullptr);
      if (link < 0) return ErrnoStatus(errno, "attach", device);
      links_.push_back(link);
      return absl::OkStatus();
    });
    ASSERT_TRUE(attached.ok()) << attached;
  }
  void Serve() {
    for (uint8_t proto : {6, 17}) {
      run_->AddBackend(proto, backend_ip(), 8080, proto);
      run_->AddFrontend(
          {.address = vip(),
           .protocol = proto,
           .backends = {proto},
           .flags = GetParam().masquerade ? uint32_t{FL_SERVICE_MASQ_OUTSIDE}
                                          : 0});
    }
  }

  std::string client_ip() const {
    return GetParam().ipv6 ? "2001:db8:50::1" : "192.0.2.10";
  }
  std::string backend_ip() const {
    return GetParam().ipv6 ? "2001:db8:50::2" : "192.0.2.20";
  }
  std::string vip() const {
    return GetParam().ipv6 ? "2001:db8:2::1" : "198.51.100.1";
  }
  std::string masquerade() const {
    return GetParam().ipv6 ? kMasquerade6 : kMasquerade4;
  }
  L4Address Frontend(Protocol protocol) const {
    return {*IpAddress::Parse(vip()), 80, protocol};
  }
  UniqueFd Open(const NetnsScope& netns, const L4Address& peer) {
    UniqueFd fd;
    EXPECT_TRUE(netns
                    .Run([&] {
                      fd = harness::OpenSocket(peer, SocketFamily::kNative);
                      return absl::OkStatus();
                    })
                    .ok());
    return fd;
  }
  UniqueFd Listen(Protocol protocol) {
    const L4Address at = {*IpAddress::Parse(backend_ip()), 8080, protocol};
    UniqueFd fd = Open(backend_, at);
    sockaddr_storage address = {};
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address);
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address);
    if (GetParam().ipv6) {
      v6->sin6_family = AF_INET6;
      v6->sin6_port = htons(at.port);
    } else {
      v4->sin_family = AF_INET;
      v4->sin_port = htons(at.port);
    }
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address),
                   GetParam().ipv6 ? sizeof *v6 : sizeof *v4),
              0);
    EXPECT_TRUE(protocol == Protocol::kUdp || listen(fd.get(), 8) == 0);
    return fd;
  }
  std::string Seen() const {
    return GetParam().masquerade ? masquerade() : client_ip();
  }

  inline static TcRun* run_ = nullptr;
  NetnsScope client_ = MakeNetns(), node_ = MakeNetns(),
             backend_ = MakeNetns();
  std::optional<VlanDevice> client_device_, backend_device_;
  std::vector<int> links_;
};

INSTANTIATE_TEST_SUITE_P(
    All, TcVlan,
    testing::Values(Setting{false, false, false}, Setting{false, false, true},
                    Setting{false, true, false}, Setting{false, true, true},
                    Setting{true, false, false}, Setting{true, false, true},
                    Setting{true, true, false}, Setting{true, true, true}),
    [](const auto& info) {
      return std::string(info.param.ipv6 ? "V6" : "V4") +
             (info.param.stacked ? "Stacked" : "") +
             (info.param.masquerade ? "Masqueraded" : "");
    });

TEST_P(TcVlan, ConnectionsAndDatagrams) {
  // Sees the port's frames as the program will: with the tag out of them.
  Tap port(node_, "p0", PACKET_OUTGOING);
  UniqueFd tcp = Listen(Protocol::kTcp), udp = Listen(Protocol::kUdp);

  UniqueFd stream = Open(client_, Frontend(Protocol::kTcp));
  ASSERT_EQ(harness::Connect(stream.get(), Frontend(Protocol::kTcp),
                             SocketFamily::kNative),
            0);
  UniqueFd accepted = harness::Accept(tcp.get());
  ASSERT_TRUE(accepted.valid());
  EXPECT_EQ(harness::PeerName(accepted.get())->address.ToString(), Seen());
  std::string sent(1 << 20, 0), received(1 << 20, 1);
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = char(i * 7 + i / 251);
  std::thread writer([&] {
    EXPECT_EQ(send(accepted.get(), sent.data(), sent.size(), 0),
              static_cast<ssize_t>(sent.size()));
  });
  EXPECT_EQ(recv(stream.get(), received.data(), received.size(), MSG_WAITALL),
            static_cast<ssize_t>(received.size()));
  writer.join();
  EXPECT_TRUE(sent == received);

  UniqueFd datagrams = Open(client_, Frontend(Protocol::kUdp));
  for (const char* text : {"1", "two", "drei"}) {
    ASSERT_EQ(harness::SendTo(datagrams.get(), Frontend(Protocol::kUdp),
                              SocketFamily::kNative, text),
              0);
    auto got = harness::Receive(udp.get());
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(got->text, text);
    EXPECT_EQ(got->from.address.ToString(), Seen());
    ASSERT_EQ(harness::SendTo(udp.get(), got->from, SocketFamily::kNative,
                              "answer"),
              0);
    auto answer = harness::Receive(datagrams.get());
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(answer->from.ToString(), Frontend(Protocol::kUdp).ToString());
  }

  // All of it was tagged, the whole way.
  EXPECT_EQ(client_device_->strangers() + backend_device_->strangers(), 0);
  EXPECT_GT(client_device_->frames(), 700);
  int metadata = 0;
  while (auto frame = port.Next()) {
    if (!frame->tag.has_value() || frame->tag->id != kOuter) continue;
    const uint16_t behind = Get16(frame->bytes, kMacs);
    EXPECT_EQ(behind == ETH_P_8021Q, GetParam().stacked) << behind;
    ++metadata;
  }
  EXPECT_GT(metadata, 20);
}

}  // namespace
}  // namespace fairlead::prog
