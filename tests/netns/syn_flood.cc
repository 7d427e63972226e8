// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/syn_flood.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "absl/time/clock.h"
#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

constexpr size_t kBatch = 32;
constexpr char kDevice[] = "to-node1";
constexpr char kSources[] = "100.64.0.0/10";
constexpr uint32_t kFirstSource = 100u << 24 | 64u << 16;
constexpr uint32_t kSourceMask = (1u << 22) - 1;

// Where a frame has what.
constexpr size_t kIp = 14;
constexpr size_t kTcp = kIp + 20;

void Put16(uint8_t* at, uint32_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}

void Put32(uint8_t* at, uint32_t value) {
  Put16(at, value >> 16);
  Put16(at + 2, value);
}

// Of an even number of bytes, on top of `sum`; not yet folded.
uint32_t Sum(const uint8_t* data, size_t size, uint32_t sum) {
  for (size_t i = 0; i < size; i += 2) sum += data[i] << 8 | data[i + 1];
  return sum;
}

uint32_t Folded(uint32_t sum) {
  sum = (sum >> 16) + (sum & 0xffff);
  sum += sum >> 16;
  return ~sum & 0xffff;
}

absl::Status HardwareAddress(const NetnsScope& netns, const char* device,
                             uint8_t* out) {
  return netns.Run([&]() -> absl::Status {
    UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request = {};
    std::strncpy(request.ifr_name, device, IFNAMSIZ - 1);
    if (ioctl(fd.get(), SIOCGIFHWADDR, &request) != 0) {
      return ErrnoStatus(errno, "hardware address of", device);
    }
    std::memcpy(out, request.ifr_hwaddr.sa_data, ETH_ALEN);
    return absl::OkStatus();
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<SynFlood>> SynFlood::Start(
    const Topology& net, const L4Address& to, int per_second) {
  std::unique_ptr<SynFlood> flood(new SynFlood(per_second));
  FL_RETURN_IF_ERROR(flood->Open(net, to));
  flood->thread_ = std::thread([self = flood.get()] { self->Run(); });
  return flood;
}

absl::Status SynFlood::Open(const Topology& net, const L4Address& to) {
  const NetnsScope& router = net.at("router").netns;
  FL_RETURN_IF_ERROR(
      router.Command(StrCat("ip route replace blackhole ", kSources))
          .status());
  FL_RETURN_IF_ERROR(
      HardwareAddress(net.node().netns, "eth0", first_.data()));
  FL_RETURN_IF_ERROR(
      HardwareAddress(router, kDevice, first_.data() + ETH_ALEN));
  FL_ASSIGN_OR_RETURN(int device, DeviceIndex(router, kDevice));
  FL_RETURN_IF_ERROR(router.Run([&]() -> absl::Status {
    fd_.reset(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    sockaddr_ll own = {};
    own.sll_family = AF_PACKET;
    own.sll_ifindex = device;
    if (bind(fd_.get(), reinterpret_cast<sockaddr*>(&own), sizeof own) != 0) {
      return ErrnoStatus(errno, "packets of", kDevice);
    }
    return absl::OkStatus();
  }));
  uint8_t* ip = first_.data() + kIp;
  uint8_t* tcp = first_.data() + kTcp;
  Put16(ip - 2, ETH_P_IP);
  ip[0] = 0x45;
  Put16(ip + 2, kFrameSize - kIp);
  ip[8] = 64;  // hops
  ip[9] = IPPROTO_TCP;
  Put32(ip + 16, to.address.v4_host_order());
  Put16(tcp + 2, to.port);
  tcp[12] = 5 << 4;   // words of header
  tcp[13] = 1 << 1;   // SYN
  Put16(tcp + 14, 64240);  // window
  return absl::OkStatus();
}

void SynFlood::Vary(Frame* frame) {
  uint8_t* ip = frame->data() + kIp;
  uint8_t* tcp = frame->data() + kTcp;
  const uint64_t random = random_();
  Put32(ip + 12, kFirstSource + (static_cast<uint32_t>(random) & kSourceMask));
  Put16(ip + 10, 0);
  Put16(ip + 10, Folded(Sum(ip, 20, 0)));
  Put16(tcp, 1024 + (random >> 32) % 64000);
  Put32(tcp + 4, static_cast<uint32_t>(random >> 24));
  Put16(tcp + 16, 0);
  // The pseudo header: both addresses, the protocol, the length.
  const uint32_t pseudo = Sum(ip + 12, 8, IPPROTO_TCP + 20);
  Put16(tcp + 16, Folded(Sum(tcp, 20, pseudo)));
}

void SynFlood::Run() {
  std::vector<Frame> frames(kBatch, first_);
  std::vector<iovec> parts(kBatch);
  std::vector<mmsghdr> messages(kBatch);
  for (size_t i = 0; i < kBatch; ++i) {
    parts[i] = {frames[i].data(), kFrameSize};
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  const absl::Duration begin = Clock::Real().Monotonic();
  while (!stop_) {
    const absl::Duration elapsed = Clock::Real().Monotonic() - begin;
    // What could not be sent when it was due is not made up for at a burst.
    if (static_cast<double>(sent_) >=
        absl::ToDoubleSeconds(elapsed) * per_second_) {
      absl::SleepFor(absl::Microseconds(200));
      continue;
    }
    for (Frame& frame : frames) Vary(&frame);
    const int sent = sendmmsg(fd_.get(), messages.data(), kBatch, 0);
    if (sent > 0) sent_ += static_cast<uint64_t>(sent);
    // The device's queue is full: later.
    if (sent < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EINTR) {
      status_ = ErrnoStatus(errno, "send SYNs through", kDevice);
      return;
    }
  }
}

absl::Status SynFlood::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  return status_;
}

}  // namespace fairlead::harness
