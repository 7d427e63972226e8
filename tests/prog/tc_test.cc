// SPDX-License-Identifier: Apache-2.0
// The packet path on real frames: a packet's life, one hook's output the next
// one's input. Family x protocol x checksum state; the last test lists what no
// row has reached.
#include "tests/prog/tc_rows.h"

namespace fairlead::prog {
namespace {

constexpr uint16_t kPort = 40000;

TEST_P(TcRows, NotOurs) {
  TwoBackends();
  // Another port, another protocol, another address; both hooks.
  for (const Packet& packet :
       {Flow(w().client, kPort, w().vip, 81),
        Flow(w().client, kPort, w().backend1, 8080),
        Flow(w().client, kPort, masquerade(), kSourcePortMin),
        Flow(w().client, kPort, w().node, 30080),
        Net(w().client, w().vip) / Icmp{.type = uint8_t(ipv6() ? 128 : 8)}}) {
    ExpectPassed(Run(Hook::kIngress, packet), packet);
    ExpectPassed(Run(Hook::kEgress, packet), packet);
  }
  Packet reply = Flow(w().backend1, 8080, w().client, kPort);
  ExpectPassed(Run(Hook::kEgress, reply), reply);
  Packet arp = Eth{.type = 0x0806} / Payload{std::string(28, 'a')};
  ExpectPassed(Run(Hook::kIngress, arp), arp);
  EXPECT_EQ(run().FlowCount(), 0);
}

TEST_P(TcRows, ForwardAndReply) {
  OneBackend();
  Expect(Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80)),
         "FORWARD_NEW", TC_ACT_UNSPEC,
         Flow(w().client, kPort, w().backend1, 8080));
  EXPECT_EQ(run().FlowCount(), 2);
  Expect(Run(Hook::kEgress,
             Flow(w().backend1, 8080, w().client, kPort, kSyn | kAck)),
         "REPLY_HIT", TC_ACT_UNSPEC,
         Flow(w().vip, 80, w().client, kPort, kSyn | kAck));
  Expect(Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80, kAck)),
         "FORWARD_HIT", TC_ACT_UNSPEC,
         Flow(w().client, kPort, w().backend1, 8080, kAck));
  EXPECT_EQ(run().FlowCount(), 2);
}

// On its way to the backend a packet passes other devices with programs on.
TEST_P(TcRows, TranslatedOnce) {
  OneBackend(FL_SERVICE_MASQ_OUTSIDE);
  Result in = Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
  Result again = Run(Hook::kIngress, in.frame, in.mark);
  Expect(again, "NOT_OURS", TC_ACT_UNSPEC, in.frame);
  Result out = Run(Hook::kEgress, again.frame, in.mark);
  Expect(Run(Hook::kEgress, out.frame, out.mark), "NOT_OURS", TC_ACT_UNSPEC,
         out.frame);
  Expect(Run(Hook::kIngress, out.frame, out.mark), "NOT_OURS", TC_ACT_UNSPEC,
         out.frame);
}

TEST_P(TcRows, TcpStateFollowsBothDirections) {
  OneBackend();
  (void)Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
  fl_flow_key a = Key(FL_HOOK_INGRESS, w().client, kPort, w().vip, 80);
  fl_flow_key d = Key(FL_HOOK_EGRESS, w().backend1, 8080, w().client, kPort);
  ASSERT_TRUE(run().Flow(a) && run().Flow(d));
  EXPECT_EQ(run().Flow(a)->state, FL_FLOW_NEW);
  EXPECT_EQ(run().Flow(d)->flags, FL_FLOW_REPLY);
  auto reply = [&](uint8_t flags) {
    (void)Run(Hook::kEgress,
              Flow(w().backend1, 8080, w().client, kPort, flags));
    return run().Flow(d)->state;
  };
  auto forward = [&](uint8_t flags) {
    (void)Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80, flags));
    return run().Flow(a)->state;
  };
  EXPECT_EQ(reply(kSyn | kAck), FL_FLOW_ESTABLISHED);
  if (udp()) return;
  EXPECT_EQ(forward(kAck), FL_FLOW_ESTABLISHED);
  EXPECT_EQ(forward(kFin | kAck), FL_FLOW_CLOSING);
  EXPECT_EQ(forward(kAck), FL_FLOW_CLOSING);
  EXPECT_EQ(reply(kFin | kAck), FL_FLOW_CLOSING);
  EXPECT_EQ(reply(kRst), FL_FLOW_CLOSED);
}

