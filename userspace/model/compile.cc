// SPDX-License-Identifier: Apache-2.0
#include "userspace/model/compile.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::model {
namespace {

constexpr std::array kFamilies = {IpFamily::kIpv4, IpFamily::kIpv6};

bool HasClusterIp(const kube::Service& service, IpFamily family) {
  return std::any_of(
      service.cluster_ips.begin(), service.cluster_ips.end(),
      [family](const IpAddress& ip) { return ip.family() == family; });
}

// How much an endpoint's word counts against another slice's.
auto Rank(const EndpointTraits& t) {
  return std::tuple(t.terminating, !t.ready, !t.serving);
}

// A side of a frontend: the clients of this cluster, or the others.
struct Side {
  EndpointSet set = EndpointSet::kCluster;
  fl_verdict verdict = FL_VERDICT_FORWARD;
};

Side SideOf(EndpointSet set, const Categories& categories) {
  const bool empty = set == EndpointSet::kCluster ? categories.cluster_empty
                                                  : categories.local_empty;
  if (!empty) return {set, FL_VERDICT_FORWARD};
  // A local set that is empty while other nodes could serve: a load balancer
  // shall try those, and not tell its client "refused".
  return {EndpointSet::kCluster,
          categories.any_usable ? FL_VERDICT_DROP : FL_VERDICT_REJECT};
}

uint32_t MasqueradeFlags(const kube::Service& service, FrontendKind kind,
                         const NodeConfig& node) {
  constexpr uint32_t kAll = FL_SERVICE_MASQ_POD | FL_SERVICE_MASQ_HOST |
                            FL_SERVICE_MASQ_OUTSIDE;
  if (kind == FrontendKind::kClusterIp) {
    if (node.masquerade_all) return kAll;
    if (!node.detects_pods) return 0;
    return FL_SERVICE_MASQ_HOST | FL_SERVICE_MASQ_OUTSIDE;
  }
  // Local keeps the client's address; only this host's own has no way back
  // from an endpoint elsewhere.
  return service.external_local ? FL_SERVICE_MASQ_HOST : kAll;
}

bool HoldPrimary(const std::vector<IpPrefix>& ranges, const NodeConfig& node) {
  for (const IpPrefix& range : ranges) {
    for (const IpAddress& own : node.primary) {
      if (range.Contains(own)) return true;
    }
  }
  return false;
}

Frontend MakeFrontend(const kube::Service& service, const FrontendClaim& claim,
                      const Categories& categories, const NodeConfig& node,
                      const std::vector<IpPrefix>& ranges) {
  const SetsOfFrontend sets = SetsOf(service, claim.kind);
  const Side internal = SideOf(sets.internal, categories);
  const Side external = SideOf(sets.external, categories);

  Frontend out;
  out.address = claim.address;
  out.kind = claim.kind;
  out.internal = internal.set;
  out.external = external.set;
  out.flags = uint32_t{internal.verdict} << FL_SERVICE_INTERNAL_VERDICT_SHIFT |
              uint32_t{external.verdict} << FL_SERVICE_EXTERNAL_VERDICT_SHIFT |
              MasqueradeFlags(service, claim.kind, node);
  if (claim.kind == FrontendKind::kNodePort) out.flags |= FL_SERVICE_NODE_PORT;
  if (claim.kind == FrontendKind::kLoadBalancer && !ranges.empty()) {
    out.flags |= FL_SERVICE_SOURCE_RANGES;
    if (HoldPrimary(ranges, node)) out.flags |= FL_SERVICE_HOST_IN_RANGES;
  }
  return out;
}

// The sources that may use the load balancer's VIPs; empty: all.
std::vector<IpPrefix> SourceRanges(const kube::Service& service,
                                   IpFamily family, const NodeConfig& node) {
  std::vector<IpPrefix> out;
  bool holds_this_node = false;
  for (const IpPrefix& range : service.source_ranges) {
    if (range.family() != family) continue;
    if (range.bits() == 0) return {};
    out.push_back(range);
    for (const NodeAddress& own : node.addresses) {
      holds_this_node |= range.Contains(own.address);
    }
  }
  if (holds_this_node) {
    // From this host to a VIP that sits on it, the source is the VIP itself.
    const int bits = family == IpFamily::kIpv4 ? 32 : 128;
    for (const IpAddress& vip : service.load_balancer_vips) {
      if (vip.family() == family) out.emplace_back(vip, bits);
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Categories AddEndpoints(const std::vector<JoinedEndpoint>& joined,
                        const TrafficPolicy& policy, DesiredPort* desired) {
  std::vector<EndpointTraits> traits;
  traits.reserve(joined.size());
  for (const JoinedEndpoint& c : joined) traits.push_back(c.traits);
  Categories categories = Categorize(traits, policy);
  desired->endpoints.reserve(joined.size());
  for (size_t i = 0; i < joined.size(); ++i) {
    const bool cluster = categories.cluster[i];
    const bool local = categories.local[i];
    // Ready without serving is a contradiction; it still takes traffic.
    const bool keeps_flows = traits[i].serving || traits[i].ready;
    if (!cluster && !local && !keeps_flows) continue;
    desired->endpoints.push_back({joined[i].address, cluster, local});
  }
  return categories;
}

void AddFrontends(const kube::Service& service,
                  absl::Span<const FrontendClaim* const> claims,
                  const Categories& categories, const NodeConfig& node,
                  const std::vector<IpPrefix>& ranges, DesiredPort* desired) {
  for (const FrontendClaim* claim : claims) {
    const Frontend& frontend = desired->frontends.emplace_back(MakeFrontend(
        service, *claim, categories, node, ranges));
    if (frontend.flags & FL_SERVICE_SOURCE_RANGES) {
      desired->source_ranges = ranges;
    }
  }
  std::sort(desired->frontends.begin(), desired->frontends.end(),
            [](const Frontend& a, const Frontend& b) {
              return a.address < b.address;
            });
}

absl::Status CheckAddress(const IpAddress& address, std::string_view field) {
  const bool multicast = address.is_v4()
                             ? (address.v4_host_order() >> 28) == 0xe
                             : address.bytes()[0] == 0xff;
  if (!address.is_unspecified() && !address.is_loopback() && !multicast) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      StrCat(field, ": ", address.ToString(), " is not a unicast address"));
}

absl::Status CheckPorts(const kube::Service& service) {
  absl::flat_hash_set<std::pair<Port, Protocol>> ports;
  absl::flat_hash_set<std::pair<Port, Protocol>> node_ports;
  absl::flat_hash_set<std::string> names;
  for (const kube::ServicePort& port : service.ports) {
    if (port.port == 0) {
      return absl::InvalidArgumentError(
          StrCat("spec.ports[", port.name, "].port: must not be 0"));
    }
    if (!ports.insert({port.port, port.protocol}).second ||
        !names.insert(port.name).second ||
        (port.node_port != 0 &&
         !node_ports.insert({port.node_port, port.protocol}).second)) {
      return absl::InvalidArgumentError(
          StrCat("spec.ports[", port.name, "]: duplicate of another port"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckService(const kube::Service& service) {
  if (!IsProxied(service)) return absl::OkStatus();
  int of_family[2] = {0, 0};
  for (const IpAddress& ip : service.cluster_ips) {
    FL_RETURN_IF_ERROR(CheckAddress(ip, "spec.clusterIPs"));
    if (++of_family[ip.is_v4()] > 1) {
      return absl::InvalidArgumentError(
          "spec.clusterIPs: two addresses of one family");
    }
  }
  for (const IpAddress& ip : service.external_ips) {
    FL_RETURN_IF_ERROR(CheckAddress(ip, "spec.externalIPs"));
  }
  for (const IpAddress& ip : service.load_balancer_vips) {
    FL_RETURN_IF_ERROR(CheckAddress(ip, "status.loadBalancer.ingress"));
  }
  if (service.affinity < absl::ZeroDuration() ||
      service.affinity > absl::Hours(24)) {
    return absl::InvalidArgumentError(
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds: must be between "
        "1 and 86400");
  }
  return CheckPorts(service);
}

absl::Status CheckEndpointSlice(const kube::EndpointSlice& slice) {
  if (!slice.family) return absl::OkStatus();
  for (const kube::Endpoint& e : slice.endpoints) {
    FL_RETURN_IF_ERROR(CheckAddress(e.address, "endpoints.addresses"));
    if (e.address.family() != *slice.family) {
      return absl::InvalidArgumentError(
          StrCat("endpoints.addresses: ", e.address.ToString(), " is not of ",
                 IpFamilyName(*slice.family)));
    }
  }
  return absl::OkStatus();
}

Slice CompactSlice(const kube::EndpointSlice& slice, Places* places) {
  Slice out;
  out.family = slice.family;
  if (!out.family) return out;
  out.ports = slice.ports;
  out.endpoints.reserve(slice.endpoints.size());
  for (const kube::Endpoint& e : slice.endpoints) {
    SliceEndpoint& to = out.endpoints.emplace_back();
    to.address = e.address;
    if (!e.node_name.empty()) to.node = places->nodes.Intern(e.node_name);
    to.node_hints = places->node_hints.Intern(e.node_hints);
    to.zone_hints = places->zone_hints.Intern(e.zone_hints);
    to.ready = e.ready;
    to.serving = e.serving;
    to.terminating = e.terminating;
  }
  return out;
}

EndpointTraits TraitsOf(const SliceEndpoint& e, const Places& places) {
  return {.ready = e.ready,
          .serving = e.serving,
          .terminating = e.terminating,
          .local = places.nodes.Includes(e.node),
          .has_node_hints = e.node_hints != NameSets::kEmptySet,
          .hints_this_node = places.node_hints.Includes(e.node_hints),
          .has_zone_hints = e.zone_hints != NameSets::kEmptySet,
          .hints_this_zone = places.zone_hints.Includes(e.zone_hints)};
}

bool IsProxied(const kube::Service& service) {
  return !service.headless && !service.other_proxy &&
         service.type != kube::ServiceType::kExternalName &&
         !service.cluster_ips.empty();
}

bool SameForProxy(const kube::Service& a, const kube::Service& b) {
  auto fields = [](const kube::Service& s) {
    return std::tie(s.type, s.cluster_ips, s.headless, s.other_proxy, s.ports,
                    s.external_ips, s.load_balancer_vips, s.source_ranges,
                    s.affinity, s.internal_local, s.external_local,
                    s.health_check_node_port);
  };
  return fields(a) == fields(b);
}

std::vector<FrontendClaim> FrontendClaims(const kube::Service& service) {
  std::vector<FrontendClaim> out;
  if (!IsProxied(service)) return out;
  auto add = [&](FrontendKind kind, const std::vector<IpAddress>& addresses) {
    for (const IpAddress& ip : addresses) {
      if (!HasClusterIp(service, ip.family())) continue;
      for (size_t i = 0; i < service.ports.size(); ++i) {
        const kube::ServicePort& port = service.ports[i];
        const bool node_port = kind == FrontendKind::kNodePort;
        const Port number = node_port ? port.node_port : port.port;
        if (number == 0) continue;
        out.push_back({i, ip.family(), kind, {ip, number, port.protocol}});
      }
    }
  };
  add(FrontendKind::kClusterIp, service.cluster_ips);
  add(FrontendKind::kLoadBalancer, service.load_balancer_vips);
  add(FrontendKind::kExternalIp, service.external_ips);
  add(FrontendKind::kNodePort, {IpAddress::Unspecified(IpFamily::kIpv4),
                                IpAddress::Unspecified(IpFamily::kIpv6)});
  if (service.load_balancer_vips.empty() && service.external_ips.empty()) {
    return out;  // the others cannot coincide
  }
  absl::flat_hash_set<L4Address> seen;
  out.erase(std::remove_if(out.begin(), out.end(),
                           [&seen](const FrontendClaim& claim) {
                             return !seen.insert(claim.address).second;
                           }),
            out.end());
  return out;
}

SetsOfFrontend SetsOf(const kube::Service& service, FrontendKind kind) {
  auto set = [](bool local) {
    return local ? EndpointSet::kLocal : EndpointSet::kCluster;
  };
  if (kind == FrontendKind::kClusterIp) {
    return {set(service.internal_local), set(service.internal_local)};
  }
  // Clients of this cluster take the short circuit past
  // externalTrafficPolicy: Local.
  return {EndpointSet::kCluster, set(service.external_local)};
}

TrafficPolicy PolicyOf(const kube::Service& service,
                       absl::Span<const FrontendClaim> claims, size_t port,
                       IpFamily family) {
  TrafficPolicy policy{.internal_local = service.internal_local,
                       .external_local = service.external_local};
  for (const FrontendClaim& claim : claims) {
    if (claim.port != port || claim.family != family) continue;
    policy.externally_accessible |= claim.kind != FrontendKind::kClusterIp;
  }
  return policy;
}

std::vector<JoinedEndpoint> JoinEndpoints(
    const kube::ServicePort& port, IpFamily family,
    absl::Span<const Slice* const> slices, const Places& places) {
  std::vector<JoinedEndpoint> out;
  for (const Slice* slice : slices) {
    if (slice->family != family) continue;
    for (const kube::EndpointPort& target : slice->ports) {
      if (target.name != port.name || target.protocol != port.protocol ||
          target.port == 0) {
        continue;
      }
      for (const SliceEndpoint& e : slice->endpoints) {
        out.push_back({{e.address, target.port, target.protocol},
                       TraitsOf(e, places)});
      }
    }
  }
  auto before = [](const JoinedEndpoint& a, const JoinedEndpoint& b) {
    if (a.address != b.address) return a.address < b.address;
    return Rank(a.traits) < Rank(b.traits);
  };
  // As slices often have them.
  if (!std::is_sorted(out.begin(), out.end(), before)) {
    std::stable_sort(out.begin(), out.end(), before);
  }
  out.erase(std::unique(out.begin(), out.end(),
                        [](const JoinedEndpoint& a, const JoinedEndpoint& b) {
                          return a.address == b.address;
                        }),
            out.end());
  return out;
}

DesiredService Compile(const kube::Service& service,
                       absl::Span<const Slice* const> slices,
                       const NodeConfig& node, const Places& places,
                       absl::FunctionRef<bool(const L4Address&)> owns) {
  DesiredService out;
  const std::vector<FrontendClaim> claims = FrontendClaims(service);
  for (IpFamily family : kFamilies) {
    if (!HasClusterIp(service, family)) continue;
    const std::vector<IpPrefix> ranges = SourceRanges(service, family, node);
    for (size_t i = 0; i < service.ports.size(); ++i) {
      const kube::ServicePort& port = service.ports[i];
      std::vector<const FrontendClaim*> owned;
      for (const FrontendClaim& claim : claims) {
        if (claim.port != i || claim.family != family) continue;
        if (owns(claim.address)) owned.push_back(&claim);
      }
      if (owned.empty()) continue;
      DesiredPort desired;
      desired.name = port.name;
      desired.protocol = port.protocol;
      desired.family = family;
      desired.affinity_seconds =
          static_cast<uint32_t>(absl::ToInt64Seconds(service.affinity));
      const Categories categories =
          AddEndpoints(JoinEndpoints(port, family, slices, places),
                       PolicyOf(service, claims, i, family), &desired);
      AddFrontends(service, owned, categories, node, ranges, &desired);
      out.ports.push_back(std::move(desired));
    }
  }
  std::sort(out.ports.begin(), out.ports.end(),
            [](const DesiredPort& a, const DesiredPort& b) {
              return std::tie(a.name, a.protocol, a.family) <
                     std::tie(b.name, b.protocol, b.family);
            });
  return out;
}

}  // namespace fairlead::model
