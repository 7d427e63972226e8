// SPDX-License-Identifier: Apache-2.0
#include "tests/prog/differential.h"

#include <linux/pkt_cls.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::differential {
namespace {

using reference::Alternative;
using reference::Alternatives;
using reference::Reason;
using Kind = reference::Alternative::Kind;
using Shape = reference::Packet::Shape;

constexpr const char* kCounterNames[] = {
#define FL_COUNTER(name, text) #name,
#include "bpf/abi/counters.def"
#undef FL_COUNTER
};

uint32_t DropCounter(Reason reason) {
  switch (reason) {
    case Reason::kNoLocalEndpoint:
      return FL_COUNTER_DROP_POLICY;
    case Reason::kSourceRange:
      return FL_COUNTER_DROP_SOURCE_RANGE;
    case Reason::kNoFlow:
      return FL_COUNTER_DROP_NO_FLOW;
    case Reason::kNoService:
      return FL_COUNTER_DROP_NO_SERVICE;
    case Reason::kMalformed:
      return FL_COUNTER_DROP_MALFORMED;
    case Reason::kFragment:
      return FL_COUNTER_DROP_FRAGMENT;
    case Reason::kTupleClash:
      return FL_COUNTER_DROP_TUPLE_CLASH;
    default:
      return FL_COUNTER_MAX;
  }
}

// The one counter that this must have counted.
uint32_t CounterOf(const Alternative& alternative, const Wire& wire) {
  const bool tcp = wire.packet.IsTcp() && wire.packet.shape != Shape::kOther;
  if (wire.packet.shape == Shape::kIcmpError &&
      alternative.kind != Kind::kPass) {
    return FL_COUNTER_ICMP_TRANSLATED;
  }
  switch (alternative.kind) {
    case Kind::kPass:
      return FL_COUNTER_NOT_OURS;
    case Kind::kForward:
      return alternative.opens ? FL_COUNTER_FORWARD_NEW
                               : FL_COUNTER_FORWARD_HIT;
    case Kind::kReply:
      return FL_COUNTER_REPLY_HIT;
    case Kind::kSource:
      return FL_COUNTER_SOURCE_TRANSLATED;
    case Kind::kReject:
      if (alternative.reason == Reason::kNoFlow) {
        return FL_COUNTER_REJECT_NO_FLOW;
      }
      if (alternative.reason == Reason::kNoSourcePort) {
        return FL_COUNTER_REJECT_NO_PORT;
      }
      if (alternative.reason == Reason::kNoService) {
        return FL_COUNTER_REJECT_NO_SERVICE;
      }
      return tcp ? FL_COUNTER_REJECT_RST : FL_COUNTER_REJECT_UNREACHABLE;
    case Kind::kDrop:
      return DropCounter(alternative.reason);
  }
  return FL_COUNTER_MAX;
}

int ActionOf(Kind kind) {
  if (kind == Kind::kReject) return TC_ACT_REDIRECT;
  return kind == Kind::kDrop ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

// SCTP's pieces are dropped on purpose (docs/semantics.md; tc_sctp_test).
bool MayBeInPieces(const reference::Packet& packet) {
  return packet.shape == Shape::kWhole && !packet.IsSctp();
}

uint64_t Mix(uint64_t seed, uint64_t number) {
  uint64_t x = seed * 0x9e3779b97f4a7c15 + number + 1;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

std::string Counted(const Outcome& outcome) {
  std::string text;
  for (uint32_t id : outcome.counted) {
    StrAppend(&text, text.empty() ? "" : "+", kCounterNames[id]);
  }
  return text.empty() ? "nothing" : text;
}

std::string Words(const kube::Service& s) {
  std::string text = StrCat("service ", s.meta.name, " type ",
                            static_cast<int>(s.type));
  for (const IpAddress& ip : s.cluster_ips) {
    StrAppend(&text, " ip ", ip.ToString());
  }
  for (const IpAddress& ip : s.load_balancer_vips) {
    StrAppend(&text, " vip ", ip.ToString());
  }
  for (const IpAddress& ip : s.external_ips) {
    StrAppend(&text, " ext ", ip.ToString());
  }
  for (const IpPrefix& range : s.source_ranges) {
    StrAppend(&text, " range ", range.ToString());
  }
  for (const kube::ServicePort& p : s.ports) {
    StrAppend(&text, " ", p.name, ":", p.port, "/", p.node_port);
  }
  return StrCat(text, s.internal_local ? " iTPLocal" : "",
                s.external_local ? " eTPLocal" : "",
                s.headless ? " headless" : "",
                s.other_proxy ? " other-proxy" : "", " affinity ",
                absl::ToInt64Seconds(s.affinity));
}

std::string Words(const kube::EndpointSlice& slice) {
  std::string text = StrCat("slice ", slice.meta.name);
  for (const kube::EndpointPort& p : slice.ports) {
    StrAppend(&text, " ", p.name, ":", p.port);
  }
  for (const kube::Endpoint& e : slice.endpoints) {
    StrAppend(&text, " [", e.address.ToString(), e.ready ? " ready" : "",
              e.serving ? " serving" : "", e.terminating ? " terminating" : "",
              " ", e.node_name);
    for (const std::string& zone : e.zone_hints) StrAppend(&text, " z:", zone);
    for (const std::string& node : e.node_hints) StrAppend(&text, " n:", node);
    text += "]";
  }
  return text;
}

}  // namespace

Episode::Episode(World* world, reference::Flaw flaw, Tally* tally)
    : world_(world), flaw_(flaw), tally_(tally) {}

absl::Status Episode::BeginEmpty(const reference::Node& node) {
  state_.node = node;
  state_.node.flaw = flaw_;
  return world_->Reset(node);
}

absl::Status Episode::Begin(uint64_t seed, const std::set<int>& skipped) {
  FL_RETURN_IF_ERROR(BeginEmpty(world_->node()));
  Draw draw(Mix(seed, ~uint64_t{0}));
  int number = 0;  // objects count downwards
  for (int i = 0; i < kServices; ++i) {
    const kube::Service service = draw.Service(i);
    if (draw.Chance(80) && !skipped.contains(--number)) PutService(service);
    for (int part = 0; part < kSlicesOfService; ++part) {
      const kube::EndpointSlice slice = draw.Slice(i, part);
      if (draw.Chance(60) && !skipped.contains(--number)) PutSlice(slice);
    }
  }
  return Publish();
}

// ---- the state, on both sides ----

void Episode::PutService(kube::Service service) {
  // Some in the same second.
  service.meta.creation = absl::FromUnixSeconds(++created_ / 3);
  auto before = state_.services().find(reference::KeyOf(service.meta));
  if (before != state_.services().end()) {
    service.meta.creation = before->second.meta.creation;
  }
  changed_ = true;
  trace_.push_back(Words(service));
  state_.PutService(service);
  world_->cluster().PutService(service);
}

void Episode::DeleteService(const std::string& key) {
  changed_ = true;
  trace_.push_back(StrCat("delete service ", key));
  state_.DeleteService(key);
  world_->cluster().DeleteService(key);
}

void Episode::PutSlice(const kube::EndpointSlice& slice) {
  changed_ = true;
  trace_.push_back(Words(slice));
  state_.PutSlice(slice);
  world_->cluster().PutEndpointSlice(slice);
}

void Episode::DeleteSlice(const std::string& key) {
  changed_ = true;
  trace_.push_back(StrCat("delete slice ", key));
  state_.DeleteSlice(key);
  world_->cluster().DeleteEndpointSlice(key);
}

absl::Status Episode::SetNode(const reference::Node& node) {
  changed_ = true;
  state_.node = node;
  std::string ports, ranges;
  for (const IpPrefix& range : node.service_cidrs) {
    StrAppend(&ranges, " ", range.ToString());
  }
  for (const reference::Node::Address& own : node.addresses) {
    StrAppend(&ports, " ", own.address.ToString(), own.node_port ? "!" : "");
  }
  trace_.push_back(StrCat("node zone ", node.zone, " masquerade all ",
                          node.masquerade_all, " own pods known ",
                          !node.own_pods.empty(), " device has pods ",
                          node.device_has_pods, ports, " services", ranges,
                          " masquerade ",
                          node.masquerade.empty()
                              ? "none"
                              : node.masquerade.front().ToString()));
  return world_->SetNode(node);
}

void Episode::StateChanged() {
  flows_.StateChanged();
  std::erase_if(talks_, [this](Talk& talk) {
    if (flows_.MayGoOn(talk.exchange)) return false;
    talk.exchange.endpoint.reset();
    return talk.call.connected;  // as the agent does
  });
}

absl::Status Episode::Publish() {
  if (!changed_) return absl::OkStatus();
  changed_ = false;
  FL_RETURN_IF_ERROR(world_->Apply());
  StateChanged();
  ++tally_->states;
  return absl::OkStatus();
}

absl::Status Episode::Age(uint32_t seconds) {
  FL_ASSIGN_OR_RETURN(const bool done, world_->Age(seconds));
  if (!done) return absl::OkStatus();
  trace_.push_back(StrCat(seconds, " seconds pass"));
  flows_.Advance(seconds);
  return absl::OkStatus();
}

absl::Status Episode::Restart() {
  trace_.push_back("restart");
  changed_ = false;
  FL_RETURN_IF_ERROR(world_->Restart(state_));
  state_.health.clear();
  StateChanged();
  return absl::OkStatus();
}

absl::Status Episode::Change(Draw* draw) {
  const int service = static_cast<int>(draw->Below(kServices));
  const int part = static_cast<int>(draw->Below(kSlicesOfService));
  const std::string name = StrCat("default/s", service);
  const std::string slice = StrCat(name, "-", part);
  const uint32_t what = draw->Below(20);
  auto known = state_.services().find(name);
  if (what < 2 || (what < 3 && known == state_.services().end())) {
    PutService(draw->Service(service));
  } else if (what < 3) {
    // Only what new flows are told.
    kube::Service changed = known->second;
    const kube::Service other = draw->Service(service);
    changed.internal_local = other.internal_local;
    changed.external_local = other.external_local;
    changed.source_ranges = other.source_ranges;
    PutService(changed);
  } else if (what < 5) {
    DeleteService(name);
  } else if (what < 7) {
    DeleteSlice(slice);
  } else if (what < 10) {
    PutSlice(draw->Slice(service, part));
  } else if (what < 18) {
    auto it = state_.slices().find(slice);
    if (it == state_.slices().end()) {
      PutSlice(draw->Slice(service, part));
    } else {
      kube::EndpointSlice changed = it->second;
      draw->ChangeEndpoints(&changed);
      PutSlice(changed);
    }
  } else if (what < 19) {
    reference::Node node = state_.node;
    draw->ChangeNode(&node);
    FL_RETURN_IF_ERROR(SetNode(node));
  } else {
    return Restart();
  }
  return draw->Chance(20) ? absl::OkStatus() : Publish();
}

// ---- packets ----

std::string Episode::SourceMismatch(const Wire& wire,
                                    const Alternative& alternative,
                                    const Outcome& outcome) const {
  const L4Address source = ReadAddresses(outcome.frame, wire).src;
  const reference::Node& node = state_.node;
  if (source.port < node.source_port_min ||
      source.port > node.source_port_max) {
    return StrCat("source port ", source.port, " is out of the range");
  }
  if (flows_.IsSourceInUse(source, *alternative.flow)) {
    return StrCat("source port ", source.port, " is another flow's");
  }
  return "";
}

std::string Episode::Mismatch(Direction direction, const Wire& wire,
                              uint32_t mark, const Alternative& alternative,
                              const Outcome& outcome) const {
  const uint32_t counter = CounterOf(alternative, wire);
  if (outcome.counted != std::vector<uint32_t>{counter}) return "counted";
  if (outcome.action != ActionOf(alternative.kind)) return "action";
  if (alternative.kind == Kind::kDrop) return "";
  if (alternative.kind == Kind::kReject) {
    return FrameDiff(BuildRefusal(wire), outcome.frame);
  }
  Wire expected = wire;
  const bool ingress = direction == Direction::kIngress;
  if (alternative.kind != Kind::kPass) {
    (ingress ? expected.packet.dst : expected.packet.src) = alternative.to;
    if (!ingress) expected.router = alternative.to.address;
  }
  const bool error = wire.packet.shape == Shape::kIcmpError;
  if (alternative.kind == Kind::kSource && alternative.to.port == 0 &&
      wire.packet.shape != Shape::kLaterFragment) {
    if (std::string why = SourceMismatch(wire, alternative, outcome);
        !why.empty()) {
      return why;
    }
    expected.packet.src.port = ReadAddresses(outcome.frame, wire).src.port;
  }
  const bool forward = alternative.kind == Kind::kForward;
  const uint32_t mark_after =
      !ingress && alternative.kind == Kind::kPass && !error ? mark
      : forward && alternative.masquerade                   ? kMark
                                                            : 0;
  // Whether others are marked, too, is the product's own business.
  if (outcome.mark != mark_after && !(forward && outcome.mark == kMark)) {
    return "mark";
  }
  return FrameDiff(BuildFrame(expected), outcome.frame);
}

absl::StatusOr<std::string> Episode::Compare(Direction direction,
                                             const Wire& wire, uint32_t mark,
                                             bool own,
                                             const Alternatives& alternatives,
                                             Outcome* outcome,
                                             const Alternative** taken) {
  FL_ASSIGN_OR_RETURN(*outcome,
                      world_->Run(direction, BuildFrame(wire), mark, own,
                                  wire.link != Link::kNone));
  ++tally_->packets;
  CountRare(wire);
  for (uint32_t id : outcome->counted) {
    ++tally_->counted[kCounterNames[id]];
    const L4Address& to = wire.packet.dst;
    ++tally_->met[StrCat(kCounterNames[id], " ", ProtocolName(to.protocol),
                         " ", IpFamilyName(to.address.family()))];
  }
  const bool ingress = direction == Direction::kIngress;
  std::string line = StrCat(ingress ? "in  " : "out ", Describe(wire),
                            mark ? " marked" : "", own ? " own" : "", " : ",
                            Counted(*outcome));
  std::string why;
  for (const Alternative& alternative : alternatives) {
    const std::string one =
        Mismatch(direction, wire, mark, alternative, *outcome);
    if (one.empty()) {
      *taken = &alternative;
      trace_.push_back(StrCat(line, " = ", alternative.ToString()));
      return std::string();
    }
    StrAppend(&why, "  expected ", alternative.ToString(), "; differs in ",
              one, "\n");
  }
  trace_.push_back(line);
  return StrCat(line, " action ", outcome->action, " mark ", outcome->mark,
                "\n", why, "got:\n",
                packet::ToString(packet::Describe(outcome->frame)));
}

absl::StatusOr<std::string> Episode::GoOut(
    const Wire& wire, uint32_t mark,
    const std::shared_ptr<reference::Flow>& flow, bool own) {
  const Alternatives alternatives =
      flows_.Egress(wire.packet, mark != 0, flow, own);
  Outcome outcome;
  const Alternative* taken = nullptr;
  FL_ASSIGN_OR_RETURN(std::string difference,
                      Compare(Direction::kEgress, wire, mark, own, alternatives,
                              &outcome, &taken));
  if (taken == nullptr) return difference;
  flows_.EgressTook(wire.packet, *taken,
                    ReadAddresses(outcome.frame, wire).src);
  return std::string();
}

absl::StatusOr<std::string> Episode::Travel(const Wire& wire) {
  const Alternatives alternatives = flows_.Ingress(wire.packet);
  Outcome outcome;
  const Alternative* taken = nullptr;
  FL_ASSIGN_OR_RETURN(std::string difference,
                      Compare(Direction::kIngress, wire, 0, false,
                              alternatives, &outcome, &taken));
  if (taken == nullptr) return difference;
  const std::shared_ptr<reference::Flow> flow =
      flows_.IngressTook(wire.packet, *taken);
  tally_->flows += taken->opens;
  if (taken->opens && taken->to.port == wire.packet.dst.port) {
    ++tally_->drawn["endpoint at a service port"];
  }
  if (taken->kind == Kind::kDrop || taken->kind == Kind::kReject) {
    return std::string();
  }
  Wire out = wire;
  if (taken->kind != Kind::kPass) {
    out.packet.dst = taken->to;
  }
  return GoOut(out, outcome.mark,
               taken->kind != Kind::kForward ? nullptr
               : flow                        ? flow
                                             : taken->flow,
               false);
}

absl::StatusOr<std::string> Episode::Answer(const reference::Flow& flow,
                                            Wire wire) {
  if (flow.masquerade && flow.source.port == 0) return std::string();
  wire.packet.src = flow.endpoint;
  wire.packet.dst = flow.masquerade ? flow.source : flow.client;
  return Travel(wire);
}

// A datagram in pieces; sometimes a later one comes first.
absl::StatusOr<std::string> Episode::Fragments(Draw* draw, Wire wire) {
  wire.packet.fragment_id = ++fragment_id_;
  wire.payload = static_cast<int>(8 * (4 + draw->Below(20)));
  Wire first = wire, later = wire;
  first.packet.shape = Shape::kFirstFragment;
  first.more_fragments = true;
  later.packet.shape = Shape::kLaterFragment;
  later.fragment_offset = static_cast<uint16_t>(wire.payload + 8);
  std::string difference;
  if (draw->Chance(20)) {
    FL_ASSIGN_OR_RETURN(difference, Travel(later));
  }
  if (difference.empty()) {
    FL_ASSIGN_OR_RETURN(difference, Travel(first));
  }
  if (difference.empty() && draw->Chance(5)) {
    FL_RETURN_IF_ERROR(Age(50));
  }
  if (difference.empty()) {
    FL_ASSIGN_OR_RETURN(difference, Travel(later));
  }
  return difference;
}

absl::StatusOr<std::string> Episode::OfKnownFlow(Draw* draw, bool answer) {
  if (flows_.all().empty()) return std::string();
  const std::shared_ptr<reference::Flow> flow = draw->Of(flows_.all());
  Wire wire;
  wire.packet.src = flow->client;
  wire.packet.dst = flow->frontend;
  draw->LaterFlags(&wire.packet);
  if (!answer && draw->Chance(15)) {
    wire.packet.ack = wire.packet.fin = wire.packet.rst = false;
    wire.packet.syn = wire.packet.IsConnection();
  }
  if (answer) {
    if (flow->masquerade && flow->source.port == 0) return std::string();
    wire.packet.src = flow->endpoint;
    wire.packet.dst = flow->masquerade ? flow->source : flow->client;
  }
  draw->Variety(&wire);
  if (draw->Chance(6)) draw->Harm(&wire);
  if (MayBeInPieces(wire.packet) && draw->Chance(8)) {
    return Fragments(draw, wire);
  }
  return Travel(wire);
}

// From a router before the endpoint, or before the client.
absl::StatusOr<std::string> Episode::Errors(Draw* draw) {
  if (flows_.all().empty()) return std::string();
  const std::shared_ptr<reference::Flow> flow = draw->Of(flows_.all());
  if (flow->masquerade && flow->source.port == 0) return std::string();
  Wire wire;
  wire.packet.shape = Shape::kIcmpError;
  const bool v4 = flow->client.address.is_v4();
  wire.router = *IpAddress::Parse(v4 ? "192.0.2.254" : "2001:db8:1::fe");
  if (draw->Chance(50)) {
    wire.packet.src = flow->client;
    wire.packet.dst = flow->frontend;
  } else {
    wire.packet.src = flow->endpoint;
    wire.packet.dst = flow->masquerade ? flow->source : flow->client;
  }
  draw->ChooseLink(&wire);
  if (wire.link == Link::kNone) wire.link = Link::kEthernet;
  if (draw->Chance(10)) ++wire.packet.dst.port;  // about nobody's packet
  draw->ErrorVariety(&wire);
  wire.packet.extended = false;
  return Travel(wire);
}

// Packets that nobody has a right to: to a port for translated sources, or
// out of this node in an endpoint's name.
absl::StatusOr<std::string> Episode::Strangers(Draw* draw) {
  Wire wire = draw->Packet(state_);
  if (draw->Chance(30)) draw->LaterFlags(&wire.packet);
  const IpFamily family = wire.packet.src.address.family();
  if (!flows_.all().empty() && draw->Chance(30)) {
    // A client past its Service.
    const reference::Flow& flow = *draw->Of(flows_.all());
    wire.packet.src = flow.client;
    wire.packet.dst = flow.endpoint;
    draw->ChooseLink(&wire);
    wire.packet.syn = wire.packet.IsConnection();
    wire.packet.ack = wire.packet.fin = wire.packet.rst = false;
    return Travel(wire);
  }
  if (draw->Chance(50)) {
    for (const IpAddress& ip : state_.node.masquerade) {
      if (ip.family() == family) wire.packet.dst.address = ip;
    }
    wire.packet.dst.port =
        static_cast<Port>(state_.node.source_port_min + draw->Below(6));
    return Travel(wire);
  }
  if (draw->Chance(60)) return GoOut(wire, 0, nullptr, /*own=*/true);
  std::swap(wire.packet.src, wire.packet.dst);
  draw->ChooseLink(&wire);
  const uint32_t mark = draw->Chance(20) ? kMark : 0;
  // A masqueraded flow's answers always come in first.
  const Alternatives known =
      flows_.Egress(wire.packet, false, nullptr, false);
  for (const Alternative& a : known) {
    if (a.flow && a.flow->masquerade) return std::string();
  }
  return GoOut(wire, mark, nullptr, /*own=*/false);
}

absl::StatusOr<std::string> Episode::Step(uint64_t seed, int number) {
  Draw draw(Mix(seed, static_cast<uint64_t>(number)));
  const uint32_t what = draw.Below(100);
  if (what < 10) {
    FL_RETURN_IF_ERROR(Change(&draw));
    // A change that waits for another one is published by that one.
    return std::string();
  }
  FL_RETURN_IF_ERROR(Publish());
  if (what < 12) {
    FL_RETURN_IF_ERROR(Age(draw.Chance(50) ? 20 : 50));
    return std::string();
  }
  if (what < 35) return OfKnownFlow(&draw, /*answer=*/false);
  if (what < 58) return OfKnownFlow(&draw, /*answer=*/true);
  if (what < 64) return Strangers(&draw);
  if (what < 69) return Errors(&draw);
  if (what < 71) return Unhealthy(&draw);
  if (what < 75) return Sockets(&draw);
  Wire wire = draw.Packet(state_);
  if (draw.Chance(6)) draw.Harm(&wire);
  if (MayBeInPieces(wire.packet) && draw.Chance(8)) {
    return Fragments(&draw, wire);
  }
  return Travel(wire);
}

// ---- runs ----

absl::StatusOr<std::optional<Difference>> RunEpisode(
    World* world, uint64_t seed, reference::Flaw flaw, Tally* tally,
    const std::set<int>& skipped) {
  Episode episode(world, flaw, tally);
  FL_RETURN_IF_ERROR(episode.Begin(seed, skipped));
  for (int step = 0; step < kSteps; ++step) {
    if (skipped.contains(step)) continue;
    FL_ASSIGN_OR_RETURN(const std::string text, episode.Step(seed, step));
    if (text.empty()) continue;
    Difference difference = {seed, step, skipped, ""};
    for (const std::string& line : episode.trace()) {
      StrAppend(&difference.text, line, "\n");
    }
    StrAppend(&difference.text, "DIFFERENCE: ", text);
    return difference;
  }
  return std::optional<Difference>();
}

absl::StatusOr<Difference> Minimise(World* world, Difference difference,
                                    reference::Flaw flaw) {
  // Which endpoint is chosen is the product's die: a few throws.
  constexpr int kThrows = 4;
  constexpr int kObjects = kServices * (1 + kSlicesOfService);
  Tally tally;
  for (int step = difference.step + 1; step < kSteps; ++step) {
    difference.skipped.insert(step);
  }
  for (int step = difference.step - 1; step >= -kObjects; --step) {
    std::set<int> skipped = difference.skipped;
    skipped.insert(step);
    for (int i = 0; i < kThrows; ++i) {
      FL_ASSIGN_OR_RETURN(
          std::optional<Difference> fewer,
          RunEpisode(world, difference.seed, flaw, &tally, skipped));
      if (!fewer) continue;
      difference = *std::move(fewer);
      break;
    }
  }
  return difference;
}

absl::StatusOr<std::optional<Difference>> RunFor(World* world, uint64_t seed,
                                                 absl::Duration limit,
                                                 reference::Flaw flaw,
                                                 Tally* tally) {
  const absl::Time end = absl::Now() + limit;
  for (; absl::Now() < end; ++seed) {
    FL_ASSIGN_OR_RETURN(std::optional<Difference> difference,
                        RunEpisode(world, seed, flaw, tally));
    if (difference) return difference;
  }
  return std::optional<Difference>();
}

}  // namespace fairlead::differential