TEST_P(TcRows, Masquerade) {
  OneBackend(FL_SERVICE_MASQ_OUTSIDE);
  Result in = Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
  Expect(in, "FORWARD_NEW", TC_ACT_UNSPEC,
         Flow(w().client, kPort, w().backend1, 8080));
  EXPECT_EQ(in.mark, kMark);
  EXPECT_EQ(run().FlowCount(), 3);
  Result out = Run(Hook::kEgress, in.frame, in.mark | 1);
  uint16_t port = SourcePort(out.frame);
  EXPECT_TRUE(port >= kSourcePortMin && port <= kSourcePortMax) << port;
  Expect(out, "SOURCE_TRANSLATED", TC_ACT_UNSPEC,
         Flow(masquerade(), port, w().backend1, 8080));
  EXPECT_EQ(out.mark, 1u) << "other bits of the mark are somebody else's";

  Result reply_in =
      Run(Hook::kIngress,
          Flow(w().backend1, 8080, masquerade(), port, kSyn | kAck));
  Expect(reply_in, "REPLY_HIT", TC_ACT_UNSPEC,
         Flow(w().backend1, 8080, w().client, kPort, kSyn | kAck));
  Expect(Run(Hook::kEgress, reply_in.frame, reply_in.mark), "REPLY_HIT",
         TC_ACT_UNSPEC, Flow(w().vip, 80, w().client, kPort, kSyn | kAck));

  Result hit = Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80, kAck));
  EXPECT_EQ(hit.mark, kMark);
  Expect(Run(Hook::kEgress, hit.frame, hit.mark), "SOURCE_TRANSLATED",
         TC_ACT_UNSPEC, Flow(masquerade(), port, w().backend1, 8080, kAck));
}

// Who is masqueraded is the service's choice, by kind of client.
TEST_P(TcRows, MasqueradeByClient) {
  OneBackend(FL_SERVICE_MASQ_HOST);
  run().AddNodeAddress(w().node, FL_NODE_ADDR_LOCAL);
  EXPECT_EQ(Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80)).mark, 0u);
  EXPECT_EQ(Run(Hook::kIngress, Flow(w().pod, kPort, w().vip, 80)).mark, 0u);
  EXPECT_EQ(Run(Hook::kIngress, Flow(w().node, kPort, w().vip, 80)).mark,
            kMark);
}

TEST_P(TcRows, MarkWithoutFlow) {
  OneBackend();
  ExpectDropped(Run(Hook::kEgress,
                    Flow(w().client, kPort, w().backend1, 8080, kAck), kMark),
                "DROP_NO_FLOW");
}

// A pod reaches itself through its Service: it must see an address that it
// answers through this node.
TEST_P(TcRows, Hairpin) {
  OneBackend();
  Result in = Run(Hook::kIngress, Flow(w().backend1, kPort, w().vip, 80));
  Expect(in, "FORWARD_NEW", TC_ACT_UNSPEC,
         Flow(w().backend1, kPort, w().backend1, 8080));
  Result out = Run(Hook::kEgress, in.frame, in.mark);
  uint16_t port = SourcePort(out.frame);
  Expect(out, "SOURCE_TRANSLATED", TC_ACT_UNSPEC,
         Flow(masquerade(), port, w().backend1, 8080));
  Result reply = Run(Hook::kIngress, Flow(w().backend1, 8080, masquerade(),
                                          port, kSyn | kAck));
  Expect(reply, "REPLY_HIT", TC_ACT_UNSPEC,
         Flow(w().backend1, 8080, w().backend1, kPort, kSyn | kAck));
  Expect(Run(Hook::kEgress, reply.frame, reply.mark), "REPLY_HIT",
         TC_ACT_UNSPEC, Flow(w().vip, 80, w().backend1, kPort, kSyn | kAck));
}

