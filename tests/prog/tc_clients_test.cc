// SPDX-License-Identifier: Apache-2.0
// Who a client is, and what nobody serves: rows of the packet path.
#include "tests/prog/tc_rows.h"

namespace fairlead::prog {
namespace {

constexpr uint16_t kPort = 40000;
constexpr uint32_t kDevice = 7;

class TcClients : public TcRows {
 protected:
  // Of the ranges that only ClusterIPs are from.
  std::string cluster_ip() const {
    return ipv6() ? "2001:db8:f::1" : "198.19.0.1";
  }
  std::string unallocated() const {
    return ipv6() ? "2001:db8:f::2" : "198.19.0.2";
  }
  void AddClusterIp(Frontend frontend) {
    run().AddBackend(1, w().backend1, 8080, proto());
    frontend.address = cluster_ip();
    frontend.protocol = proto();
    if (frontend.backends.empty()) frontend.backends = {1};
    run().AddFrontend(frontend);
  }
  std::string Refusal() const {
    return udp() ? "REJECT_UNREACHABLE" : "REJECT_RST";
  }
};

INSTANTIATE_TEST_SUITE_P(All, TcClients, testing::ValuesIn(kRowsWithoutSum),
                         RowName);

// ---- strays ----

TEST_P(TcClients, APortThatAClusterIpDoesNotHaveIsRefused) {
  AddClusterIp({});
  Result out = RunAnswered(Flow(w().pod, kPort, cluster_ip(), 81));
  EXPECT_EQ(out.counters, std::vector<std::string>{"REJECT_NO_SERVICE"});
  EXPECT_EQ(out.action, TC_ACT_REDIRECT);
  EXPECT_EQ(packet::Describe(out.frame).errors, std::vector<std::string>{});
  EXPECT_EQ(run().FlowCount(), 0);
}

TEST_P(TcClients, AnAddressThatNoServiceHasIsDropped) {
  AddClusterIp({});
  ExpectDropped(Run(Hook::kIngress, Flow(w().pod, kPort, unallocated(), 80)),
                "DROP_NO_SERVICE");
  ExpectDropped(Run(Hook::kIngress, Flow(w().pod, kPort, unallocated(), 53,
                                         kAck)),
                "DROP_NO_SERVICE");
}

TEST_P(TcClients, AResetToAPortThatNoServiceHasIsNotAnswered) {
  if (udp()) return;
  AddClusterIp({});
  ExpectDropped(
      Run(Hook::kIngress, Flow(w().pod, kPort, cluster_ip(), 81, kRst)),
      "DROP_NO_SERVICE");
}

TEST_P(TcClients, AnEchoRequestToAClusterIpIsRefused) {
  AddClusterIp({});
  Packet ping = Net(w().pod, cluster_ip()) /
                Icmp{.type = static_cast<uint8_t>(ipv6() ? 128 : 8),
                     .rest = 0x00010001} /
                Payload{"12345678"};
  Result out = RunAnswered(ping);
  EXPECT_EQ(out.counters, std::vector<std::string>{"REJECT_NO_SERVICE"});
  EXPECT_EQ(packet::Describe(out.frame).errors, std::vector<std::string>{});
  Packet elsewhere = Net(w().pod, w().router) /
                     Icmp{.type = static_cast<uint8_t>(ipv6() ? 128 : 8)} /
                     Payload{"12345678"};
  ExpectPassed(Run(Hook::kIngress, elsewhere), elsewhere);
}

// As many ranges as there may be, of both families, far from each other; then
// none, and one again.
TEST_P(TcClients, EachOfSeveralRangesIsOne) {
  AddClusterIp({});
  run().SetServiceRanges(TcRun::ManyServiceRanges());
  const std::vector<std::string> in =
      ipv6() ? std::vector<std::string>{"2001:db8:f:1:1::", "2001:db8:f:2::f",
                                        "2001:db8:ff::1", "3fff:fff::1",
                                        "fc00::1:ffff", "fd99::1", "ff00::1"}
             : std::vector<std::string>{"10.200.255.255", "100.127.0.1",
                                        "172.16.1.9", "172.16.3.255",
                                        "198.51.0.4", "203.0.203.1",
                                        "239.0.0.1"};
  const std::vector<std::string> out =
      ipv6() ? std::vector<std::string>{"2001:db8:f::2", "2001:db8:f:2::7",
                                        "2001:db8:100::1", "3fff:1000::1",
                                        "fc00::2:0", "fe80::1", "ff00::2"}
             : std::vector<std::string>{"10.201.0.0", "100.128.0.1",
                                        "172.16.2.9", "172.16.4.0",
                                        "198.19.0.2", "198.51.0.5",
                                        "203.0.204.1"};
  auto to = [this](const std::string& address) {
    return Flow(w().pod, kPort, address, 80);
  };
  for (const std::string& address : in) {
    SCOPED_TRACE(address);
    ExpectDropped(Run(Hook::kIngress, to(address)), "DROP_NO_SERVICE");
  }
  for (const std::string& address : out) {
    SCOPED_TRACE(address);
    ExpectPassed(Run(Hook::kIngress, to(address)), to(address));
  }
  EXPECT_EQ(Run(Hook::kIngress, Flow(w().pod, kPort, cluster_ip(), 81))
                .counters,
            std::vector<std::string>{"REJECT_NO_SERVICE"});
  run().SetServiceRanges({});
  ExpectPassed(Run(Hook::kIngress, to(in[0])), to(in[0]));
  run().SetServiceRanges({ipv6() ? "2001:db8:f:1::/64" : "10.200.0.0/16"});
  ExpectDropped(Run(Hook::kIngress, to(in[0])), "DROP_NO_SERVICE");
  ExpectPassed(Run(Hook::kIngress, to(in[1])), to(in[1]));
}

// Programs may start before anybody has said a word.
TEST_P(TcClients, WhereNothingIsWrittenNothingIsOfAService) {
  run().WriteNode({});
  const Packet packet = Flow(w().pod, kPort, unallocated(), 80);
  ExpectPassed(Run(Hook::kIngress, packet), packet);
}

// ---- this host's own packets, at egress ----

TEST_P(TcClients, OfThisHostWhatPolicyDropsDoesNotLeave) {
  AddClusterIp({.internal_verdict = FL_VERDICT_DROP});
  Packet first = Flow(w().node, kPort, cluster_ip(), 80);
  ExpectDropped(Run(Hook::kEgress, first), "DROP_POLICY");
  // Somebody else's, on its way through: was decided where it came in.
  run().set_came_through(kDevice);
  ExpectPassed(Run(Hook::kEgress, first), first);
}

TEST_P(TcClients, OfThisHostWhatSourceRangesForbidDoesNotLeave) {
  AddClusterIp({.flags = FL_SERVICE_SOURCE_RANGES, .id = 9});
  Packet first = Flow(w().node, kPort, cluster_ip(), 80);
  ExpectDropped(Run(Hook::kEgress, first), "DROP_SOURCE_RANGE");
  run().AllowSource(9, w().node, ipv6() ? 128 : 32);
  ExpectPassed(Run(Hook::kEgress, first), first);
}

TEST_P(TcClients, OfThisHostARefusedClientIsAnswered) {
  AddClusterIp({.internal_verdict = FL_VERDICT_REJECT});
  Result out = Run(Hook::kEgress, Flow(w().node, kPort, cluster_ip(), 80));
  EXPECT_EQ(out.counters, std::vector<std::string>{Refusal()});
  EXPECT_EQ(out.action, TC_ACT_REDIRECT);
  EXPECT_EQ(packet::Describe(out.frame).errors, std::vector<std::string>{});
}

TEST_P(TcClients, OfThisHostStraysAreRefusedOrDropped) {
  AddClusterIp({});
  EXPECT_EQ(
      Run(Hook::kEgress, Flow(w().node, kPort, cluster_ip(), 81)).counters,
      std::vector<std::string>{"REJECT_NO_SERVICE"});
  ExpectDropped(Run(Hook::kEgress, Flow(w().node, kPort, unallocated(), 80)),
                "DROP_NO_SERVICE");
}

// ---- pods ----

// A pod of another node has come here as clients from outside do.
TEST_P(TcClients, APodOfAnotherNodeUsesTheExternalSelection) {
  run().SetNodePods("10.1.1.0", 24, "2001:db8:10:1::", 64);
  run().AddBackend(1, w().backend1, 8080, proto());
  run().AddBackend(2, w().backend2, 8080, proto());
  run().AddFrontend({.address = w().vip,
                     .protocol = proto(),
                     .backends = {1},
                     .external = std::vector<uint32_t>{2},
                     .flags = FL_SERVICE_MASQ_OUTSIDE});
  const std::string remote = ipv6() ? "2001:db8:10:2::9" : "10.1.2.9";
  Result far = Run(Hook::kIngress, Flow(remote, kPort, w().vip, 80));
  EXPECT_EQ(Destination(far.frame), w().backend2);
  EXPECT_EQ(far.mark, 0u) << "a pod's source is only translated as a pod's";
  Result near = Run(Hook::kIngress, Flow(w().pod, kPort, w().vip, 80));
  EXPECT_EQ(Destination(near.frame), w().backend1);
}

// A client that is a pod keeps its address, another one doesn't: that is how
// each way of telling shows.
std::string ClientKind(TcRun& run, const std::string& client) {
  run.AddBackend(1, "10.1.1.5", 8080, 6);
  run.AddFrontend({.address = "198.51.100.1",
                   .backends = {1},
                   .flags = FL_SERVICE_MASQ_OUTSIDE});
  Packet syn = Eth{} / Ip4{.src = client, .dst = "198.51.100.1"} /
               Tcp{.sport = 40000, .dport = 80};
  Result out = run.Run(Hook::kIngress, syn.Build());
  run.Clear();
  return out.mark == 0 ? "pod" : "outside";
}

TEST(TcPodDetection, ByDevice) {
  fl_config config = TcRun::DefaultConfig();
  config.pod_detection = FL_PODS_BY_DEVICE;
  TcRun run(config);
  EXPECT_EQ(ClientKind(run, "10.1.1.9"), "outside");
  run.SetPodDevice(1);  // the one that test packets come in through
  EXPECT_EQ(ClientKind(run, "192.0.2.10"), "pod");
}

TEST(TcPodDetection, ByTheNodesRange) {
  fl_config config = TcRun::DefaultConfig();
  config.pod_detection = FL_PODS_BY_NODE;
  TcRun run(config);
  EXPECT_EQ(ClientKind(run, "10.1.1.9"), "outside") << "not known yet";
  run.SetNodePods("10.1.1.0", 24, "2001:db8:10:1::", 64);
  EXPECT_EQ(ClientKind(run, "10.1.1.9"), "pod");
  run.SetNodePods("10.1.1.0", 24, "2001:db8:10:1::", 64);
  EXPECT_EQ(ClientKind(run, "10.1.2.9"), "outside");
}

TEST(TcPodDetection, ByTheClustersRange) {
  TcRun run;
  EXPECT_EQ(ClientKind(run, "10.1.2.9"), "pod");
  EXPECT_EQ(ClientKind(run, "192.0.2.10"), "outside");
}

// ---- masquerade ----

// What this host serves itself sees its client: netfilter's masquerade isn't
// on that way, either.
TEST_P(TcClients, AnEndpointOnThisHostSeesItsClient) {
  OneBackend(FL_SERVICE_MASQ_OUTSIDE);
  run().AddNodeAddress(w().backend1, FL_NODE_ADDR_LOCAL);
  Result in = Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
  Expect(in, "FORWARD_NEW", TC_ACT_UNSPEC,
         Flow(w().client, kPort, w().backend1, 8080));
  EXPECT_EQ(in.mark, 0u);
  EXPECT_EQ(run().FlowCount(), 2);
}

// The source ports that flows of 32 clients' ports get.
std::set<uint16_t> SourcePorts(TcRun& run) {
  run.AddBackend(1, "10.1.1.5", 8080, IPPROTO_TCP);
  run.AddFrontend({.address = "198.51.100.1",
                   .backends = {1},
                   .flags = FL_SERVICE_MASQ_OUTSIDE});
  std::set<uint16_t> ports;
  for (uint16_t i = 0; i < 32; ++i) {
    Packet syn = Eth{} / Ip4{.src = "192.0.2.10", .dst = "198.51.100.1"} /
                 Tcp{.sport = static_cast<uint16_t>(40000 + i), .dport = 80};
    Result in = run.Run(Hook::kIngress, syn.Build());
    if (in.counters[0] != "FORWARD_NEW") continue;
    const Bytes out = run.Run(Hook::kEgress, in.frame, in.mark).frame;
    ports.insert(static_cast<uint16_t>(out[34] << 8 | out[35]));
  }
  return ports;
}

// Else a flow that isn't copied yet and a new one might have the same.
TEST(TcSourcePorts, ThoseOfAChangeoverAreKeptForIt) {
  fl_config config = TcRun::DefaultConfig();
  config.source_port_min = 61000;
  config.source_port_max = 61031;
  TcRun every_day(config);
  std::set<uint16_t> ports = SourcePorts(every_day);
  EXPECT_EQ(ports.size(), 30u);
  EXPECT_EQ(*ports.begin(), 61000);
  EXPECT_EQ(*ports.rbegin(), 61029);
  config.changeover = 1;
  TcRun changeover(config);
  EXPECT_EQ(SourcePorts(changeover), (std::set<uint16_t>{61030, 61031}));
}

// Neither from the port of the flow before it, nor from what another table gave.
TEST(TcSourcePorts, NobodyCanForeseeThem) {
  fl_config config = TcRun::DefaultConfig();
  config.source_port_min = 10240;
  config.source_port_max = 29999;
  TcRun first(config), second(config);
  const std::set<uint16_t> ports = SourcePorts(first);
  ASSERT_EQ(ports.size(), 32u);
  EXPECT_GT(*ports.rbegin() - *ports.begin(), 8000);
  int near = 0;
  for (auto it = std::next(ports.begin()); it != ports.end(); ++it) {
    near += *it - *std::prev(it) < 8;
  }
  EXPECT_LT(near, 8);
  int same = 0;
  for (uint16_t port : SourcePorts(second)) same += ports.contains(port);
  EXPECT_LT(same, 4);
}

// ---- direct connections with the tuple of a flow ----

TEST_P(TcClients, AFlowThatIsOverMakesPlaceForADirectConnection) {
  if (udp()) return;
  OneBackend();
  (void)Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
  (void)Run(Hook::kEgress,
            Flow(w().backend1, 8080, w().client, kPort, kSyn | kAck));
  Packet direct = Flow(w().client, kPort, w().backend1, 8080);
  Packet answer = Flow(w().backend1, 8080, w().client, kPort, kSyn | kAck);
  // Live: the flow's answers are still its own.
  ExpectPassed(Run(Hook::kIngress, direct), direct);
  EXPECT_EQ(run().FlowCount(), 2);
  (void)Run(Hook::kIngress,
            Flow(w().client, kPort, w().vip, 80, kRst | kAck));
  ExpectPassed(Run(Hook::kIngress, direct), direct);
  EXPECT_EQ(run().FlowCount(), 0);
  ExpectPassed(Run(Hook::kEgress, answer), answer);
}

// The backend has the tuple already: its acknowledgement shows it.
TEST_P(TcClients, ADirectConnectionSurvivesAFlowWithItsTuple) {
  if (udp()) return;
  OneBackend();
  (void)Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
  Packet challenge = Flow(w().backend1, 8080, w().client, kPort, kAck);
  ExpectPassed(Run(Hook::kEgress, challenge), challenge);
  EXPECT_EQ(run().FlowCount(), 0);
}

// Nothing says at egress that it did not come in by the flow's source port
// (docs/design/packet-path.md, known gaps).
TEST_P(TcClients, BetweenTheEndsOfAMasqueradedFlowItIsTakenForAnAnswer) {
  OneBackend(FL_SERVICE_MASQ_OUTSIDE);
  (void)Run(Hook::kIngress, Flow(w().client, kPort, w().vip, 80));
  Expect(Run(Hook::kEgress,
             Flow(w().backend1, 8080, w().client, kPort, kAck)),
         "REPLY_HIT", TC_ACT_UNSPEC,
         Flow(w().vip, 80, w().client, kPort, kAck));
}

// ---- tags ----

TEST_P(TcClients, ATaggedFrameIsTranslated) {
  OneBackend();
  auto tagged = [this](const std::string& src, const std::string& dst,
                       uint16_t dport) {
    Packet net = ipv6() ? Eth{} / Vlan{} / Ip6{.src = src, .dst = dst}
                        : Eth{} / Vlan{} / Ip4{.src = src, .dst = dst};
    return WithTransport(std::move(net), kPort, dport);
  };
  Expect(Run(Hook::kIngress, tagged(w().client, w().vip, 80)), "FORWARD_NEW",
         TC_ACT_UNSPEC, tagged(w().client, w().backend1, 8080));
}

}  // namespace
}  // namespace fairlead::prog
