// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/flows.h"

#include <algorithm>
#include <utility>

namespace fairlead::reference {
namespace {

using Kind = Alternative::Kind;
using Shape = Packet::Shape;

// docs/design/packet-path.md; netfilter's defaults or longer.
constexpr int64_t kUdpSilence = 120;
constexpr int64_t kUdpUnansweredSilence = 30;
constexpr int64_t kResetSilence = 10;
constexpr int64_t kFinishedSilence = 120;
constexpr int64_t kTcpUnansweredSilence = 120;
constexpr int64_t kTcpSilence = 432000;
constexpr int64_t kFragmentSeconds = 30;

Alternative Pass() { return {}; }
Alternative Dropped(Reason reason) {
  return {.kind = Kind::kDrop, .reason = reason};
}
Alternative Rejected(Reason reason) {
  return {.kind = Kind::kReject, .reason = reason};
}

void Append(const Alternatives& more, Alternatives* out) {
  out->insert(out->end(), more.begin(), more.end());
}

bool HasNoPorts(Shape shape) {
  return shape == Shape::kLaterFragment || shape == Shape::kCut ||
         shape == Shape::kIcmpErrorCut;
}

std::string_view KindName(Kind kind) {
  constexpr std::string_view kNames[] = {"pass",   "forward", "reply",
                                         "source", "reject",  "drop"};
  return kNames[static_cast<int>(kind)];
}

std::string_view ReasonName(Reason reason) {
  constexpr std::string_view kNames[] = {
      "",           "no endpoint",  "no local endpoint", "source range",
      "no flow",    "no service",   "malformed",         "fragment",
      "tuple clash", "no source port"};
  return kNames[static_cast<int>(reason)];
}

}  // namespace

std::string Alternative::ToString() const {
  std::string text(KindName(kind));
  if (reason != Reason::kNone) {
    text += " (" + std::string(ReasonName(reason)) + ")";
  }
  if (kind == Kind::kForward || kind == Kind::kReply || kind == Kind::kSource) {
    text += " " + to.ToString();
  }
  if (masquerade) text += " masquerade";
  if (opens) text += " new";
  return text;
}

void Flows::Advance(int64_t seconds) {
  now_ += seconds;
  for (const FlowPointer& flow : flows_) flow->doubtful = MayBeDead(*flow);
}

void Flows::StateChanged() {
  for (auto it = affinity_.begin(); it != affinity_.end();) {
    const ServicePortId& port = it->first.first;
    auto service = state_->services().find(port.service);
    bool keep = service != state_->services().end() &&
                service->second.affinity > absl::ZeroDuration() &&
                state_->HasFrontend(port) &&
                state_->KeepersOf(port).contains(it->second.endpoint);
    it = keep ? std::next(it) : affinity_.erase(it);
  }
  // A source that this node doesn't have can't be answered.
  auto homeless = [this](const FlowPointer& flow) {
    return flow->masquerade && state_->node.flaw != Flaw::kNodeAddress &&
           flow->source.address !=
               MasqueradeAddress(state_->node, flow->source.address.family());
  };
  std::erase_if(flows_, homeless);
  std::erase_if(remains_, homeless);
  for (const FlowPointer& flow : flows_) flow->stale |= !IsServed(*flow);
  std::erase_if(flows_, [](const FlowPointer& flow) {
    return flow->stale && flow->client.protocol == Protocol::kUdp;
  });
}

// Section 10: a UDP flow goes on, whatever the policies, while its endpoint
// serves whoever has its frontend now; a NodePort's at whichever address it
// was. TCP goes on anyway, but a first packet that is seen again needn't.
bool Flows::IsServed(const Flow& flow) const {
  if (flow.client.protocol != Protocol::kUdp) {
    return TakesNewFlows(flow.endpoint);
  }
  return IsKept(flow.frontend, flow.endpoint);
}

bool Flows::IsKept(L4Address frontend, const L4Address& endpoint) const {
  std::optional<FrontendOwner> owner = state_->OwnerOf(frontend);
  if (!owner) {
    frontend.address = IpAddress::Unspecified(frontend.address.family());
    owner = state_->OwnerOf(frontend);
  }
  return owner && state_->KeepersOf(owner->port).contains(endpoint);
}

// ---- finding flows ----

Flows::FlowPointer Flows::FindForward(const L4Address& client,
                                      const L4Address& frontend) const {
  for (const FlowPointer& flow : flows_) {
    if (flow->client == client && flow->frontend == frontend &&
        !flow->overtaken) {
      return flow;
    }
  }
  return nullptr;
}

Flows::FlowPointer Flows::FindMasqueraded(const L4Address& endpoint,
                                          const L4Address& source) const {
  for (const FlowPointer& flow : flows_) {
    if (flow->masquerade && flow->endpoint == endpoint &&
        flow->source == source && flow->source.port != 0 &&
        !flow->overtaken) {
      return flow;
    }
  }
  return nullptr;
}

Flows::FlowPointer Flows::FindReply(const L4Address& endpoint,
                                    const L4Address& client) const {
  for (const FlowPointer& flow : flows_) {
    if (flow->endpoint == endpoint && flow->client == client) return flow;
  }
  return nullptr;
}

bool Flows::IsOver(const Flow& flow) const {
  return flow.client_rst || flow.endpoint_rst ||
         (flow.client_fin && flow.endpoint_fin);
}

int64_t Flows::Silence(const Flow& flow) const {
  return now_ - std::max(flow.client_seen, flow.endpoint_seen);
}

bool Flows::IsDead(const Flow& flow) const {
  int64_t limit = kTcpSilence;
  if (flow.client.protocol == Protocol::kUdp) {
    limit = flow.answered || flow.doubtful ? kUdpSilence
                                           : kUdpUnansweredSilence;
  } else if (flow.client_rst || flow.endpoint_rst) {
    limit = kResetSilence;
  } else if (flow.client_fin && flow.endpoint_fin) {
    limit = kFinishedSilence;
  } else if (!flow.answered) {
    limit = kTcpUnansweredSilence;
  }
  return Silence(flow) >= limit;
}

bool Flows::MayBeDead(const Flow& flow) const {
  const bool half = flow.client_fin || flow.endpoint_fin;
  return flow.doubtful || flow.overtaken || IsDead(flow) ||
         (half && Silence(flow) >= kFinishedSilence);
}

bool Flows::IsSourceInUse(const L4Address& source, const Flow& flow) const {
  FlowPointer other = FindMasqueraded(flow.endpoint, source);
  return other && other.get() != &flow && !MayBeDead(*other);
}

// Through any Service: what serves one may go on serving a first packet that
// is seen again.
bool Flows::TakesNewFlows(const L4Address& endpoint) const {
  for (const ServicePortId& port : state_->PortsOf(endpoint.address.family())) {
    const EndpointSets sets = SetsOf(*state_, port);
    if ((sets.cluster.contains(endpoint) || sets.local.contains(endpoint)) &&
        state_->HasFrontend(port)) {
      return true;
    }
  }
  return false;
}

bool Flows::ServesAny(const L4Address& endpoint) const {
  for (const ServicePortId& port : state_->PortsOf(endpoint.address.family())) {
    if (state_->KeepersOf(port).contains(endpoint) &&
        state_->HasFrontend(port)) {
      return true;
    }
  }
  return false;
}

std::set<L4Address> Flows::Healthy(
    const std::set<L4Address>& endpoints) const {
  std::set<L4Address> out;
  for (const L4Address& endpoint : endpoints) {
    if (state_->HealthOf(endpoint) == Health::kOn) out.insert(endpoint);
  }
  return out;
}

std::optional<L4Address> Flows::Remembered(
    const ServicePortId& port, const IpAddress& client, uint32_t seconds,
    const std::set<L4Address>& among) const {
  auto it = affinity_.find({port, client});
  if (seconds == 0 || it == affinity_.end() ||
      now_ - it->second.used > seconds) {
    return std::nullopt;
  }
  if (!among.contains(it->second.endpoint) &&
      state_->node.flaw != Flaw::kAffinity) {
    return std::nullopt;
  }
  return it->second.endpoint;
}

// ---- ingress ----

Alternatives Flows::Ingress(const Packet& packet) const {
  if (packet.shape == Shape::kNotIp) return {Pass()};
  if (packet.extended && state_->node.flaw == Flaw::kExtensions) {
    return {Pass()};
  }
  if (packet.shape == Shape::kOther) {
    const Ruling ruling = RuleOnStray(*state_, packet.dst.address);
    if (ruling.kind == Ruling::Kind::kDrop) return {Dropped(ruling.reason)};
    if (ruling.kind == Ruling::Kind::kReject) return {Rejected(ruling.reason)};
    return {Pass()};
  }
  if (packet.shape == Shape::kIcmpError) return IngressError(packet);
  // RFC 1122, 3.2.2: nobody answers an error with an error.
  if (packet.shape == Shape::kIcmpErrorOther) {
    const Ruling ruling = RuleOnStray(*state_, packet.dst.address);
    if (ruling.kind == Ruling::Kind::kNotOurs ||
        state_->node.flaw == Flaw::kStrayError) {
      return {Pass()};
    }
    return {Dropped(Reason::kNoService)};
  }
  if (HasNoPorts(packet.shape)) return WithoutPorts(packet, false);
  const bool malformed = packet.shape == Shape::kMalformed;
  if (FlowPointer flow = FindMasqueraded(packet.src, packet.dst)) {
    Alternatives out;
    if (flow->doubtful) out = Start(packet, nullptr);
    out.push_back(malformed ? Dropped(Reason::kMalformed)
                            : Alternative{.kind = Kind::kReply,
                                          .to = flow->client,
                                          .flow = flow});
    return out;
  }
  FlowPointer flow = FindForward(packet.src, packet.dst);
  if (flow && malformed) {
    Alternatives out = {Dropped(Reason::kMalformed)};
    if (flow->doubtful) Append(Start(packet, flow.get()), &out);
    return out;
  }
  Alternatives out =
      flow ? Continue(packet, flow) : Start(packet, nullptr);
  AddRemains(packet, &out);
  return out;
}

void Flows::AddRemains(const Packet& packet, Alternatives* out) const {
  for (const FlowPointer& flow : remains_) {
    if (flow->endpoint == packet.src && flow->source == packet.dst &&
        flow->source.port != 0) {
      out->push_back(
          {.kind = Kind::kReply, .to = flow->client, .flow = flow});
    }
  }
}

// Goes where an answer would, and changes nothing.
Alternatives Flows::IngressError(const Packet& packet) const {
  Alternatives out = {Pass()};
  if (FlowPointer flow = FindMasqueraded(packet.src, packet.dst)) {
    if (!flow->doubtful) out.clear();
    out.push_back({.kind = Kind::kReply, .to = flow->client, .flow = flow});
  } else if (FlowPointer flow = FindForward(packet.src, packet.dst)) {
    if (!flow->doubtful) out.clear();
    out.push_back({.kind = Kind::kForward, .to = flow->endpoint, .flow = flow});
  } else {
    AddRemains(packet, &out);
  }
  return out;
}

Alternatives Flows::Continue(const Packet& packet,
                             const FlowPointer& flow) const {
  const Alternative known = {.kind = Kind::kForward,
                             .to = flow->endpoint,
                             .masquerade = flow->masquerade,
                             .port = flow->port,
                             .flow = flow};
  Alternatives anew = Start(packet, flow.get());
  if (!packet.IsInitial()) {
    if (!flow->doubtful) return {known};
    anew.push_back(known);
    return anew;
  }
  const Health health = state_->HealthOf(flow->endpoint);
  if (!packet.IsConnection()) {
    if (Silence(*flow) >= kUdpSilence || health == Health::kOff) return anew;
    if (!flow->stale && !flow->doubtful) return {known};
    if (ServesAny(flow->endpoint)) anew.push_back(known);
    return anew;
  }
  if (IsOver(*flow) || health != Health::kOn) return anew;
  const Ruling ruling = RuleOnNewFlow(*state_, packet.src.address, packet.dst);
  if (ruling.kind == Ruling::Kind::kForward &&
      ruling.endpoints.contains(flow->endpoint) && !flow->stale &&
      !flow->doubtful) {
    return {known};
  }
  if (flow->doubtful || TakesNewFlows(flow->endpoint)) anew.push_back(known);
  return anew;
}

// `instead_of`: the packet's own flow, which ends by this.
Alternatives Flows::Start(const Packet& packet, const Flow* instead_of) const {
  const Ruling ruling =
      RuleOnNewFlow(*state_, packet.src.address, packet.dst);
  if (ruling.kind == Ruling::Kind::kNotOurs) return {Pass()};
  const bool malformed = packet.shape == Shape::kMalformed;
  if (ruling.reason == Reason::kNoService && (malformed || packet.rst)) {
    return {Dropped(Reason::kNoService)};
  }
  if (ruling.reason == Reason::kNoService &&
      ruling.kind == Ruling::Kind::kReject) {
    return {Rejected(Reason::kNoService)};
  }
  if (malformed) return {Dropped(Reason::kMalformed)};
  if (ruling.kind == Ruling::Kind::kDrop) return {Dropped(ruling.reason)};
  if (!packet.IsInitial()) {
    const bool silent = packet.rst || (packet.IsSctp() &&
                                       state_->node.flaw != Flaw::kSctp);
    return {silent ? Dropped(Reason::kNoFlow) : Rejected(Reason::kNoFlow)};
  }
  if (ruling.kind == Ruling::Kind::kReject) return {Rejected(ruling.reason)};

  const std::set<L4Address> healthy = Healthy(ruling.endpoints);
  if (healthy.empty()) return {Rejected(Reason::kNoEndpoint)};
  Alternatives out;
  if (const auto remembered =
          Remembered(ruling.port, packet.src.address, ruling.affinity_seconds,
                     healthy)) {
    AddEndpoint(packet, ruling, *remembered, instead_of, &out);
    // Unless its answers could not be told from another flow's.
    if (out.front().kind == Kind::kForward) return out;
  }
  for (const L4Address& endpoint : healthy) {
    AddEndpoint(packet, ruling, endpoint, instead_of, &out);
  }
  const bool unsure = std::any_of(
      out.begin(), out.end(),
      [](const Alternative& a) { return a.reason == Reason::kTupleClash; });
  for (Alternative& alternative : out) alternative.affinity_unsure = unsure;
  return out;
}

// What may come of choosing this endpoint.
void Flows::AddEndpoint(const Packet& packet, const Ruling& ruling,
                        const L4Address& endpoint, const Flow* instead_of,
                        Alternatives* out) const {
  int ports_in_use = 0, perhaps = 0;
  bool clash = false, perhaps_clash = false;
  for (const FlowPointer& other : flows_) {
    if (other.get() == instead_of || other->endpoint != endpoint ||
        IsDead(*other)) {
      continue;
    }
    if (other->masquerade) {
      ++perhaps;
      ports_in_use += !MayBeDead(*other);
    }
    if (other->client == packet.src) {
      perhaps_clash = true;
      clash = clash || !MayBeDead(*other);
    }
  }
  const Alternative forward = {
      .kind = Kind::kForward,
      .to = endpoint,
      .masquerade = IsMasqueraded(*state_, ruling, packet.src.address,
                                  endpoint.address),
      .opens = true,
      .affinity_seconds = ruling.affinity_seconds,
      .port = ruling.port};
  if (forward.masquerade &&
      MasqueradeAddress(state_->node, endpoint.address.family())
          .is_unspecified()) {
    out->push_back(Rejected(Reason::kNoSourcePort));
    return;
  }
  const int ports =
      state_->node.source_port_max - state_->node.source_port_min + 1;
  if (forward.masquerade && perhaps >= ports) {
    out->push_back(Rejected(Reason::kNoSourcePort));
    if (ports_in_use >= ports) return;
  }
  if (perhaps_clash) out->push_back(Dropped(Reason::kTupleClash));
  if (clash) return;
  out->push_back(forward);
}

Alternatives Flows::WithoutPorts(const Packet& packet, bool egress) const {
  if (packet.shape == Shape::kLaterFragment) {
    if (state_->node.flaw == Flaw::kFragment) return {Pass()};
    auto it = fragments_.find(FragmentKeyOf(packet, egress));
    if (it != fragments_.end() && now_ - it->second.seen < kFragmentSeconds) {
      return {it->second.as};
    }
  }
  // Where nobody but Services can be meant.
  if (!egress && state_->IsServiceAddress(packet.dst.address) &&
      !IsOwnAddress(state_->node, packet.dst.address)) {
    return {Dropped(packet.shape == Shape::kLaterFragment
                        ? Reason::kFragment
                        : Reason::kMalformed)};
  }
  return {Pass()};
}

// ---- egress ----

Alternatives Flows::Egress(const Packet& packet, bool marked,
                           const FlowPointer& flow, bool own) const {
  if (packet.shape == Shape::kOther || packet.shape == Shape::kNotIp ||
      packet.shape == Shape::kCut || packet.shape == Shape::kIcmpErrorCut ||
      packet.shape == Shape::kIcmpErrorOther) {
    return {Pass()};
  }
  if (packet.shape == Shape::kIcmpError) return EgressError(packet, flow);
  if (packet.shape == Shape::kLaterFragment) {
    if (state_->node.flaw == Flaw::kFragment) return {Pass()};
    Alternatives out = WithoutPorts(packet, true);
    if (marked && out.front().kind == Kind::kPass) {
      return {Dropped(Reason::kFragment)};
    }
    return out;
  }
  if (flow != nullptr) {
    if (!flow->masquerade && !marked) return {Pass()};
    // A mark alone changes nothing: the node's own business.
    if (!flow->masquerade) {
      return {{.kind = Kind::kSource, .to = packet.src, .flow = flow}};
    }
    return {{.kind = Kind::kSource, .to = flow->source, .flow = flow}};
  }
  if (marked) return {Dropped(Reason::kNoFlow)};
  if (FlowPointer reply = FindReply(packet.src, packet.dst)) {
    return EgressReply(packet, reply);
  }
  return own ? EgressOwn(packet) : Alternatives{Pass()};
}

Alternatives Flows::EgressError(const Packet& packet,
                                const FlowPointer& as) const {
  Alternatives out = {Pass()};
  if (as != nullptr) {
    if (!as->masquerade) return out;
    if (!as->doubtful && !as->overtaken) out.clear();
    out.push_back({.kind = Kind::kSource, .to = as->source, .flow = as});
  } else if (FlowPointer flow = FindReply(packet.src, packet.dst)) {
    if (!flow->doubtful && !flow->overtaken) out.clear();
    out.push_back({.kind = Kind::kReply, .to = flow->frontend, .flow = flow});
  } else if (FlowPointer flow = FindReply(packet.dst, packet.src)) {
    if (!flow->masquerade) return out;
    if (!flow->doubtful && !flow->overtaken) out.clear();
    out.push_back({.kind = Kind::kSource, .to = flow->source, .flow = flow});
  }
  return out;
}

Alternatives Flows::EgressReply(const Packet& packet,
                                const FlowPointer& flow) const {
  Alternatives out;
  if (flow->doubtful || flow->overtaken) out.push_back(Pass());
  if (packet.shape == Shape::kMalformed) {
    out.push_back(Dropped(Reason::kMalformed));
    return out;
  }
  if (state_->node.flaw == Flaw::kReply) return {Pass()};
  // No answer to the flow's SYN: the two had a connection of their own first.
  if (packet.IsTcp() && !flow->answered && !flow->client_rst &&
      !flow->masquerade && !packet.syn && !packet.rst) {
    out.push_back({.removes = true, .flow = flow});
  } else {
    out.push_back({.kind = Kind::kReply, .to = flow->frontend, .flow = flow});
  }
  return out;
}

// What a process of this host has sent past the socket path: that which is
// refused or dropped there, too, ends here; the rest isn't ours.
Alternatives Flows::EgressOwn(const Packet& packet) const {
  if (!packet.IsInitial()) return {Pass()};
  const Ruling ruling = RuleOnNewFlow(*state_, packet.src.address, packet.dst,
                                      Client::kHost);
  if (ruling.kind == Ruling::Kind::kDrop) return {Dropped(ruling.reason)};
  if (ruling.kind == Ruling::Kind::kReject) return {Rejected(ruling.reason)};
  return {Pass()};
}

// ---- sockets ----

namespace {

// Clients of one network namespace share their affinity; nobody's address.
IpAddress Namespace(bool host) {
  return *IpAddress::Parse(host ? "ff00::1" : "ff00::2");
}

}  // namespace

SocketRuling Flows::Socket(bool host, const L4Address& to) const {
  SocketRuling ruling = RuleOnSocket(*state_, host, to);
  if (ruling.kind != SocketRuling::Kind::kTranslate) return ruling;
  ruling.endpoints = Healthy(ruling.endpoints);
  if (ruling.endpoints.empty()) ruling.kind = SocketRuling::Kind::kRefuse;
  if (const auto remembered = Remembered(ruling.port, Namespace(host),
                                         ruling.affinity_seconds,
                                         ruling.endpoints)) {
    ruling.endpoints = {*remembered};
  }
  return ruling;
}

bool Flows::MayGoOn(const Exchange& exchange) const {
  return exchange.endpoint &&
         IsKept(AsSocket(exchange.to), *exchange.endpoint);
}

// As in conntrack: verdicts, policies and source ranges are for what is new.
SocketRuling Flows::Next(const Exchange& exchange) const {
  const SocketRuling anew = Socket(exchange.host, exchange.to);
  const auto owner = FindFrontend(*state_, AsSocket(exchange.to));
  // Where another Service has the address now, it says who serves.
  if (!owner || owner->port != exchange.port || !exchange.endpoint ||
      state_->HealthOf(*exchange.endpoint) == Health::kOff) {
    return anew;
  }
  // There is nothing to translate.
  if (exchange.connected && *exchange.endpoint == AsSocket(exchange.to)) {
    return {};
  }
  if (anew.kind != SocketRuling::Kind::kTranslate &&
      state_->node.flaw == Flaw::kExchange) {
    return anew;
  }
  return {.kind = SocketRuling::Kind::kTranslate,
          .port = owner->port,
          .endpoints = {*exchange.endpoint}};
}

void Flows::SocketTook(bool host, const SocketRuling& ruling,
                       const L4Address& endpoint) {
  if (ruling.affinity_seconds == 0) return;
  affinity_[{ruling.port, Namespace(host)}] = {endpoint, now_};
}

// ---- what was seen ----

Flows::FlowPointer Flows::IngressTook(const Packet& packet,
                                      const Alternative& alternative) {
  if (HasNoPorts(packet.shape)) return alternative.flow;
  if (packet.shape == Shape::kMalformed || packet.shape == Shape::kOther ||
      packet.shape == Shape::kNotIp || packet.shape == Shape::kIcmpError ||
      packet.shape == Shape::kIcmpErrorOther) {
    return nullptr;
  }
  FlowPointer flow = alternative.flow;
  if (alternative.kind == Kind::kPass && packet.IsConnection() &&
      packet.IsInitial()) {
    MakePlace(packet);
  }
  if (!flow) {
    if (FlowPointer old = FindForward(packet.src, packet.dst)) Remove(old);
    if (alternative.kind == Kind::kForward) flow = Open(packet, alternative);
    if (alternative.kind == Kind::kDrop ||
        alternative.kind == Kind::kReject) {
      // An endpoint may have been remembered before it turned out.
      const Ruling ruling =
          RuleOnNewFlow(*state_, packet.src.address, packet.dst);
      affinity_.erase({ruling.port, packet.src.address});
    }
  } else if (alternative.kind == Kind::kReply) {
    flow->answer_on_its_way = true;
  } else if (alternative.kind == Kind::kForward) {
    flow->client_seen = now_;
    flow->client_fin |= packet.IsConnection() && packet.fin;
    flow->client_rst |= packet.IsConnection() && packet.rst;
  }
  if (flow && packet.shape == Shape::kFirstFragment) {
    Alternative later = alternative;
    later.flow = flow;
    NoteFragment(packet, false, later);
  }
  return flow;
}

// A client that connects to an endpoint by its own address: a flow with the
// same two ends that is over must not translate its answers.
void Flows::MakePlace(const Packet& packet) {
  FlowPointer flow = FindReply(packet.dst, packet.src);
  if (!flow) return;
  if (flow->masquerade) {
    // Whether it is over for its own answers, such packets don't say.
    flow->doubtful = true;
  } else if (IsOver(*flow) || IsDead(*flow)) {
    Remove(flow);
  } else {
    flow->doubtful = MayBeDead(*flow);
  }
}

Flows::FlowPointer Flows::Open(const Packet& packet,
                               const Alternative& alternative) {
  // Only one that is dead can be in the way.
  while (FlowPointer other = FindReply(alternative.to, packet.src)) {
    Remove(other);
  }
  auto flow = std::make_shared<Flow>();
  flow->client = packet.src;
  flow->frontend = packet.dst;
  flow->endpoint = alternative.to;
  flow->port = alternative.port;
  flow->masquerade = alternative.masquerade;
  flow->source = {
      MasqueradeAddress(state_->node, packet.src.address.family()), 0,
      packet.src.protocol};
  flow->client_seen = flow->endpoint_seen = now_;
  const AffinityKey key = {alternative.port, packet.src.address};
  if (alternative.affinity_unsure) {
    affinity_.erase(key);
  } else if (alternative.affinity_seconds > 0) {
    affinity_[key] = {alternative.to, now_};
  }
  flows_.push_back(flow);
  return flow;
}

void Flows::Remove(const FlowPointer& flow) {
  if (flow->masquerade && (MayBeDead(*flow) || flow->stale)) {
    remains_.push_back(flow);
  }
  flows_.erase(std::find(flows_.begin(), flows_.end(), flow));
}

void Flows::EgressTook(const Packet& packet, const Alternative& alternative,
                       const L4Address& source) {
  if (!alternative.flow || packet.shape == Shape::kLaterFragment ||
      packet.shape == Shape::kIcmpError) {
    return;
  }
  if (alternative.removes) return Remove(alternative.flow);
  Flow& flow = *alternative.flow;
  if (alternative.kind == Kind::kSource && flow.masquerade) {
    for (const FlowPointer& other : flows_) {
      if (other.get() != &flow && other->masquerade &&
          other->endpoint == flow.endpoint && other->source == source) {
        other->overtaken = true;
      }
    }
    flow.source = source;
  } else if (alternative.kind == Kind::kReply) {
    // Past the flow's source, straight between its two ends: it may or may not
    // keep the flow.
    flow.endpoint_seen = now_;
    if (flow.masquerade && !std::exchange(flow.answer_on_its_way, false)) {
      flow.doubtful = true;
    } else {
      flow.answered = true;
      flow.endpoint_fin |= packet.IsConnection() && packet.fin;
      flow.endpoint_rst |= packet.IsConnection() && packet.rst;
    }
  }
  if (packet.shape == Shape::kFirstFragment) {
    Alternative later = alternative;
    later.to = alternative.kind == Kind::kSource ? source : alternative.to;
    NoteFragment(packet, true, later);
  }
}

Flows::FragmentKey Flows::FragmentKeyOf(const Packet& packet, bool egress) {
  return {egress, packet.src.address, packet.dst.address, packet.src.protocol,
          packet.fragment_id};
}

void Flows::NoteFragment(const Packet& packet, bool egress,
                         const Alternative& alternative) {
  Alternative as = alternative;
  as.opens = false;
  fragments_[FragmentKeyOf(packet, egress)] = {as, now_};
}

}  // namespace fairlead::reference