TEST_P(TcRows, NodePort) {
  run().AddBackend(1, w().backend1, 8080, proto());
  run().AddNodeAddress(w().node, FL_NODE_ADDR_NODE_PORT | FL_NODE_ADDR_LOCAL);
  run().AddNodeAddress(masquerade(), FL_NODE_ADDR_LOCAL);
  run().AddFrontend({.address = ipv6() ? "::" : "0.0.0.0",
                     .port = 30080,
                     .protocol = proto(),
                     .backends = {1},
                     .flags = FL_SERVICE_NODE_PORT | FL_SERVICE_MASQ_OUTSIDE});
  Packet elsewhere = Flow(w().client, kPort, masquerade(), 30080);
  ExpectPassed(Run(Hook::kIngress, elsewhere), elsewhere);
  // Cut short behind its ports, it still is this frontend's.
  Bytes cut = Flow(w().client, kPort, w().node, 30080).Build(ipv6() ? 64 : 44);
  if (!udp()) ExpectDropped(Run(Hook::kIngress, cut), "DROP_MALFORMED");
  Result in = Run(Hook::kIngress, Flow(w().client, kPort, w().node, 30080));
  Expect(in, "FORWARD_NEW", TC_ACT_UNSPEC,
         Flow(w().client, kPort, w().backend1, 8080));
  Result out = Run(Hook::kEgress, in.frame, in.mark);
  Result back = Run(Hook::kIngress,
                    Flow(w().backend1, 8080, masquerade(),
                         SourcePort(out.frame), kSyn | kAck));
  Expect(Run(Hook::kEgress, back.frame, back.mark), "REPLY_HIT", TC_ACT_UNSPEC,
         Flow(w().node, 30080, w().client, kPort, kSyn | kAck));
}

TEST_P(TcRows, InternalAndExternalSelections) {
  run().AddBackend(1, w().backend1, 8080, proto());
  run().AddBackend(2, w().backend2, 8080, proto());
  run().AddFrontend({.address = w().vip,
                     .protocol = proto(),
                     .backends = {1},
                     .external = std::vector<uint32_t>{2}});
  EXPECT_EQ(Destination(
                Run(Hook::kIngress, Flow(w().pod, kPort, w().vip, 80)).frame),
            w().backend1);
  EXPECT_EQ(Destination(Run(Hook::kIngress,
                            Flow(w().client, kPort, w().vip, 80))
                            .frame),
            w().backend2);
}

TEST_P(TcRows, VerdictsByClient) {
  run().AddFrontend({.address = w().vip,
                     .protocol = proto(),
                     .internal_verdict = FL_VERDICT_REJECT,
                     .external_verdict = FL_VERDICT_DROP});
  ExpectDropped(Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80)),
                "DROP_POLICY");
  EXPECT_EQ(RunAnswered(Flow(w().pod, kPort, w().vip, 80)).counters[0],
            udp() ? "REJECT_UNREACHABLE" : "REJECT_RST");
}

TEST_P(TcRows, SourceRanges) {
  OneBackend(FL_SERVICE_SOURCE_RANGES);
  ExpectDropped(Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80)),
                "DROP_SOURCE_RANGE");
  std::vector<fl_event> events = run().Events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].counter, FL_COUNTER_DROP_SOURCE_RANGE);
  EXPECT_EQ(events[0].service_id, 1u);
  EXPECT_EQ(events[0].tuple.dport, htons(80));
  run().AllowSource(1, ipv6() ? "2001:db8:1::" : "192.0.2.0",
                    ipv6() ? 48 : 24);
  EXPECT_EQ(
      Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80)).counters[0],
      "FORWARD_NEW");
}

// ---- endpoints come and go ----

TEST_P(TcRows, BackendOffIsSteppedOver) {
  TwoBackends();
  run().SetBackendState(1, FL_BACKEND_OFF);
  for (uint16_t port = 1000; port < 1020; port++) {
    Result result = Run(Hook::kIngress, Flow(w().client, port, w().vip, 80));
    EXPECT_EQ(Destination(result.frame), w().backend2);
  }
}

TEST_P(TcRows, AllBackendsOff) {
  TwoBackends();
  run().SetBackendState(1, FL_BACKEND_OFF);
  run().SetBackendState(2, FL_BACKEND_DRAIN);
  EXPECT_EQ(RunAnswered(Flow(w().client, kPort, w().vip, 80)).counters[0],
            udp() ? "REJECT_UNREACHABLE" : "REJECT_RST");
  EXPECT_EQ(run().FlowCount(), 0);
}

