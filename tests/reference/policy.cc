// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/policy.h"

#include <algorithm>

namespace fairlead::reference {
namespace {

bool Holds(const std::vector<IpPrefix>& prefixes, const IpAddress& address) {
  for (const IpPrefix& prefix : prefixes) {
    if (prefix.family() == address.family() && prefix.Contains(address)) {
      return true;
    }
  }
  return false;
}

bool Names(const std::vector<std::string>& names, const std::string& name) {
  return !name.empty() &&
         std::find(names.begin(), names.end(), name) != names.end();
}

// Section 4: the hints that are followed, if any.
enum class Mode { kNone, kSameNode, kSameZone };

Mode ModeOf(const Node& node, const std::vector<Candidate>& all) {
  bool every_node = true, every_zone = true;
  bool some_node = false, some_zone = false;
  for (const Candidate& c : all) {
    if (!c.ready) continue;
    every_node = every_node && !c.node_hints.empty();
    every_zone = every_zone && !c.zone_hints.empty();
    some_node = some_node || Names(c.node_hints, node.name);
    some_zone = some_zone || Names(c.zone_hints, node.zone);
  }
  if (every_node && some_node) return Mode::kSameNode;
  if (node.flaw == Flaw::kHints) every_zone = true;
  if (every_zone && some_zone) return Mode::kSameZone;
  return Mode::kNone;
}

bool IsAvailable(const Node& node, Mode mode, const Candidate& c) {
  if (mode == Mode::kSameNode) return Names(c.node_hints, node.name);
  if (mode == Mode::kSameZone) return Names(c.zone_hints, node.zone);
  return true;
}

bool IsExternallyAccessible(const kube::Service& s, const kube::ServicePort& p,
                            IpFamily family) {
  auto of_family = [family](const std::vector<IpAddress>& all) {
    return std::any_of(all.begin(), all.end(), [family](const IpAddress& ip) {
      return ip.family() == family;
    });
  };
  return p.node_port != 0 || of_family(s.load_balancer_vips) ||
         of_family(s.external_ips);
}

// Section 7. A range of zero bits is no restriction.
bool MayUseLoadBalancer(const State& state, const kube::Service& s,
                        const IpAddress& client) {
  if (state.node.flaw == Flaw::kSourceRange) return true;
  bool restricted = false, holds_node = false, vip = false;
  for (const IpPrefix& range : s.source_ranges) {
    if (range.family() != client.family()) continue;
    if (range.bits() == 0) return true;
    restricted = true;
    if (range.Contains(client)) return true;
    for (const Node::Address& own : state.node.addresses) {
      holds_node = holds_node || (own.address.family() == range.family() &&
                                  range.Contains(own.address));
    }
  }
  for (const IpAddress& ip : s.load_balancer_vips) vip = vip || ip == client;
  return !restricted || (holds_node && vip);
}

bool IsLoopback(const IpAddress& address) {
  return IpPrefix::Parse("127.0.0.0/8")->Contains(address) ||
         IpPrefix::Parse("::1/128")->Contains(address);
}

// A pod's address isn't known to the socket path; this host's own is the one
// that it masquerades with.
bool IsSurelyInRanges(const State& state, const ServicePortId& port,
                      bool host) {
  if (state.node.flaw == Flaw::kDecline) return true;
  bool restricted = false;
  const kube::Service& service = state.services().at(port.service);
  const IpAddress own = MasqueradeAddress(state.node, port.family);
  for (const IpPrefix& range : service.source_ranges) {
    if (range.family() != port.family) continue;
    if (range.bits() == 0) return true;
    restricted = true;
    if (host && range.Contains(own)) return true;
  }
  return !restricted;
}

// Section 6, without hairpins.
bool TranslatesSource(const Node& node, FrontendKind kind,
                      bool external_local, Client client) {
  const bool pod = client == Client::kPod || client == Client::kRemotePod;
  if (kind == FrontendKind::kClusterIp) {
    if (node.masquerade_all) return true;
    return DetectsPods(node) && !pod;
  }
  if (!external_local) {
    return !(node.flaw == Flaw::kMasquerade && pod);
  }
  return client == Client::kHost;
}

Ruling Drop(Ruling ruling, Reason reason) {
  ruling.kind = Ruling::Kind::kDrop;
  ruling.reason = reason;
  return ruling;
}

Ruling Reject(Ruling ruling, Reason reason) {
  ruling.kind = Ruling::Kind::kReject;
  ruling.reason = reason;
  return ruling;
}

bool IsNodePortAddress(const Node& node, const IpAddress& address) {
  for (const Node::Address& own : node.addresses) {
    if (own.address == address) return own.node_port;
  }
  return false;
}

const kube::ServicePort& PortOf(const kube::Service& service,
                                const std::string& name) {
  return *std::find_if(
      service.ports.begin(), service.ports.end(),
      [&name](const kube::ServicePort& p) { return p.name == name; });
}

}  // namespace

std::optional<FrontendOwner> FindFrontend(const State& state,
                                          const L4Address& destination) {
  // Where OwnerOf() has NodePorts, but nobody is.
  if (destination.address.is_unspecified()) return std::nullopt;
  if (auto owner = state.OwnerOf(destination)) return owner;
  if (!IsNodePortAddress(state.node, destination.address)) return std::nullopt;
  return state.OwnerOf(
      {IpAddress::Unspecified(destination.address.family()), destination.port,
       destination.protocol});
}

L4Address AsSocket(L4Address destination) {
  if (destination.address.is_unspecified()) {
    const bool v4 = destination.address.is_v4();
    destination.address = *IpAddress::Parse(v4 ? "127.0.0.1" : "::1");
  }
  return destination;
}

IpAddress MasqueradeAddress(const Node& node, IpFamily family) {
  for (const IpAddress& ip : node.masquerade) {
    if (ip.family() == family) return ip;
  }
  return IpAddress::Unspecified(family);
}

bool DetectsPods(const Node& node) {
  return node.detection != Detection::kByAddress || !node.pods.empty();
}

Client ClientKind(const Node& node, const IpAddress& source) {
  const bool pod =
      node.detection == Detection::kByAddress  ? Holds(node.pods, source)
      : node.detection == Detection::kByNode   ? Holds(node.own_pods, source)
                                               : node.device_has_pods;
  if (pod) {
    return node.own_pods.empty() || Holds(node.own_pods, source)
               ? Client::kPod
               : Client::kRemotePod;
  }
  for (const Node::Address& own : node.addresses) {
    if (own.address == source) return Client::kHost;
  }
  return Client::kOutside;
}

bool IsOwnAddress(const Node& node, const IpAddress& address) {
  for (const Node::Address& own : node.addresses) {
    if (own.address == address) return true;
  }
  return false;
}

// Section 14: in the range that ClusterIPs are taken from, a port that a
// Service doesn't have is refused, an address that none has is dropped.
Ruling RuleOnStray(const State& state, const IpAddress& destination) {
  std::vector<IpPrefix> ranges = state.node.service_cidrs;
  if (state.node.flaw == Flaw::kRanges && ranges.size() > 1) ranges.resize(1);
  if (!Holds(ranges, destination)) return {};
  return state.IsServiceAddress(destination)
             ? Reject({}, Reason::kNoService)
             : Drop({}, Reason::kNoService);
}

// A hairpin is (its answer would not come back); what this host itself serves
// isn't (section 14).
bool IsMasqueraded(const State& state, const Ruling& ruling,
                   const IpAddress& client, const IpAddress& endpoint) {
  if (client == endpoint) return true;
  return ruling.masquerade && !IsOwnAddress(state.node, endpoint);
}

EndpointSets SetsOf(const State& state, const ServicePortId& port) {
  const kube::Service& service = state.services().at(port.service);
  const bool external = IsExternallyAccessible(
      service, PortOf(service, port.port), port.family);
  const std::vector<Candidate> all = state.CandidatesOf(port);
  const Mode mode = ModeOf(state.node, all);
  const bool fallback = state.node.flaw != Flaw::kTerminating;
  EndpointSets sets;
  std::set<L4Address> last_cluster, last_local;
  for (const Candidate& c : all) {
    const bool last = c.serving && c.terminating && fallback;
    sets.any = sets.any || c.ready || last;
    if (c.ready && IsAvailable(state.node, mode, c)) {
      sets.cluster.insert(c.address);
    }
    if (c.ready && c.local) sets.local.insert(c.address);
    if (last) last_cluster.insert(c.address);
    if (last && c.local) last_local.insert(c.address);
  }
  if (sets.cluster.empty()) sets.cluster = last_cluster;
  if (sets.local.empty()) sets.local = last_local;
  if (service.internal_local && !external) sets.cluster.clear();
  if (!service.internal_local && !(service.external_local && external)) {
    sets.local.clear();
  }
  return sets;
}

// Past the source ranges.
Ruling RuleOnFrontend(const State& state, const FrontendOwner& owner,
                      Client kind) {
  const kube::Service& service = state.services().at(owner.port.service);
  Ruling ruling;
  ruling.port = owner.port;
  // Section 5. This cluster's own clients take the short circuit past
  // externalTrafficPolicy.
  const bool inside = kind == Client::kPod || kind == Client::kHost;
  const bool local = owner.kind == FrontendKind::kClusterIp
                         ? service.internal_local
                         : service.external_local && !inside;
  const EndpointSets sets = SetsOf(state, owner.port);
  ruling.endpoints = local ? sets.local : sets.cluster;
  if (ruling.endpoints.empty()) {
    return sets.any ? Drop(ruling, Reason::kNoLocalEndpoint)
                    : Reject(ruling, Reason::kNoEndpoint);
  }
  ruling.kind = Ruling::Kind::kForward;
  ruling.masquerade = TranslatesSource(state.node, owner.kind,
                                       service.external_local, kind);
  ruling.affinity_seconds =
      static_cast<uint32_t>(absl::ToInt64Seconds(service.affinity));
  return ruling;
}

Ruling RuleOnNewFlow(const State& state, const IpAddress& client,
                     const L4Address& destination,
                     std::optional<Client> told) {
  const std::optional<FrontendOwner> owner = FindFrontend(state, destination);
  if (!owner) return RuleOnStray(state, destination.address);
  if (owner->kind == FrontendKind::kLoadBalancer &&
      !MayUseLoadBalancer(state, state.services().at(owner->port.service),
                          client)) {
    Ruling ruling;
    ruling.port = owner->port;
    return Drop(ruling, Reason::kSourceRange);
  }
  return RuleOnFrontend(state, *owner,
                        told.value_or(ClientKind(state.node, client)));
}

// docs/design/socket-path.md: what depends on an address that isn't chosen yet
// is left to the packets.
SocketRuling RuleOnSocket(const State& state, bool host,
                          const L4Address& destination) {
  using Kind = SocketRuling::Kind;
  if (destination.address.is_unspecified()) {
    return RuleOnSocket(state, host, AsSocket(destination));
  }
  const std::optional<FrontendOwner> owner = FindFrontend(state, destination);
  if (!owner) {
    const Ruling stray = RuleOnStray(state, destination.address);
    return {.kind = stray.kind == Ruling::Kind::kNotOurs  ? Kind::kPass
                    : stray.kind == Ruling::Kind::kReject ? Kind::kRefuse
                                                          : Kind::kDecline};
  }
  // A pod's loopback is its own.
  if (owner->kind == FrontendKind::kNodePort && !host &&
      IsLoopback(destination.address)) {
    return {};
  }
  if (owner->kind == FrontendKind::kLoadBalancer &&
      !IsSurelyInRanges(state, owner->port, host)) {
    return {.kind = Kind::kDecline};
  }
  const Ruling ruling = RuleOnFrontend(state, *owner,
                                       host ? Client::kHost : Client::kPod);
  if (ruling.kind == Ruling::Kind::kDrop) return {.kind = Kind::kDecline};
  if (ruling.kind == Ruling::Kind::kReject) return {.kind = Kind::kRefuse};
  return {.kind = Kind::kTranslate,
          .port = ruling.port,
          .endpoints = ruling.endpoints,
          .affinity_seconds = ruling.affinity_seconds};
}

}  // namespace fairlead::reference
