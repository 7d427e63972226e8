// SPDX-License-Identifier: Apache-2.0
// Every difference that the differential fuzzer has found, as a row of its
// own: a few objects, a few packets, and the reference must agree at each.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/prog/differential.h"
#include "userspace/base/strings.h"

namespace fairlead::differential {
namespace {

IpAddress Ip(std::string_view text) { return *IpAddress::Parse(text); }

constexpr char kEndpoint[] = "10.1.2.2";
constexpr char kOutside[] = "192.0.2.10";
constexpr char kVipA[] = "198.51.100.1", kVipB[] = "198.51.100.2";

// An episode told step by step. Remembers the first difference.
class Story {
 public:
  Story() : episode_(&SharedWorld(), reference::Flaw::kNone, &tally_) {
    Note(episode_.BeginEmpty(DefaultNode()));
  }

  // Services "a" and "b": ClusterIP .1 or .2, one port "p".
  static kube::Service Service(const std::string& name, Protocol protocol) {
    kube::Service s;
    s.meta.ns = "default";
    s.meta.name = name;
    s.cluster_ips = {Ip(name == "a" ? "198.51.100.1" : "198.51.100.2")};
    s.ports = {{"p", protocol, 80, 0}};
    return s;
  }
  static kube::EndpointSlice Slice(const std::string& service,
                                   Protocol protocol,
                                   const std::vector<std::string>& endpoints) {
    kube::EndpointSlice slice;
    slice.meta.ns = "default";
    slice.meta.name = service + "-1";
    slice.service_name = service;
    slice.family = IpFamily::kIpv4;
    slice.ports = {{"p", protocol, 8080}};
    for (const std::string& address : endpoints) {
      slice.endpoints.push_back({.address = Ip(address)});
    }
    return slice;
  }
  // Both, with one endpoint that they share.
  void TwoServices(Protocol protocol) {
    for (const char* name : {"a", "b"}) {
      episode_.PutService(Service(name, protocol));
      episode_.PutSlice(Slice(name, protocol, {kEndpoint}));
    }
    Publish();
  }

  void Publish() { Note(episode_.Publish()); }
  void Age(uint32_t seconds) { Note(episode_.Age(seconds)); }
  void Restart() { Note(episode_.Restart()); }
  Episode& episode() { return episode_; }

  // A first packet, or one with these TCP flags ("A", "R").
  void Send(const std::string& from, Port from_port, const std::string& to,
            Port to_port, Protocol protocol, std::string_view flags = "S") {
    Wire wire;
    wire.packet.src = {Ip(from), from_port, protocol};
    wire.packet.dst = {Ip(to), to_port, protocol};
    SetFlags(flags, &wire.packet);
    Note(episode_.Travel(wire));
  }
  // The endpoint of the flow that was opened as number `index` answers.
  void Answer(size_t index, std::string_view flags = "A") {
    if (index >= episode_.flows().all().size()) {
      return Note(std::string("there is no such flow"));
    }
    Wire wire;
    const std::shared_ptr<reference::Flow> flow =
        episode_.flows().all()[index];
    wire.packet.src = flow->endpoint;
    SetFlags(flags, &wire.packet);
    Note(episode_.Answer(*flow, wire));
  }

  // A router before the client can't pass on the flow's answer.
  void ErrorAboutAnswer(size_t index) {
    if (index >= episode_.flows().all().size()) {
      return Note(std::string("there is no such flow"));
    }
    Wire wire;
    wire.packet.src = episode_.flows().all()[index]->client;
    wire.packet.dst = episode_.flows().all()[index]->frontend;
    wire.packet.shape = reference::Packet::Shape::kIcmpError;
    wire.router = Ip("192.0.2.254");
    Note(episode_.Travel(wire));
  }