// TCP goes on to a backend that takes no new flows; UDP only while it drains.
TEST_P(TcRows, EstablishedIsGraceful) {
  OneBackend();
  (void)Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
  for (fl_backend_state state : {FL_BACKEND_DRAIN, FL_BACKEND_OFF,
                                 FL_BACKEND_FREE}) {
    run().SetBackendState(1, state);
    Packet packet = Flow(w().client, kPort, w().vip, 80, kAck);
    if (!udp() || state == FL_BACKEND_DRAIN) {
      Expect(Run(Hook::kIngress, packet), "FORWARD_HIT", TC_ACT_UNSPEC,
             Flow(w().client, kPort, w().backend1, 8080, kAck));
    } else {
      EXPECT_EQ(RunAnswered(packet).counters[0], "REJECT_UNREACHABLE");
    }
  }
}

TEST_P(TcRows, UdpMovesOnAndTcpSynReselects) {
  TwoBackends();
  Bytes first = Flow(w().client, kPort, w().vip, 80).Build();
  std::string was = Destination(Run(Hook::kIngress, first).frame);
  bool one = was == w().backend1;
  run().SetBackendState(one ? 1 : 2, FL_BACKEND_OFF);
  Result moved = Run(Hook::kIngress, first);
  EXPECT_EQ(moved.counters[0], "FORWARD_NEW");
  EXPECT_EQ(Destination(moved.frame), one ? w().backend2 : w().backend1);
  // The old flow's entries are gone.
  EXPECT_EQ(run().FlowCount(), 2);
}

// A retransmitted SYN reaches the same backend; one that follows a closed
// connection is a new flow, and gives the old source port back.
TEST_P(TcRows, SynReuse) {
  if (udp()) return;
  TwoBackends(FL_SERVICE_MASQ_OUTSIDE);
  Packet syn = Flow(w().client, kPort, w().vip, 80);
  std::string chosen = Destination(Run(Hook::kIngress, syn).frame);
  for (int i = 0; i < 10; i++) {
    Result again = Run(Hook::kIngress, syn);
    EXPECT_EQ(again.counters[0], "FORWARD_HIT");
    EXPECT_EQ(Destination(again.frame), chosen);
  }
  std::set<std::string> seen;
  for (int i = 0; i < 40; i++) {
    (void)Run(Hook::kIngress,
              Flow(w().client, kPort, w().vip, 80, kRst | kAck));
    Result again = Run(Hook::kIngress, syn);
    EXPECT_EQ(again.counters[0], "FORWARD_NEW");
    seen.insert(Destination(again.frame));
    EXPECT_EQ(run().FlowCount(), 3);
  }
  EXPECT_EQ(seen.size(), 2u);
}

TEST_P(TcRows, BackendIdGivenAway) {
  TwoBackends();
  Packet syn = Flow(w().client, kPort, w().vip, 80);
  std::string chosen = Destination(Run(Hook::kIngress, syn).frame);
  // Both ids now mean other endpoints.
  run().AddBackend(1, w().pod, 9090, proto(), FL_BACKEND_ON, 2);
  run().AddBackend(2, w().pod, 9090, proto(), FL_BACKEND_ON, 2);
  Result again = Run(Hook::kIngress, syn);
  EXPECT_EQ(again.counters[0], "FORWARD_NEW");
  EXPECT_EQ(Destination(again.frame), w().pod);
}

// ---- scarce tuples ----

// Two frontends, one backend, one client port: answers to the second flow
// could not be told from the first one's.
TEST_P(TcRows, TupleClash) {
  OneBackend();
  run().AddFrontend({.address = w().vip,
                     .port = 443,
                     .protocol = proto(),
                     .backends = {1},
                     .id = 2});
  (void)Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
  ExpectDropped(Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 443)),
                "DROP_TUPLE_CLASH");
  // Another backend is a way out.
  run().AddFrontend({.address = w().vip,
                     .port = 443,
                     .protocol = proto(),
                     .backends = {2, 2, 2, 2},
                     .id = 2});
  EXPECT_EQ(
      Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 443)).counters[0],
      "FORWARD_NEW");
  // So is the first flow's end.
  run().AddFrontend({.address = w().vip,
                     .port = 8443,
                     .protocol = proto(),
                     .backends = {1},
                     .id = 3});
  fl_flow_key d = Key(FL_HOOK_EGRESS, w().backend1, 8080, w().client, kPort);
  fl_flow flow = *run().Flow(d);
  flow.last_seen = 0;
  flow.state = FL_FLOW_CLOSED;
  run().SetFlow(d, flow);
  // The machine may have been up for less than a UDP flow's idle time.
  Result late = Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 8443));
  EXPECT_TRUE(late.counters[0] == "FORWARD_NEW" ||
              (udp() && late.counters[0] == "DROP_TUPLE_CLASH"));
}

