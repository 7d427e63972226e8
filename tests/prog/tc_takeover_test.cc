// SPDX-License-Identifier: Apache-2.0
// Programs that stand beside kube-proxy's rules: what netfilter translates
// passes them as it is (docs/design/takeover.md).
#include "tests/prog/tc_rows.h"

namespace fairlead::prog {
namespace {

constexpr uint16_t kPort = 40000;

fl_config TakeoverConfig() {
  fl_config config = TcRun::DefaultConfig();
  config.takeover = 1;
  return config;
}

class TcTakeover : public TcRows {
 protected:
  TcRun& run() override {
    static auto* run = new TcRun(TakeoverConfig());
    return *run;
  }
};

class TcHandover : public TcRows {
 protected:
  TcRun& run() override {
    static auto* run = [] {
      fl_config config = TcRun::DefaultConfig();
      config.handover = 1;
      return new TcRun(config);
    }();
    return *run;
  }
  // A flow that was opened before, of the client's port.
  void Established(uint16_t port) {
    fl_flow flow = {};
    flow.addr = Addr(w().backend1);
    flow.port = htons(8080);
    flow.state = FL_FLOW_ESTABLISHED;
    flow.service_id = 1;
    flow.backend_id = 1;
    flow.backend_generation = 1;
    flow.last_seen = Now();
    run().SetFlow(Key(FL_HOOK_INGRESS, w().client, port, w().vip, 80), flow);
    flow.addr = Addr(w().vip);
    flow.port = htons(80);
    flow.flags = FL_FLOW_REPLY;
    run().SetFlow(Key(FL_HOOK_EGRESS, w().backend1, 8080, w().client, port),
                  flow);
  }

 private:
  static uint32_t Now() {
    timespec now = {};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return static_cast<uint32_t>(now.tv_sec);
  }
};

INSTANTIATE_TEST_SUITE_P(All, TcTakeover, testing::ValuesIn(kRows), RowName);
INSTANTIATE_TEST_SUITE_P(All, TcHandover, testing::ValuesIn(kRows), RowName);

TEST_P(TcTakeover, AConnectionThatGoesOnIsNetfilters) {
  if (udp()) return;
  OneBackend();
  for (int flags : {int{kAck}, kFin | kAck, int{kRst}, kRst | kAck,
                    kSyn | kAck}) {
    Packet packet =
        Flow(w().client, kPort, w().vip, 80, static_cast<uint8_t>(flags));
    ExpectPassed(Run(Hook::kIngress, packet), packet);
  }
  EXPECT_EQ(run().FlowCount(), 0);
}

// What the Service says now is about new connections.
TEST_P(TcTakeover, WhateverTheServiceSaysOfNewOnes) {
  if (udp()) return;
  OneBackend(FL_SERVICE_SOURCE_RANGES);
  Packet packet = Flow(w().client, kPort, w().vip, 80, kAck);
  ExpectPassed(Run(Hook::kIngress, packet), packet);
  ExpectDropped(Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80)),
                "DROP_SOURCE_RANGE");
}

TEST_P(TcTakeover, NewFlowsAreOurs) {
  OneBackend();
  Expect(Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80)),
         "FORWARD_NEW", TC_ACT_UNSPEC,
         Flow(w().client, kPort, w().backend1, 8080));
  Expect(Run(Hook::kEgress,
             Flow(w().backend1, 8080, w().client, kPort, kSyn | kAck)),
         "REPLY_HIT", TC_ACT_UNSPEC,
         Flow(w().vip, 80, w().client, kPort, kSyn | kAck));
  Expect(Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80, kAck)),
         "FORWARD_HIT", TC_ACT_UNSPEC,
         Flow(w().client, kPort, w().backend1, 8080, kAck));
}

TEST_P(TcTakeover, WhatIsListedIsNetfilters) {
  OneBackend();
  run().SetForeign(Key(FL_HOOK_INGRESS, w().client, kPort, w().vip, 80));
  Packet listed = Flow(w().client, kPort, w().vip, 80);
  ExpectPassed(Run(Hook::kIngress, listed), listed);
  EXPECT_EQ(run().FlowCount(), 0);
  Expect(Run(Hook::kIngress, Flow(w().client, kPort + 1, w().vip, 80)),
         "FORWARD_NEW", TC_ACT_UNSPEC,
         Flow(w().client, kPort + 1, w().backend1, 8080));
}

TEST_P(TcTakeover, AFlowOfOursGoesBeforeTheList) {
  OneBackend();
  (void)Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
  run().SetForeign(Key(FL_HOOK_INGRESS, w().client, kPort, w().vip, 80));
  Expect(Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80, kAck)),
         "FORWARD_HIT", TC_ACT_UNSPEC,
         Flow(w().client, kPort, w().backend1, 8080, kAck));
}

// The answers to both would look alike.
TEST_P(TcTakeover, ASourcePortOfNetfiltersIsNotGivenOut) {
  OneBackend(FL_SERVICE_MASQ_OUTSIDE);
  const uint16_t left = kSourcePortMin + 5;
  for (uint16_t port = kSourcePortMin; port <= kSourcePortMax; ++port) {
    if (port == left) continue;
    run().SetForeign(
        Key(FL_HOOK_INGRESS, w().backend1, 8080, masquerade(), port));
  }
  Result in = Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
  EXPECT_EQ(in.counters, std::vector<std::string>{"FORWARD_NEW"});
  EXPECT_EQ(SourcePort(Run(Hook::kEgress, in.frame, in.mark).frame), left);
  EXPECT_EQ(RunAnswered(Flow(w().client, kPort + 1, w().vip, 80)).counters,
            std::vector<std::string>{"REJECT_NO_PORT"});
}

