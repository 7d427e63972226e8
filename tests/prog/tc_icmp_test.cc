// SPDX-License-Identifier: Apache-2.0
// ICMP errors about translated flows, both directions, and through the whole
// path: a router's answer to what the packet path has made of a packet.
#include "tests/prog/tc_rows.h"

namespace fairlead::prog {
namespace {

constexpr uint16_t kPort = 40000;

class TcIcmp : public TcRows {
 protected:
  // The errors that are translated: type, code, second word.
  std::vector<Icmp> Errors() const {
    if (ipv6()) {
      return {{1, 4, 0}, {2, 0, 1280}, {3, 0, 0}, {4, 1, 40}};
    }
    return {{3, 3, 0}, {3, 4, 1400}, {11, 0, 0}, {12, 0, 0x14000000}};
  }
  // Without Ethernet.
  Packet Quote(const std::string& src, uint16_t sport, const std::string& dst,
               uint16_t dport) const {
    Packet net = ipv6() ? Packet({Ip6{.src = src, .dst = dst}})
                        : Packet({Ip4{.src = src, .dst = dst}});
    return WithTransport(std::move(net), sport, dport, kAck);
  }
  void OpenFlow(uint32_t flags) {
    OneBackend(flags);
    Result in = Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
    Result out = Run(Hook::kEgress, in.frame, in.mark);
    masquerade_port_ = SourcePort(out.frame);
  }
  uint16_t masquerade_port_ = 0;
};

// client -> frontend -> backend; the backend's side complains.
TEST_P(TcIcmp, AboutAForwardedPacket) {
  OpenFlow(0);
  for (const Icmp& icmp : Errors()) {
    SCOPED_TRACE(int{icmp.type});
    Packet error = Net(w().router, w().client) / icmp /
                   Quote(w().client, kPort, w().backend1, 8080);
    Expect(Run(Hook::kIngress, error), "NOT_OURS", TC_ACT_UNSPEC, error);
    Expect(Run(Hook::kEgress, error), "ICMP_TRANSLATED", TC_ACT_UNSPEC,
           Net(w().vip, w().client) / icmp /
               Quote(w().client, kPort, w().vip, 80));
  }
}

TEST_P(TcIcmp, AboutAMasqueradedPacket) {
  OpenFlow(FL_SERVICE_MASQ_OUTSIDE);
  for (const Icmp& icmp : Errors()) {
    SCOPED_TRACE(int{icmp.type});
    Result in = Run(Hook::kIngress, Net(w().router, masquerade()) / icmp /
                                        Quote(masquerade(), masquerade_port_,
                                              w().backend1, 8080));
    Expect(in, "ICMP_TRANSLATED", TC_ACT_UNSPEC,
           Net(w().router, w().client) / icmp /
               Quote(w().client, kPort, w().backend1, 8080));
    Expect(Run(Hook::kEgress, in.frame, in.mark), "ICMP_TRANSLATED",
           TC_ACT_UNSPEC,
           Net(w().vip, w().client) / icmp /
               Quote(w().client, kPort, w().vip, 80));
  }
}

// backend -> client, as from the frontend; the client's side complains.
TEST_P(TcIcmp, AboutAReply) {
  OpenFlow(0);
  for (const Icmp& icmp : Errors()) {
    Expect(Run(Hook::kIngress, Net(w().router, w().vip) / icmp /
                                   Quote(w().vip, 80, w().client, kPort)),
           "ICMP_TRANSLATED", TC_ACT_UNSPEC,
           Net(w().router, w().backend1) / icmp /
               Quote(w().backend1, 8080, w().client, kPort));
  }
}

TEST_P(TcIcmp, AboutAReplyToAMasqueradedPacket) {
  OpenFlow(FL_SERVICE_MASQ_OUTSIDE);
  for (const Icmp& icmp : Errors()) {
    Result in =
        Run(Hook::kIngress, Net(w().router, w().vip) / icmp /
                                Quote(w().vip, 80, w().client, kPort));
    Expect(Run(Hook::kEgress, in.frame, in.mark), "ICMP_TRANSLATED",
           TC_ACT_UNSPEC,
           Net(masquerade(), w().backend1) / icmp /
               Quote(w().backend1, 8080, masquerade(), masquerade_port_));
  }
}

// RFC 792 promises no more than eight bytes of the transport header.
TEST_P(TcIcmp, ShortQuote) {
  OpenFlow(0);
  int size = (ipv6() ? 40 : 20) + 8;
  Icmp icmp = Errors()[1];
  Expect(Run(Hook::kEgress,
             Net(w().router, w().client) / icmp /
                 Cut(Quote(w().client, kPort, w().backend1, 8080), size)),
         "ICMP_TRANSLATED", TC_ACT_UNSPEC,
         Net(w().vip, w().client) / icmp /
             Cut(Quote(w().client, kPort, w().vip, 80), size));
}

TEST_P(TcIcmp, NotOurs) {
  OpenFlow(0);
  Icmp icmp = Errors()[0];
  Packet quote = Quote(w().client, kPort, w().backend1, 8080);
  for (const Packet& packet :
       {// about another flow
        Net(w().router, w().client) / icmp /
            Quote(w().client, kPort + 1, w().backend1, 8080),
        // to somebody who hasn't sent what it is about
        Net(w().router, w().node) / icmp / quote,
        // cut short
        Net(w().router, w().client) / icmp / Cut(quote, ipv6() ? 47 : 27),
        // not an error
        Net(w().router, w().client) / Icmp{.type = 5} / quote}) {
    ExpectPassed(Run(Hook::kEgress, packet), packet);
    ExpectPassed(Run(Hook::kIngress, packet), packet);
  }
}

INSTANTIATE_TEST_SUITE_P(All, TcIcmp, testing::ValuesIn(kRows), RowName);

}  // namespace
}  // namespace fairlead::prog
