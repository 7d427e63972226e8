// SPDX-License-Identifier: Apache-2.0
// A pod sends packets with another client's address and port into that client's
// connection through a Service: resets, ends, a new beginning.
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/netns/live_load.h"
#include "tests/netns/service_test_base.h"
#include "tests/netns/socket_address.h"
#include "tests/prog/packet.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

using packet::Ip4;
using packet::Ip6;
using packet::Packet;
using packet::Tcp;

class Spoof : public ServiceTest {
 protected:
  static absl::StatusOr<Conversation> Victim(const L4Address& to, Port port) {
    return OpenFrom({"outside", false}, to, [&](int fd) {
      const int one = 1;
      setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
      SocketAddress own({IpAddress::Unspecified(to.address.family()),
                         port, Protocol::kTcp});
      ASSERT_EQ(bind(fd, own.get(), own.size()), 0);
    });
  }

  // As if it were the victim's, from a pod of node1.
  static absl::Status Forge(const L4Address& to, Port port, uint8_t flags) {
    const IpFamily family = to.address.family();
    const std::string from =
        bed_->net().at("outside").address(family).ToString();
    const Tcp tcp = {.sport = port,
                     .dport = to.port,
                     .seq = 0x12345678,
                     .ack = 0x9abcdef0,
                     .flags = flags};
    const packet::Bytes bytes =
        to.address.is_v4()
            ? (Ip4{.src = from, .dst = to.address.ToString()} / tcp).Build()
            : (Ip6{.src = from, .dst = to.address.ToString()} / tcp).Build();
    return bed_->net().at("a").netns.Run([&]() -> absl::Status {
      L4Address plain = to;
      plain.port = 0;  // of a raw socket
      SocketAddress address(plain);
      UniqueFd fd(socket(address.get()->sa_family, SOCK_RAW | SOCK_CLOEXEC,
                         IPPROTO_RAW));
      if (sendto(fd.get(), bytes.data(), bytes.size(), 0, address.get(),
                 address.size()) < 0) {
        return ErrnoStatus(errno, "sendto", to.ToString());
      }
      return absl::OkStatus();
    });
  }
};

TEST_F(Spoof, ForgedResetsAndEndsCutNobody) {
  ASSERT_OK(bed_->Apply({{.number = 1, .endpoints = {"l1", "l2", "r1"}}}));
  Port port = 33333;
  for (IpFamily family : kFamilies) {
    for (Way way : kWays) {
      const L4Address to = FrontendOf(1, way, family, Protocol::kTcp);
      Lasting victim;
      ASSERT_OK(victim.Add(Victim(to, ++port)));
      const double before = bed_->Counter("forward_hit");
      for (uint8_t flags :
           {uint8_t{packet::kRst}, uint8_t{packet::kRst | packet::kAck},
            uint8_t{packet::kFin | packet::kAck}}) {
        ASSERT_OK(Forge(to, port, flags));
      }
      // They have come as far as the victim's flow.
      ASSERT_TRUE(Eventually(
          [&] { return bed_->Counter("forward_hit") >= before + 3; }))
          << to.ToString();
      EXPECT_OK(victim.GoOn(StrCat("forged ends, to ", to.ToString())));
    }
  }
}

}  // namespace
}  // namespace fairlead::harness