// Netfilter's answers come to any port of this node.
TEST_P(TcTakeover, AnswersToNetfiltersPortsPass) {
  OneBackend(FL_SERVICE_MASQ_OUTSIDE);
  Packet answer = Flow(w().backend1, 8080, masquerade(), kSourcePortMin, kAck);
  ExpectPassed(Run(Hook::kIngress, answer), answer);
}

TEST_P(TcTakeover, APortThatNoServiceHasAnyMore) {
  OneBackend();
  const std::string vip = ipv6() ? "2001:db8:f::1" : "198.19.0.1";
  run().AddFrontend({.address = vip, .protocol = proto(), .backends = {1}});
  Packet goes_on = Flow(w().client, kPort, vip, 81, kAck);
  if (!udp()) ExpectPassed(Run(Hook::kIngress, goes_on), goes_on);
  run().SetForeign(Key(FL_HOOK_INGRESS, w().client, kPort, vip, 81));
  Packet listed = Flow(w().client, kPort, vip, 81);
  ExpectPassed(Run(Hook::kIngress, listed), listed);
  EXPECT_EQ(RunAnswered(Flow(w().client, kPort + 1, vip, 81)).counters,
            std::vector<std::string>{"REJECT_NO_SERVICE"});
}

TEST_P(TcTakeover, LaterFragmentsPass) {
  OneBackend();
  Packet later =
      ipv6() ? Eth{} / Ip6{.src = w().client, .dst = w().vip} /
                   Frag6{.offset = 1480, .id = 7, .next_header = proto()} /
                   Payload{"the rest"}
             : Packet({Eth{}}) /
                   Ip4{.src = w().client, .dst = w().vip, .id = 7,
                       .fragment = 185, .protocol = proto()} /
                   Payload{"the rest"};
  ExpectPassed(Run(Hook::kIngress, later), later);
}

// It may be one that is still to be copied: netfilter would send it anywhere.
TEST(TcTakeoverInAChangeover, AConnectionThatGoesOnWaits) {
  fl_config config = TakeoverConfig();
  config.changeover = 1;
  TcRun run(config);
  run.AddBackend(1, "10.1.1.5", 8080, IPPROTO_TCP);
  run.AddFrontend({.address = "198.51.100.1", .backends = {1}});
  Packet goes_on = Eth{} / Ip4{.src = "192.0.2.10", .dst = "198.51.100.1"} /
                   Tcp{.sport = kPort, .dport = 80, .flags = kAck};
  ExpectDropped(run.Run(Hook::kIngress, goes_on.Build()), "DROP_NO_FLOW");
}

TEST_P(TcHandover, OurFlowsGoOn) {
  OneBackend();
  Established(kPort);
  Expect(Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80, kAck)),
         "FORWARD_HIT", TC_ACT_UNSPEC,
         Flow(w().client, kPort, w().backend1, 8080, kAck));
  Expect(Run(Hook::kEgress,
             Flow(w().backend1, 8080, w().client, kPort, kAck)),
         "REPLY_HIT", TC_ACT_UNSPEC,
         Flow(w().vip, 80, w().client, kPort, kAck));
}

TEST_P(TcHandover, NewOnesAreNetfilters) {
  OneBackend(FL_SERVICE_MASQ_OUTSIDE);
  for (uint8_t flags : {kSyn, kAck, kRst}) {
    Packet packet = Flow(w().client, kPort, w().vip, 80, flags);
    ExpectPassed(Run(Hook::kIngress, packet), packet);
    ExpectPassed(Run(Hook::kEgress, packet), packet);
  }
  EXPECT_EQ(run().FlowCount(), 0);
}

TEST_P(TcHandover, NothingIsRefused) {
  const std::string vip = ipv6() ? "2001:db8:f::1" : "198.19.0.1";
  run().AddFrontend({.address = vip,
                     .protocol = proto(),
                     .internal_verdict = FL_VERDICT_REJECT,
                     .external_verdict = FL_VERDICT_REJECT});
  for (const Packet& packet :
       {Flow(w().client, kPort, vip, 80), Flow(w().client, kPort, vip, 81),
        Net(w().client, vip) / Icmp{.type = uint8_t(ipv6() ? 128 : 8)}}) {
    ExpectPassed(Run(Hook::kIngress, packet), packet);
    ExpectPassed(Run(Hook::kEgress, packet), packet);
  }
}

// A flow that is over is not begun again: its client's next one is netfilter's.
TEST_P(TcHandover, AFlowThatIsOverStaysSo) {
  if (udp()) return;
  OneBackend();
  Established(kPort);
  (void)Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80, kRst | kAck));
  Packet again = Flow(w().client, kPort, w().vip, 80);
  ExpectPassed(Run(Hook::kIngress, again), again);
  EXPECT_EQ(run().FlowCount(), 0);
}

}  // namespace
}  // namespace fairlead::prog
