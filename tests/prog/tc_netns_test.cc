// SPDX-License-Identifier: Apache-2.0
// The packet path under real sockets: client -- router -- backend, three
// namespaces joined by veths with all offloads on (so checksums are partial
// and segments are large), the programs attached to both of the router's
// devices. The router's reverse-path filter is strict.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <thread>

#include "tests/harness/scopes.h"
#include "tests/prog/tc_rows.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::prog {
namespace {

using harness::NetnsScope;

constexpr int kTcxIngress = 46;  // BPF_TCX_INGRESS, Linux 6.6
constexpr int kTcxEgress = 47;
constexpr int kDeadlineMs = 10000;

sockaddr_storage SocketAddress(const std::string& address, uint16_t port) {
  sockaddr_storage storage = {};
  auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  if (inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
  } else {
    inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
  }
  return storage;
}

std::string AddressText(const sockaddr_storage& storage) {
  char text[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET) {
    inet_ntop(AF_INET,
              &reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr, text,
              sizeof(text));
  } else {
    inet_ntop(AF_INET6,
              &reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr, text,
              sizeof(text));
  }
  return text;
}

bool Readable(int fd) {
  pollfd poller = {.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&poller, 1, kDeadlineMs) == 1;
}

void SetDeadline(int fd) {
  timeval tv = {.tv_sec = kDeadlineMs / 1000, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

uint64_t Sum(const std::string& data, uint64_t sum = 0) {
  for (unsigned char c : data) sum = sum * 31 + c;
  return sum;
}

class TcNetns : public testing::TestWithParam<bool> {
 protected:
  bool ipv6() const { return GetParam(); }
  std::string client_ip() const {
    return ipv6() ? "2001:db8:1::10" : "192.0.2.10";
  }
  std::string backend_ip() const {
    return ipv6() ? "2001:db8:10:1::5" : "10.1.1.5";
  }
  std::string vip() const { return ipv6() ? "2001:db8:2::1" : "198.51.100.1"; }
  std::string node_ip() const { return ipv6() ? "2001:db8:1::1" : "192.0.2.1"; }
  std::string masquerade() const {
    return ipv6() ? kMasquerade6 : kMasquerade4;
  }

  static NetnsScope MakeNetns() {
    auto netns = NetnsScope::Create();
    EXPECT_TRUE(netns.ok()) << netns.status();
    return *std::move(netns);
  }
  void Sh(const NetnsScope& netns, const std::string& command) {
    auto output = netns.Command(command);
    ASSERT_TRUE(output.ok()) << output.status();
  }

  static void SetUpTestSuite() {
    fl_config config = TcRun::DefaultConfig();
    config.source_port_max = config.source_port_min + 2000;
    run_ = new TcRun(config);
  }
  static void TearDownTestSuite() { delete run_; }
  void SetUp() override {
    run_->Clear();
    ASSERT_TRUE(AddVethPair(client_, "c0", router_, "r0").ok());
    ASSERT_TRUE(AddVethPair(router_, "r1", backend_, "b0").ok());
    for (const char* key : {"ipv4/ip_forward", "ipv6/conf/all/forwarding",
                            "ipv4/conf/all/rp_filter"}) {
      Sh(router_, StrCat("echo 1 > /proc/sys/net/", key));
    }
    Address(client_, "c0", "192.0.2.10/24", "2001:db8:1::10/64");
    Address(router_, "r0", "192.0.2.1/24", "2001:db8:1::1/64");
    Address(router_, "r1", "10.1.1.1/24", "2001:db8:10:1::1/64");
    Address(backend_, "b0", "10.1.1.5/24", "2001:db8:10:1::5/64");
    Sh(client_, "ip route add default via 192.0.2.1");
    Sh(client_, "ip -6 route add default via 2001:db8:1::1");
    Sh(backend_, "ip route add default via 10.1.1.1");
    Sh(backend_, "ip -6 route add default via 2001:db8:10:1::1");
    for (const char* device : {"r0", "r1"}) {
      Attach(device, Hook::kIngress, kTcxIngress);
      Attach(device, Hook::kEgress, kTcxEgress);
    }
  }
  void TearDown() override {
    for (int link : links_) close(link);
  }

  void Address(const NetnsScope& netns, const std::string& device,
               const std::string& v4, const std::string& v6) {
    Sh(netns, StrCat("ip addr add ", v4, " dev ", device));
    Sh(netns, StrCat("ip addr add ", v6, " dev ", device, " nodad"));
  }

  void Attach(const std::string& device, Hook hook, int type) {
    auto index = DeviceIndex(router_, device);
    ASSERT_TRUE(index.ok());
    ASSERT_TRUE(router_
                    .Run([&] {
                      int link = bpf_link_create(
                          run_->program_fd(hook), *index,
                          static_cast<bpf_attach_type>(type), nullptr);
                      if (link < 0) return ErrnoStatus(errno, "attach", device);
                      links_.push_back(link);
                      return absl::OkStatus();
                    })
                    .ok());
  }

  // One backend, both protocols, behind {address, 80}.
  void Serve(const std::string& address, uint16_t port, uint32_t flags) {
    for (uint8_t protocol : {6, 17}) {
      run_->AddBackend(protocol, backend_ip(), 8080, protocol);
      run_->AddFrontend({.address = address,
                         .port = port,
                         .protocol = protocol,
                         .backends = {protocol},
                         .flags = flags});
    }
  }

  UniqueFd Socket(const NetnsScope& netns, int type) {
    UniqueFd fd;
    EXPECT_TRUE(netns
                    .Run([&] {
                      fd.reset(socket(ipv6() ? AF_INET6 : AF_INET,
                                      type | SOCK_CLOEXEC, 0));
                      return absl::OkStatus();
                    })
                    .ok());
    SetDeadline(fd.get());
    return fd;
  }
  int Connect(int fd, const std::string& address, uint16_t port) {
    sockaddr_storage to = SocketAddress(address, port);
    return connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)) ? errno
                                                                     : 0;
  }
  UniqueFd Listen(int type) {
    UniqueFd fd = Socket(backend_, type);
    sockaddr_storage at = SocketAddress(backend_ip(), 8080);
    int one = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
    if (type == SOCK_STREAM) {
      EXPECT_EQ(listen(fd.get(), 8), 0);
    }
    return fd;
  }

  // Sends `bytes` from `from` to address:port, and the backend sends them all
  // back; returns the client's address as the backend sees it.
  std::string Bulk(const NetnsScope& from, const std::string& address,
                   uint16_t port, size_t bytes) {
    UniqueFd server = Listen(SOCK_STREAM), client = Socket(from, SOCK_STREAM);
    int error = Connect(client.get(), address, port);
    EXPECT_EQ(error, 0) << strerror(error);
    if (error || !Readable(server.get())) return "no connection";
    sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    UniqueFd accepted(accept4(server.get(), reinterpret_cast<sockaddr*>(&peer),
                              &size, SOCK_CLOEXEC));
    SetDeadline(accepted.get());
    std::thread echo([&] {
      std::string buffer(1 << 16, 0);
      ssize_t n;
      while ((n = recv(accepted.get(), buffer.data(), buffer.size(), 0)) > 0) {
        for (ssize_t sent = 0, one; sent < n; sent += one) {
          one = send(accepted.get(), buffer.data() + sent, n - sent,
                     MSG_NOSIGNAL);
          if (one < 0) return;
        }
      }
      shutdown(accepted.get(), SHUT_WR);
    });
    std::string chunk(1 << 16, 0);
    for (size_t i = 0; i < chunk.size(); i++) chunk[i] = char(i * 7 + i / 251);
    uint64_t sent_sum = 0, received_sum = 0;
    size_t received = 0;
    std::thread sender([&] {
      for (size_t sent = 0; sent < bytes; sent += chunk.size()) {
        sent_sum = Sum(chunk, sent_sum);
        for (size_t at = 0; at < chunk.size();) {
          ssize_t n = send(client.get(), chunk.data() + at, chunk.size() - at,
                           MSG_NOSIGNAL);
          if (n < 0) return;
          at += n;
        }
      }
      shutdown(client.get(), SHUT_WR);
    });
    std::string buffer(1 << 16, 0);
    ssize_t n;
    while ((n = recv(client.get(), buffer.data(), buffer.size(), 0)) > 0) {
      received_sum = Sum(buffer.substr(0, n), received_sum);
      received += n;
    }
    sender.join();
    echo.join();
    EXPECT_EQ(received, bytes);
    EXPECT_EQ(received_sum, sent_sum);
    return AddressText(peer);
  }

  // One datagram there and back, of each size; the last client address seen.
  std::string Datagrams(const NetnsScope& from, const std::string& address,
                        uint16_t port) {
    UniqueFd server = Listen(SOCK_DGRAM), client = Socket(from, SOCK_DGRAM);
    EXPECT_EQ(Connect(client.get(), address, port), 0);
    sockaddr_storage peer = {};
    // The last ones come in fragments, both ways.
    for (size_t size : {1, 2, 17, 500, 1399, 1600, 9000}) {
      std::string text(size, char(size)), buffer(10000, 0);
      EXPECT_EQ(send(client.get(), text.data(), size, 0), ssize_t(size));
      socklen_t peer_size = sizeof(peer);
      ssize_t n = recvfrom(server.get(), buffer.data(), buffer.size(), 0,
                           reinterpret_cast<sockaddr*>(&peer), &peer_size);
      if (n != ssize_t(size)) return StrCat("request of ", size, " lost");
      sendto(server.get(), buffer.data(), n, 0,
             reinterpret_cast<sockaddr*>(&peer), peer_size);
      // Connected: only the frontend's answer is received.
      n = recv(client.get(), buffer.data(), buffer.size(), 0);
      if (n != ssize_t(size)) return StrCat("answer of ", size, " lost");
      EXPECT_EQ(buffer.substr(0, n), text);
    }
    return AddressText(peer);
  }

  void ExpectRefused() {
    UniqueFd tcp = Socket(client_, SOCK_STREAM);
    EXPECT_EQ(Connect(tcp.get(), vip(), 80), ECONNREFUSED);
    for (size_t size : {0, 1, 33, 1400}) {
      UniqueFd udp = Socket(client_, SOCK_DGRAM);
      ASSERT_EQ(Connect(udp.get(), vip(), 80), 0);
      std::string text(size, 'x');
      send(udp.get(), text.data(), size, 0);
      ASSERT_TRUE(Readable(udp.get())) << size;
      EXPECT_EQ(recv(udp.get(), text.data(), size, 0), -1);
      EXPECT_EQ(errno, ECONNREFUSED);
    }
  }

  void WithoutChecksumOffload(const NetnsScope& netns,
                              const std::string& device) {
    UniqueFd fd = Socket(netns, SOCK_DGRAM);
    ethtool_value value = {.cmd = ETHTOOL_STXCSUM, .data = 0};
    ifreq request = {};
    strncpy(request.ifr_name, device.c_str(), IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(&value);
    ASSERT_EQ(ioctl(fd.get(), SIOCETHTOOL, &request), 0);
  }

  // Loaded once: the verifier takes longer than the traffic.
  inline static TcRun* run_ = nullptr;
  NetnsScope client_ = MakeNetns(), router_ = MakeNetns(),
             backend_ = MakeNetns();
  std::vector<int> links_;
};

constexpr size_t kBulk = 8 << 20;

TEST_P(TcNetns, ClusterIp) {
  Serve(vip(), 80, 0);
  EXPECT_EQ(Bulk(client_, vip(), 80, kBulk), client_ip());
  EXPECT_EQ(Datagrams(client_, vip(), 80), client_ip());
}

TEST_P(TcNetns, ClusterIpMasqueraded) {
  Serve(vip(), 80, FL_SERVICE_MASQ_OUTSIDE);
  EXPECT_EQ(Bulk(client_, vip(), 80, kBulk), masquerade());
  EXPECT_EQ(Datagrams(client_, vip(), 80), masquerade());
}

// The backend has no way back to the client but through this node.
TEST_P(TcNetns, NodePortToRemoteEndpoint) {
  run_->AddNodeAddress(node_ip(), FL_NODE_ADDR_NODE_PORT | FL_NODE_ADDR_LOCAL);
  Serve(ipv6() ? "::" : "0.0.0.0", 30080,
        FL_SERVICE_NODE_PORT | FL_SERVICE_MASQ_OUTSIDE);
  Sh(backend_, ipv6() ? "ip -6 route add blackhole 2001:db8:1::/64"
                      : "ip route add blackhole 192.0.2.0/24");
  EXPECT_EQ(Bulk(client_, node_ip(), 30080, kBulk), masquerade());
  EXPECT_EQ(Datagrams(client_, node_ip(), 30080), masquerade());
}

TEST_P(TcNetns, Hairpin) {
  Serve(vip(), 80, 0);
  EXPECT_EQ(Bulk(backend_, vip(), 80, kBulk), masquerade());
  EXPECT_EQ(Datagrams(backend_, vip(), 80), masquerade());
}

TEST_P(TcNetns, Refused) {
  for (uint8_t protocol : {6, 17}) {
    run_->AddFrontend({.address = vip(),
                       .protocol = protocol,
                       .internal_verdict = FL_VERDICT_REJECT,
                       .external_verdict = FL_VERDICT_REJECT});
  }
  ExpectRefused();
}

// The same where the checksum arrives finished, not partial.
TEST_P(TcNetns, RefusedWithoutOffload) {
  WithoutChecksumOffload(client_, "c0");
  for (uint8_t protocol : {6, 17}) {
    run_->AddFrontend({.address = vip(),
                       .protocol = protocol,
                       .internal_verdict = FL_VERDICT_REJECT,
                       .external_verdict = FL_VERDICT_REJECT});
  }
  ExpectRefused();
}

// The way to the backend is narrower than the client's: the router's "packet
// too big" must be about the flow that the client knows.
TEST_P(TcNetns, PathMtu) {
  Serve(vip(), 80, 0);
  Sh(router_, "ip link set r1 mtu 1300");
  UniqueFd udp = Socket(client_, SOCK_DGRAM);
  int level = ipv6() ? IPPROTO_IPV6 : IPPROTO_IP;
  int discover = ipv6() ? IPV6_PMTUDISC_DO : IP_PMTUDISC_DO;
  ASSERT_EQ(setsockopt(udp.get(), level,
                       ipv6() ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &discover,
                       sizeof(discover)),
            0);
  ASSERT_EQ(Connect(udp.get(), vip(), 80), 0);
  std::string text(1400, 'x');
  EXPECT_EQ(send(udp.get(), text.data(), text.size(), 0), 1400);
  EXPECT_TRUE(harness::Eventually([&] {
    return send(udp.get(), text.data(), text.size(), 0) < 0 &&
           errno == EMSGSIZE;
  }));
  int mtu = 0;
  socklen_t size = sizeof(mtu);
  getsockopt(udp.get(), level, ipv6() ? IPV6_MTU : IP_MTU, &mtu, &size);
  EXPECT_EQ(mtu, 1300);
  EXPECT_EQ(Bulk(client_, vip(), 80, 1 << 20), client_ip());
}

// A device without a link header (as tunnels are): the test is the other end.
TEST_P(TcNetns, DeviceWithoutLinkHeader) {
  Serve(vip(), 80, 0);
  const std::string peer = ipv6() ? "2001:db8:5::2" : "198.18.0.2";
  UniqueFd tun;
  ASSERT_TRUE(router_
                  .Run([&] {
                    tun.reset(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
                    ifreq request = {};
                    strncpy(request.ifr_name, "t0", IFNAMSIZ - 1);
                    request.ifr_flags = IFF_TUN | IFF_NO_PI;
                    return ioctl(tun.get(), TUNSETIFF, &request) == 0
                               ? absl::OkStatus()
                               : ErrnoStatus(errno, "TUNSETIFF", "t0");
                  })
                  .ok());
  Address(router_, "t0", "198.18.0.1/24", "2001:db8:5::1/64");
  Sh(router_, "ip link set t0 up");
  Attach("t0", Hook::kIngressL3, kTcxIngress);
  Attach("t0", Hook::kEgressL3, kTcxEgress);

  auto packet = [&](const std::string& src, uint16_t sport,
                    const std::string& dst, uint16_t dport, uint8_t flags) {
    Packet net = ipv6() ? Packet({Ip6{.src = src, .dst = dst}})
                        : Packet({Ip4{.src = src, .dst = dst}});
    Tcp tcp = {.sport = sport, .dport = dport, .flags = flags};
    return (std::move(net) / tcp).Build();
  };
  // The next packet from `vip` (the kernel has things of its own to say).
  auto answer = [&]() -> Description {
    for (;;) {
      if (!Readable(tun.get())) return {};
      Bytes bytes(2048);
      ssize_t n = read(tun.get(), bytes.data(), bytes.size());
      if (n <= 0) return {};
      bytes.resize(n);
      Eth eth = {.type = uint16_t(ipv6() ? 0x86dd : 0x0800)};
      Bytes frame = Packet({eth}).Build();
      frame.insert(frame.end(), bytes.begin(), bytes.end());
      Description description = Describe(frame);
      if (description.rows.size() > 2 &&
          description.rows[1].fields[0].second == vip()) {
        return description;
      }
    }
  };
  UniqueFd server = Listen(SOCK_STREAM);
  Bytes syn = packet(peer, 4000, vip(), 80, kSyn);
  ASSERT_EQ(write(tun.get(), syn.data(), syn.size()), ssize_t(syn.size()));
  Description accepted = answer();
  ASSERT_GT(accepted.rows.size(), 2u);
  EXPECT_NE(ToString(accepted).find("flags=0x12"), std::string::npos)
      << ToString(accepted);

  run_->SetBackendState(6, FL_BACKEND_OFF);
  syn = packet(peer, 4001, vip(), 80, kSyn);
  ASSERT_EQ(write(tun.get(), syn.data(), syn.size()), ssize_t(syn.size()));
  Description refused;
  do {
    refused = answer();
    ASSERT_GT(refused.rows.size(), 2u);
  } while (ToString(refused).find("dport=4001") == std::string::npos);
  EXPECT_NE(ToString(refused).find("flags=0x14"), std::string::npos)
      << ToString(refused);
  EXPECT_TRUE(refused.errors.empty()) << ToString(refused);
}

INSTANTIATE_TEST_SUITE_P(All, TcNetns, testing::Bool(), [](const auto& info) {
  return info.param ? "V6" : "V4";
});

}  // namespace
}  // namespace fairlead::prog