// A tuple that is taken over takes its source port along, though an answer that
// came no further than ingress has made the old flow's C look alive.
TEST_P(TcRows, ATakenOverTupleGivesItsSourcePortBack) {
  OneBackend(FL_SERVICE_MASQ_OUTSIDE);
  run().AddFrontend({.address = w().vip,
                     .port = 443,
                     .protocol = proto(),
                     .backends = {1},
                     .flags = FL_SERVICE_MASQ_OUTSIDE,
                     .id = 2});
  (void)Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
  fl_flow_key d = Key(FL_HOOK_EGRESS, w().backend1, 8080, w().client, kPort);
  fl_flow flow = *run().Flow(d);
  flow.last_seen = 0;
  run().SetFlow(d, flow);
  EXPECT_EQ(
      Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 443)).counters[0],
      "FORWARD_NEW");
  EXPECT_EQ(run().FlowCount(), 3);
}

TEST_P(TcRows, SourcePortsRunOut) {
  OneBackend(FL_SERVICE_MASQ_OUTSIDE);
  constexpr int kPorts = kSourcePortMax - kSourcePortMin + 1;
  std::set<uint16_t> ports;
  for (uint16_t i = 0; i < kPorts; i++) {
    Result in = Run(Hook::kIngress, Flow(w().client, 1000 + i, w().vip, 80));
    Result out = Run(Hook::kEgress, in.frame, in.mark);
    ports.insert(SourcePort(out.frame));
  }
  EXPECT_EQ(ports.size(), static_cast<size_t>(kPorts)) << "each used once";
  // The next one is told at once, and nothing is left of it.
  Result refused = RunAnswered(Flow(w().client, 2000, w().vip, 80));
  EXPECT_EQ(refused.counters, std::vector<std::string>{"REJECT_NO_PORT"});
  EXPECT_EQ(refused.action, TC_ACT_REDIRECT);
  EXPECT_EQ(packet::Describe(refused.frame).errors,
            std::vector<std::string>{});
  EXPECT_EQ(run().FlowCount(), 3 * kPorts);
  // Flows that go on aren't disturbed.
  EXPECT_EQ(Run(Hook::kIngress, Flow(w().client, 1000, w().vip, 80, kAck))
                .counters[0],
            "FORWARD_HIT");
}

// ---- odd packets ----

TEST_P(TcRows, Truncated) {
  OneBackend();
  Packet whole = Flow(w().client, kPort, w().vip, 80);
  size_t ip = ipv6() ? 40 : 20;
  // Shorter ones than an IP header the kernel doesn't make packets of.
  for (size_t size = 14 + ip; size < whole.Build().size() - 1; size++) {
    SCOPED_TRACE(size);
    ExpectDropped(Run(Hook::kIngress, whole.Build(size)), "DROP_MALFORMED");
    // Ours is told by a flow, and there is none.
    Bytes out = Flow(w().backend1, 8080, w().client, kPort).Build(size);
    Expect(Run(Hook::kEgress, out), "NOT_OURS", TC_ACT_UNSPEC, out);
  }
}

TEST_P(TcRows, Malformed) {
  OneBackend();
  (void)Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
  auto bad = [&](const std::string& src, uint16_t sport,
                 const std::string& dst, uint16_t dport) {
    return ipv6() ? WithTransport(Eth{} / Ip6{.src = src,
                                              .dst = dst,
                                              .payload_length = 500},
                                  sport, dport, kAck)
                  : WithTransport(Eth{} / Ip4{.src = src,
                                              .dst = dst,
                                              .total_length = 500},
                                  sport, dport, kAck);
  };
  ExpectDropped(Run(Hook::kIngress, bad(w().client, kPort, w().vip, 80)),
                "DROP_MALFORMED");
  ExpectDropped(Run(Hook::kIngress, bad(w().client, 5, w().vip, 80)),
                "DROP_MALFORMED");
  ExpectDropped(
      Run(Hook::kEgress, bad(w().backend1, 8080, w().client, kPort)),
      "DROP_MALFORMED");
  Packet others = bad(w().client, kPort, w().vip, 81);
  ExpectPassed(Run(Hook::kIngress, others), others);
  if (udp()) return;
  ExpectDropped(Run(Hook::kIngress, Net(w().client, w().vip) /
                                        Tcp{.sport = kPort, .header_words = 4}),
                "DROP_MALFORMED");
  ExpectDropped(
      Run(Hook::kIngress, Net(w().client, w().vip) /
                              Tcp{.sport = kPort, .header_words = 15}),
      "DROP_MALFORMED");
}