  // A router says to `to` that something about `quote` is wrong.
  void StrayError(const std::string& to, Quote quote) {
    Wire wire;
    // As an answer to what is quoted: from a Service that has this port.
    wire.packet.src = {Ip(kVipA), 80, Protocol::kUdp};
    wire.packet.dst = {Ip(to), 40000, Protocol::kUdp};
    wire.packet.shape = quote == Quote::kWithoutPorts
                            ? reference::Packet::Shape::kIcmpErrorCut
                            : reference::Packet::Shape::kIcmpErrorOther;
    wire.quote = quote;
    if (quote == Quote::kWithoutPorts) wire.quoted = 4;
    wire.router = Ip("192.0.2.254");
    Note(episode_.Travel(wire));
  }
  void Worsen(const L4Address& endpoint, reference::Health health) {
    const absl::StatusOr<bool> worse = episode_.Worsen(endpoint, health);
    Note(worse.status());
    if (worse.ok() && !*worse) Note(std::string("it has no backend"));
  }
  void Call(const SocketCall& call) { Note(episode_.Call(call)); }
  // The next datagram of the socket that made call `number`.
  void Datagram(size_t number) {
    if (number >= episode_.talks()) {
      return Note(std::string("there is no such socket"));
    }
    Note(episode_.Datagram(number));
  }
  void SetNode(const reference::Node& node) {
    Note(episode_.SetNode(node));
    Publish();
  }

  const std::string& difference() const { return difference_; }

 private:
  static void SetFlags(std::string_view flags, reference::Packet* packet) {
    if (!packet->IsConnection()) return;
    packet->syn = flags.find('S') != flags.npos;
    packet->ack = flags.find('A') != flags.npos;
    packet->fin = flags.find('F') != flags.npos;
    packet->rst = flags.find('R') != flags.npos;
  }
  void Note(const absl::Status& status) {
    if (!status.ok()) Note(status.ToString());
  }
  void Note(const absl::StatusOr<std::string>& result) {
    Note(result.ok() ? *result : result.status().ToString());
  }
  void Note(const std::string& text) {
    if (difference_.empty()) difference_ = text;
  }

