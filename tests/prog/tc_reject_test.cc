// SPDX-License-Identifier: Apache-2.0
// Refusals: what a client gets from a service that nobody serves.
#include "tests/prog/tc_rows.h"

namespace fairlead::prog {
namespace {

constexpr uint16_t kPort = 40000;

class TcReject : public TcRows {
 protected:
  void SetUp() override {
    TcRows::SetUp();
    run().AddFrontend({.address = w().vip,
                       .protocol = proto(),
                       .internal_verdict = FL_VERDICT_REJECT,
                       .external_verdict = FL_VERDICT_REJECT});
  }
  // Ethernet and IP of an answer.
  Packet Back() const {
    Eth eth = {.dst = kPeerMac, .src = kNodeMac};
    if (ipv6()) return eth / Ip6{.src = w().vip, .dst = w().client};
    return eth / Ip4{.src = w().vip, .dst = w().client, .id = 0};
  }
  Packet Unreachable(const Bytes& datagram) const {
    size_t quoted = std::min<size_t>(datagram.size() - 14, 128);
    std::string quote(datagram.begin() + 14, datagram.begin() + 14 + quoted);
    return Back() /
           Icmp{.type = uint8_t(ipv6() ? 1 : 3),
                .code = uint8_t(ipv6() ? 4 : 3)} /
           Payload{quote};
  }
};

TEST_P(TcReject, Refused) {
  for (size_t size : {0, 1, 5, 12, 100, 1400}) {
    SCOPED_TRACE(size);
    if (udp()) {
      Packet datagram = Flow(w().client, kPort, w().vip, 80, 0,
                             std::string(size, 'x'));
      Expect(RunAnswered(datagram), "REJECT_UNREACHABLE",
             TC_ACT_REDIRECT, Unreachable(datagram.Build()));
    } else {
      // Data in a SYN (TCP Fast Open) is acknowledged, too.
      Packet syn = Net(w().client, w().vip) /
                   Tcp{.sport = kPort, .options = 5} /
                   Payload{std::string(size, 'x')};
      Expect(RunAnswered(syn), "REJECT_RST", TC_ACT_REDIRECT,
             Back() / Tcp{.sport = 80,
                          .dport = kPort,
                          .seq = 0,
                          .ack = uint32_t(1001 + size),
                          .flags = kRst | kAck,
                          .window = 0});
    }
  }
  EXPECT_EQ(run().FlowCount(), 0);
}

TEST_P(TcReject, OptionsAreNotEchoed) {
  Packet net = ipv6() ? Net(w().client, w().vip) / Ext6{.type = 60}
                      : Eth{} / Ip4{.src = w().client,
                                    .dst = w().vip,
                                    .options = 10};
  Packet packet = WithTransport(std::move(net), kPort, 80);
  if (udp()) {
    Expect(RunAnswered(packet), "REJECT_UNREACHABLE", TC_ACT_REDIRECT,
           Unreachable(packet.Build()));
  } else {
    Expect(RunAnswered(packet), "REJECT_RST", TC_ACT_REDIRECT,
           Back() / Tcp{.sport = 80,
                        .dport = kPort,
                        .seq = 0,
                        .ack = 1001,
                        .flags = kRst | kAck,
                        .window = 0});
  }
}

// Not the first packet of a connection, and no such flow: as a host without
// the connection would answer. A reset is never answered.
TEST_P(TcReject, NoFlow) {
  if (udp()) return;
  Packet data = Net(w().client, w().vip) /
                Tcp{.sport = kPort, .seq = 5, .ack = 77, .flags = kAck} /
                Payload{"data"};
  Expect(RunAnswered(data), "REJECT_NO_FLOW", TC_ACT_REDIRECT,
         Back() / Tcp{.sport = 80,
                      .dport = kPort,
                      .seq = 77,
                      .flags = kRst,
                      .window = 0});
  ExpectDropped(Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80, kRst)),
                "DROP_NO_FLOW");
}

INSTANTIATE_TEST_SUITE_P(All, TcReject, testing::ValuesIn(kRowsWithoutSum),
                         RowName);

}  // namespace
}  // namespace fairlead::prog