TEST_P(TcRows, WrongVersionIsNobodys) {
  OneBackend();
  Packet packet =
      ipv6() ? WithTransport(Eth{} / Ip6{.dst = w().vip, .version = 5}, 1, 80)
             : WithTransport(Eth{} / Ip4{.dst = w().vip, .version = 5}, 1, 80);
  ExpectPassed(Run(Hook::kIngress, packet), packet);
  if (ipv6()) return;
  Packet small = WithTransport(Eth{} / Ip4{.dst = w().vip, .header_words = 4},
                               1, 80);
  ExpectPassed(Run(Hook::kIngress, small), small);
}

class TcFragments : public TcRows {
 protected:
  // The first one has the ports, whose numbers are given.
  Packet Fragment(const std::string& src, uint16_t sport,
                  const std::string& dst, uint16_t dport, uint16_t offset,
                  uint16_t id = 0x1234) const {
    Packet net = ipv6() ? Eth{} / Ip6{.src = src, .dst = dst} /
                              Frag6{.offset = offset,
                                    .id = 0x55660000u | id,
                                    .next_header = proto()}
                        : Packet({Eth{}}) /
                              Ip4{.src = src,
                                  .dst = dst,
                                  .id = id,
                                  .fragment = uint16_t(0x2000 | offset / 8),
                                  .protocol = proto()};
    // Long enough to be taken for a header with ports.
    return offset ? std::move(net) / Payload{std::string(40, 'r')}
                  : WithTransport(std::move(net), sport, dport);
  }
};

TEST_P(TcFragments, FollowTheFirst) {
  OneBackend(FL_SERVICE_MASQ_OUTSIDE);
  Result first = Run(Hook::kIngress,
                     Fragment(w().client, kPort, w().vip, 80, 0));
  EXPECT_EQ(first.counters[0], "FORWARD_NEW");
  Result later =
      Run(Hook::kIngress, Fragment(w().client, 0, w().vip, 0, 1480));
  Expect(later, "FORWARD_HIT", TC_ACT_UNSPEC,
         Fragment(w().client, 0, w().backend1, 0, 1480));
  EXPECT_EQ(later.mark, kMark);
  Expect(Run(Hook::kIngress, Fragment(w().client, 0, w().vip, 0, 8)),
         "FORWARD_HIT", TC_ACT_UNSPEC,
         Fragment(w().client, 0, w().backend1, 0, 8));
  Result first_out = Run(Hook::kEgress, first.frame, first.mark);
  Result later_out = Run(Hook::kEgress, later.frame, later.mark);
  Expect(later_out, "SOURCE_TRANSLATED", TC_ACT_UNSPEC,
         Fragment(masquerade(), 0, w().backend1, 0, 1480));
  EXPECT_EQ(later_out.mark, 0u);

  uint16_t port = SourcePort(ipv6() ? Bytes(first_out.frame.begin() + 8,
                                            first_out.frame.end())
                                    : first_out.frame);
  first = Run(Hook::kIngress,
              Fragment(w().backend1, 8080, masquerade(), port, 0, 7));
  EXPECT_EQ(first.counters[0], "REPLY_HIT");
  later = Run(Hook::kIngress,
              Fragment(w().backend1, 0, masquerade(), 0, 1480, 7));
  Expect(later, "REPLY_HIT", TC_ACT_UNSPEC,
         Fragment(w().backend1, 0, w().client, 0, 1480, 7));
  EXPECT_EQ(later.mark, 0u);
  (void)Run(Hook::kEgress, first.frame);
  Expect(Run(Hook::kEgress, later.frame), "REPLY_HIT", TC_ACT_UNSPEC,
         Fragment(w().vip, 0, w().client, 0, 1480, 7));
}

TEST_P(TcFragments, Unknown) {
  OneBackend();
  (void)Run(Hook::kIngress, Fragment(w().client, kPort, w().vip, 80, 0));
  // Another datagram's.
  ExpectDropped(Run(Hook::kIngress,
                    Fragment(w().client, 0, w().vip, 0, 1480, 99)),
                "DROP_FRAGMENT");
  ExpectDropped(Run(Hook::kEgress,
                    Fragment(w().client, 0, w().backend1, 0, 1480), kMark),
                "DROP_FRAGMENT");
  Packet others = Fragment(w().client, 0, w().node, 0, 1480);
  ExpectPassed(Run(Hook::kIngress, others), others);
  ExpectPassed(Run(Hook::kEgress, others), others);
}