  Tally tally_;
  Episode episode_;
  std::string difference_;
};

constexpr Protocol kTcp = Protocol::kTcp, kUdp = Protocol::kUdp;

struct Row {
  const char* name;
  std::function<void(Story*)> tell;
};

// Two Services with one NodePort: a restart, which lists by name, moved it.
void RestartMovesAContestedNodePort(Story* story) {
  kube::Service zebra = Story::Service("b", kTcp);
  zebra.ports[0].node_port = 30001;
  story->episode().PutService(zebra);
  story->episode().PutSlice(Story::Slice("b", kTcp, {kEndpoint}));
  story->Publish();
  for (int later = 0; later < 3; ++later) {  // a second later
    kube::Service ant = Story::Service("a", kTcp);
    ant.ports[0].node_port = 30001;
    story->episode().DeleteService("default/a");
    story->episode().PutService(ant);
  }
  story->Publish();
  story->Send(kOutside, 40000, "203.0.113.7", 30001, kTcp);
  story->Restart();
  story->Send(kOutside, 40001, "203.0.113.7", 30001, kTcp);
}

// A client that is only heard keeps its tuple.
void OneWayUdpLosesItsTuple(Story* story) {
  story->TwoServices(kUdp);
  story->Send(kOutside, 40000, kVipA, 80, kUdp);
  for (int i = 0; i < 8; ++i) {
    story->Age(25);
    story->Send(kOutside, 40000, kVipA, 80, kUdp);
  }
  story->Send(kOutside, 40000, kVipB, 80, kUdp);
}

// ... and its source port.
void OneWayUdpLosesItsSourcePort(Story* story) {
  story->TwoServices(kUdp);
  const reference::Node node = DefaultNode();
  const Port ports = node.source_port_max - node.source_port_min + 1;
  for (Port i = 0; i < ports; ++i) {
    story->Send(kOutside, 40000 + i, kVipA, 80, kUdp);
  }
  for (int round = 0; round < 8; ++round) {
    story->Age(25);
    for (Port i = 0; i < ports; ++i) {
      story->Send(kOutside, 40000 + i, kVipA, 80, kUdp);
    }
  }
  story->Send(kOutside, 41000, kVipA, 80, kUdp);
}

// The endpoint has finished, the client goes on.
void HalfClosedTcpLosesItsTuple(Story* story) {
  story->TwoServices(kTcp);
  story->Send(kOutside, 40000, kVipA, 80, kTcp);
  story->Answer(0, "SA");
  story->Answer(0, "FA");
  for (int i = 0; i < 3; ++i) {
    story->Age(50);
    story->Send(kOutside, 40000, kVipA, 80, kTcp, "A");
  }
  story->Send(kOutside, 40000, kVipB, 80, kTcp);
}

void SourcePortsOfResetFlowsAreFreed(Story* story) {
  story->TwoServices(kTcp);
  const reference::Node node = DefaultNode();
  const Port ports = node.source_port_max - node.source_port_min + 1;
  for (Port i = 0; i < ports; ++i) {
    story->Send(kOutside, 40000 + i, kVipA, 80, kTcp);
    story->Send(kOutside, 40000 + i, kVipA, 80, kTcp, "R");
  }
  story->Age(150);
  story->Send(kOutside, 41000, kVipA, 80, kTcp);
}

// The first flow's end must not take the second one's entries with it.
void AnOvertakenFlowTakesTheNewcomersEntries(Story* story) {
  story->TwoServices(kUdp);
  story->Send(kOutside, 40000, kVipA, 80, kUdp);
  story->Age(200);
  story->Send(kOutside, 40000, kVipB, 80, kUdp);
  story->Send(kOutside, 40000, kVipA, 80, kUdp);
}

void AnOvertakenSourcePortIsFreedByItsOldFlow(Story* story) {
  story->TwoServices(kTcp);
  const reference::Node node = DefaultNode();
  const Port ports = node.source_port_max - node.source_port_min + 1;
  for (Port i = 0; i < ports; ++i) {
    story->Send(kOutside, 40000 + i, kVipA, 80, kTcp);
    story->Answer(i, "RA");
  }
  story->Age(150);
  for (Port i = 0; i < ports; ++i) {
    story->Send(kOutside, 41000 + i, kVipA, 80, kTcp);
  }
  // All ports are live flows'; the old ones try again.
  for (Port i = 0; i < ports; ++i) {
    story->Send(kOutside, 40000 + i, kVipA, 80, kTcp);
  }
}

// What is left of a flow whose source port was taken over must not take that
// port from its new owner.
void ADirectConnectionTakesTheNewcomersSourcePort(Story* story) {
  story->TwoServices(kTcp);
  const reference::Node node = DefaultNode();
  const Port ports = node.source_port_max - node.source_port_min + 1;
  for (Port i = 0; i < ports; ++i) {
    story->Send(kOutside, 40000 + i, kVipA, 80, kTcp);
    story->Send(kOutside, 40000 + i, kVipA, 80, kTcp, "R");
  }
  story->Age(150);
  for (Port i = 0; i < ports; ++i) {
    story->Send(kOutside, 41000 + i, kVipA, 80, kTcp);
  }
  for (Port i = 0; i < ports; ++i) {
    story->Send(kOutside, 40000 + i, kEndpoint, 8080, kTcp);
  }
  for (size_t i = 0; i < story->episode().flows().all().size(); ++i) {
    if (!story->episode().flows().all()[i]->overtaken) {
      story->Answer(i, "SA");
    }
  }
}

// Section 10: another Service's use of the endpoint doesn't count.
void UdpOutlivesItsService(Story* story) {
  story->TwoServices(kUdp);
  story->Send(kOutside, 40000, kVipA, 80, kUdp);
  story->episode().DeleteService("default/a");
  story->Publish();
  story->Send(kOutside, 40000, kVipA, 80, kUdp);
}

void UdpOutlivesItsEndpoint(Story* story) {
  story->TwoServices(kUdp);
  story->Send(kOutside, 40000, kVipA, 80, kUdp);
  story->episode().PutSlice(Story::Slice("a", kUdp, {"10.1.2.3"}));
  story->Publish();
  story->Send(kOutside, 40000, kVipA, 80, kUdp);
}

// The last endpoint of a UDP service: no flow goes on to the dead address.
void UdpEndsWithTheLastEndpoint(Story* story) {
  story->TwoServices(kUdp);
  story->Send(kOutside, 40000, kVipA, 80, kUdp);
  story->episode().PutSlice(Story::Slice("a", kUdp, {}));
  story->episode().PutSlice(Story::Slice("b", kUdp, {}));
  story->Publish();
  story->Send(kOutside, 40000, kVipA, 80, kUdp);
}

void TcpOutlivesItsEndpoint(Story* story) {
  story->TwoServices(kTcp);
  story->Send(kOutside, 40000, kVipA, 80, kTcp);
  story->Answer(0, "SA");
  story->episode().DeleteService("default/a");
  story->episode().DeleteService("default/b");
  story->Publish();
  story->Send(kOutside, 40000, kVipA, 80, kTcp, "A");
  story->Answer(0, "A");
}

// Two pods that are each other's endpoints, and send from the port that they
// serve on: what goes to the one looks like an answer to the other.
void EachOthersEndpoints(Story* story, Protocol protocol,
                         const std::string& other, Port source) {
  story->episode().PutService(Story::Service("a", protocol));
  story->episode().PutSlice(Story::Slice("a", protocol, {kEndpoint}));
  story->episode().PutService(Story::Service("b", protocol));
  story->episode().PutSlice(Story::Slice("b", protocol, {other}));
  story->Publish();
  for (int round = 0; round < 2; ++round) {
    const bool first = round == 0;
    const char* sent = first ? "S" : "A";
    story->Send(other, source, kVipA, 80, protocol, sent);
    story->Answer(0, first ? "SA" : "A");
    story->Send(kEndpoint, source, kVipB, 80, protocol, sent);
    story->Answer(1, first ? "SA" : "A");
  }
}

void PodsAreEachOthersUdpEndpoints(Story* story) {
  EachOthersEndpoints(story, kUdp, "10.1.1.2", 8080);
}
void PodsAreEachOthersTcpEndpoints(Story* story) {
  EachOthersEndpoints(story, kTcp, "10.1.1.2", 8080);
}
// One of them is masqueraded: its answers come to another port.
void APodAndANodeAreEachOthersEndpoints(Story* story) {
  EachOthersEndpoints(story, kTcp, "203.0.113.7", 8080);
}

// The error's packet looks like an answer of the very same flow.
void AnErrorAboutTheAnswerOfAHairpin(Story* story) {
  story->TwoServices(kUdp);
  story->Send(kEndpoint, 8080, kVipA, 80, kUdp);
  story->Answer(0);
  story->ErrorAboutAnswer(0);
}

// An ICMP error was taken for what it quotes, if that has no ports, ends before
// them or isn't the addressee's: one to a pod was dropped, or answered with an
// error, and one to a Service passed.
void AnErrorAboutAnEchoToAServiceIsAnswered(Story* story) {
  story->TwoServices(kUdp);
  story->StrayError("10.1.1.9", Quote::kEcho);
}
void AnErrorAboutOthersPacketsToAServiceIsPassed(Story* story) {
  story->TwoServices(kUdp);
  story->StrayError(kVipB, Quote::kOthersPacket);
}
void AShortErrorAboutAServiceIsDropped(Story* story) {
  story->TwoServices(kUdp);
  story->StrayError("10.1.1.9", Quote::kWithoutPorts);
  story->StrayError(kVipB, Quote::kWithoutPorts);
}

reference::Node OtherNode() {
  reference::Node node = DefaultNode();
  node.addresses = {{Ip("203.0.113.8"), true}};
  node.masquerade = {Ip("203.0.113.8")};
  return node;
}

// Their answers would come to an address where nobody knows them, and their
// source ports be given to others.
void MasqueradedFlowsOutliveTheirAddress(Story* story) {
  story->TwoServices(kTcp);
  const reference::Node node = DefaultNode();
  const Port ports = node.source_port_max - node.source_port_min + 1;
  for (Port i = 0; i < ports; ++i) {
    story->Send(kOutside, 40000 + i, kVipA, 80, kTcp);
    story->Answer(i, "SA");
  }
  story->SetNode(OtherNode());
  for (Port i = 0; i < ports; ++i) {
    story->Send(kOutside, 40000 + i, kVipA, 80, kTcp, "A");
    story->Send(kOutside, 41000 + i, kVipA, 80, kTcp);
  }
}

// The source became "::".
void MasqueradesWithoutAnAddress(Story* story) {
  kube::Service service = Story::Service("a", kTcp);
  service.cluster_ips = {Ip("2001:db8:2::1")};
  kube::EndpointSlice slice = Story::Slice("a", kTcp, {"2001:db8:10:2::2"});
  slice.family = IpFamily::kIpv6;
  story->episode().PutService(service);
  story->episode().PutSlice(slice);
  story->SetNode(OtherNode());
  story->Send("2001:db8:1::10", 40000, "2001:db8:2::1", 80, kTcp);
}

// An IPv6 socket that is connected to an IPv4 frontend names its endpoint with
// each datagram, and that may be a frontend, too.
void AMappedSocketsDatagramsAreTranslatedTwice(Story* story) {
  kube::Service service = Story::Service("a", kUdp);
  kube::EndpointSlice slice = Story::Slice("a", kUdp, {"203.0.113.7"});
  slice.ports[0].port = 80;
  story->episode().PutService(service);
  story->episode().PutSlice(slice);
  kube::Service other = Story::Service("b", kUdp);
  other.external_ips = {Ip("203.0.113.7")};
  story->episode().PutService(other);
  story->episode().PutSlice(Story::Slice("b", kUdp, {}));
  story->Publish();
  story->Call({.to = {Ip(kVipA), 80, kUdp}, .mapped = true});
}

// A Service's endpoint at the Service's own address, which a connected socket
// names: translated or not, it is the same.
void AServiceIsItsOwnEndpoint(Story* story) {
  kube::Service service = Story::Service("a", kUdp);
  service.external_ips = {Ip("203.0.113.7")};
  kube::EndpointSlice slice = Story::Slice("a", kUdp, {"203.0.113.7"});
  slice.ports[0].port = 80;
  story->episode().PutService(service);
  story->episode().PutSlice(slice);
  story->Publish();
  for (int times = 0; times < 2; ++times) {
    story->Call({.to = {Ip("203.0.113.7"), 80, kUdp}, .connected = true});
  }
  story->Datagram(0);  // which ends the story of that socket
  story->Worsen({Ip("203.0.113.7"), 80, kUdp}, reference::Health::kOff);
  story->Datagram(0);
}

// A Service of UDP, and its one endpoint elsewhere.
kube::EndpointSlice OneUdpEndpoint(Story* story) {
  kube::EndpointSlice slice = Story::Slice("a", kUdp, {kEndpoint});
  slice.ports[0].port = 5353;
  story->episode().PutService(Story::Service("a", kUdp));
  story->episode().PutSlice(slice);
  story->Publish();
  return slice;
}

void ASocketsExchangeEndsWhenNewOnesAreDropped(Story* story) {
  OneUdpEndpoint(story);
  for (bool connected : {false, true}) {
    story->Call({.to = {Ip(kVipA), 80, kUdp}, .connected = connected});
  }
  kube::Service service = Story::Service("a", kUdp);
  service.internal_local = true;
  story->episode().PutService(service);
  story->Publish();
  story->Datagram(0);
  story->Datagram(1);
}

void AConnectedSocketsDatagramGoesToAnotherEndpoint(Story* story) {
  kube::EndpointSlice slice = OneUdpEndpoint(story);
  story->Call({.to = {Ip(kVipA), 80, kUdp}, .connected = true});
  slice.endpoints[0].ready = false;
  slice.endpoints[0].terminating = true;
  slice.endpoints.push_back({.address = Ip("10.1.2.3")});
  story->episode().PutSlice(slice);
  story->Publish();
  story->Datagram(0);
}

// Who has it now says who serves, though the endpoint is one of his, too.
void AnotherServiceTakesASocketsFrontend(Story* story) {
  for (const char* name : {"a", "b"}) {
    kube::Service service = Story::Service(name, kUdp);
    service.external_ips = {Ip("192.0.2.200")};
    kube::EndpointSlice slice = Story::Slice(name, kUdp, {kEndpoint});
    slice.ports[0].port = 5353;
    if (service.meta.name == "b") {
      slice.endpoints.push_back({.address = Ip("10.1.2.3")});
    }
    story->episode().PutService(service);
    story->episode().PutSlice(slice);
  }
  story->Publish();
  story->Call(
      {.to = {Ip("192.0.2.200"), 80, kUdp}, .connected = false});
  story->episode().DeleteService("default/a");
  story->Publish();
  story->Datagram(0);
}

// This host's own source there is the VIP itself, which the range of another
// of its addresses lets in.
void AHostCallsALoadBalancerThatIsItsOwnAddress(Story* story) {
  reference::Node node = DefaultNode();
  node.addresses.push_back({Ip("2001:db8:1::201"), true});
  kube::Service service = Story::Service("a", kTcp);
  service.type = kube::ServiceType::kLoadBalancer;
  service.load_balancer_vips = {Ip("2001:db8:3::7")};
  service.source_ranges = {*IpPrefix::Parse("2001:db8:1::/64")};
  story->episode().PutService(service);
  story->SetNode(node);
  story->Call({.to = {Ip("2001:db8:3::7"), 80, kTcp}, .host = true});
}

#define FL_ROW(name) Row{#name, name}
const Row kRows[] = {
    FL_ROW(RestartMovesAContestedNodePort),
    FL_ROW(OneWayUdpLosesItsTuple),
    FL_ROW(OneWayUdpLosesItsSourcePort),
    FL_ROW(HalfClosedTcpLosesItsTuple),
    FL_ROW(SourcePortsOfResetFlowsAreFreed),
    FL_ROW(AnOvertakenFlowTakesTheNewcomersEntries),
    FL_ROW(AnOvertakenSourcePortIsFreedByItsOldFlow),
    FL_ROW(ADirectConnectionTakesTheNewcomersSourcePort),
    FL_ROW(UdpOutlivesItsService),
    FL_ROW(UdpOutlivesItsEndpoint),
    FL_ROW(UdpEndsWithTheLastEndpoint),
    FL_ROW(TcpOutlivesItsEndpoint),
    FL_ROW(PodsAreEachOthersUdpEndpoints),
    FL_ROW(PodsAreEachOthersTcpEndpoints),
    FL_ROW(APodAndANodeAreEachOthersEndpoints),
    FL_ROW(AnErrorAboutTheAnswerOfAHairpin),
    FL_ROW(AnErrorAboutAnEchoToAServiceIsAnswered),
    FL_ROW(AnErrorAboutOthersPacketsToAServiceIsPassed),
    FL_ROW(AShortErrorAboutAServiceIsDropped),
    FL_ROW(MasqueradedFlowsOutliveTheirAddress),
    FL_ROW(MasqueradesWithoutAnAddress),
    FL_ROW(AMappedSocketsDatagramsAreTranslatedTwice),
    FL_ROW(AServiceIsItsOwnEndpoint),
    FL_ROW(ASocketsExchangeEndsWhenNewOnesAreDropped),
    FL_ROW(AConnectedSocketsDatagramGoesToAnotherEndpoint),
    FL_ROW(AHostCallsALoadBalancerThatIsItsOwnAddress),
    FL_ROW(AnotherServiceTakesASocketsFrontend),
};
#undef FL_ROW

class Regressions : public testing::TestWithParam<Row> {};

TEST_P(Regressions, ProductAndReferenceAgree) {
  Story story;
  GetParam().tell(&story);
  std::string all;
  for (const std::string& line : story.episode().trace()) all += line + "\n";
  EXPECT_EQ(story.difference(), "") << all;
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Regressions, testing::ValuesIn(kRows),
    [](const testing::TestParamInfo<Row>& row) { return row.param.name; });

}  // namespace
}  // namespace fairlead::differential