INSTANTIATE_TEST_SUITE_P(All, TcFragments, testing::ValuesIn(kRows), RowName);

TEST_P(TcRows, OptionsAndExtensionHeaders) {
  OneBackend();
  auto odd = [&](const std::string& src, const std::string& dst) {
    if (!ipv6()) {
      return Eth{} / Ip4{.src = src, .dst = dst, .options = 10};
    }
    return Eth{} / Ip6{.src = src, .dst = dst} / Ext6{.type = 0} /
           Ext6{.type = 60, .units = 2} / Ext6{.type = 43, .units = 4};
  };
  Expect(Run(Hook::kIngress,
             WithTransport(odd(w().client, w().vip), kPort, 80)),
         "FORWARD_NEW", TC_ACT_UNSPEC,
         WithTransport(odd(w().client, w().backend1), kPort, 8080));
  Expect(Run(Hook::kEgress,
             WithTransport(odd(w().backend1, w().client), 8080, kPort)),
         "REPLY_HIT", TC_ACT_UNSPEC,
         WithTransport(odd(w().vip, w().client), 80, kPort));
  if (!ipv6()) return;
  // More headers than are walked: nobody's.
  Packet many = Net(w().client, w().vip);
  for (int i = 0; i < 7; i++) many = std::move(many) / Ext6{.type = 60};
  many = WithTransport(std::move(many), kPort, 80);
  ExpectPassed(Run(Hook::kIngress, many), many);
}

TEST_P(TcRows, ZeroChecksum) {
  if (!udp()) return;
  OneBackend();
  auto packet = [&](const std::string& src, uint16_t sport,
                    const std::string& dst, uint16_t dport) {
    return Net(src, dst) /
           Udp{.sport = sport, .dport = dport, .checksum = false} /
           Payload{"abc"};
  };
  Expect(Run(Hook::kIngress, packet(w().client, kPort, w().vip, 80)),
         "FORWARD_NEW", TC_ACT_UNSPEC,
         packet(w().client, kPort, w().backend1, 8080));
  Expect(Run(Hook::kEgress, packet(w().backend1, 8080, w().client, kPort)),
         "REPLY_HIT", TC_ACT_UNSPEC, packet(w().vip, 80, w().client, kPort));
}

// No checksum becomes zero ("none") by translation: all payload words tried
// around the one that would.
TEST_P(TcRows, ChecksumNeverBecomesZero) {
  if (!udp() || GetParam().complete) return;
  OneBackend();
  for (int word = 0; word < 0x10000; word += 257) {
    // Looks for the payload that makes the translated checksum 0xffff.
    std::string text = {char(word >> 8), char(word)};
    Bytes want =
        Flow(w().client, kPort, w().backend1, 8080, 0, text).Build();
    size_t at = (ipv6() ? 54 : 34) + 6;
    uint16_t sum = want[at] << 8 | want[at + 1];
    uint32_t fixed = word + sum;  // ones' complement: this word gives 0
    fixed = (fixed & 0xffff) + (fixed >> 16);
    text = {char(fixed >> 8), char(fixed)};
    want = Flow(w().client, kPort, w().backend1, 8080, 0, text).Build();
    ASSERT_EQ(want[at] << 8 | want[at + 1], 0xffff);
    Result result = Run(Hook::kIngress,
                        Flow(w().client, kPort, w().vip, 80, 0, text));
    ASSERT_EQ(Diff(want, result.frame), "");
  }
}

TEST_P(TcRows, DeviceWithoutLinkHeader) {
  OneBackend();
  // BPF_PROG_RUN always makes Ethernet frames; a program for a device without
  // must at least leave them alone.
  Packet packet = Flow(w().client, kPort, w().vip, 80);
  ExpectPassed(Run(Hook::kIngressL3, packet), packet);
  ExpectPassed(Run(Hook::kEgressL3, packet), packet);
}

INSTANTIATE_TEST_SUITE_P(All, TcRows, testing::ValuesIn(kRows), RowName);

}  // namespace
}  // namespace fairlead::prog
