// SPDX-License-Identifier: Apache-2.0
// One Service and its endpoints, compiled to what the kernel follows: the
// traffic-policy matrix becomes two selections with a verdict each and the
// masquerade flags. Pure functions.
#ifndef FAIRLEAD_USERSPACE_MODEL_COMPILE_H_
#define FAIRLEAD_USERSPACE_MODEL_COMPILE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "userspace/base/ip_address.h"
#include "userspace/kube/objects.h"
#include "userspace/model/categorize.h"
#include "userspace/model/cluster.h"
#include "userspace/model/desired.h"
#include "userspace/model/name_sets.h"

namespace fairlead::model {

// An endpoint of a slice, small: clusters have many.
struct SliceEndpoint {
  IpAddress address;
  uint32_t node_hints = NameSets::kEmptySet;
  uint32_t zone_hints = NameSets::kEmptySet;
  // There are hundreds of thousands.
  uint32_t node : 29 = NameSets::kEmptySet;
  bool ready : 1 = false;
  bool serving : 1 = false;
  bool terminating : 1 = false;

  friend bool operator==(const SliceEndpoint&, const SliceEndpoint&) = default;
};

struct Slice {
  std::optional<IpFamily> family;  // nullopt: not of addresses; ignored
  std::vector<kube::EndpointPort> ports;
  std::vector<SliceEndpoint> endpoints;

  friend bool operator==(const Slice&, const Slice&) = default;
};

// What the numbers in a SliceEndpoint mean.
struct Places {
  NameSets nodes;
  NameSets node_hints;
  NameSets zone_hints;

  explicit Places(const NodeConfig& node)
      : nodes(node.name), node_hints(node.name), zone_hints(node.zone) {}
};

// kInvalidArgument: the object must not be used; says why.
absl::Status CheckService(const kube::Service& service);
absl::Status CheckEndpointSlice(const kube::EndpointSlice& slice);

Slice CompactSlice(const kube::EndpointSlice& slice, Places* places);
EndpointTraits TraitsOf(const SliceEndpoint& endpoint, const Places& places);

// Is there anything for a proxy to do?
bool IsProxied(const kube::Service& service);
// Equal in all that a proxy reads.
bool SameForProxy(const kube::Service& a, const kube::Service& b);

// Every {address, port, protocol} that the Service asks for, each once, in
// the order in which its own claims win: ClusterIP, load balancer, external
// IP, NodePort.
struct FrontendClaim {
  size_t port = 0;  // index in service.ports
  IpFamily family = IpFamily::kIpv4;
  FrontendKind kind = FrontendKind::kClusterIp;
  L4Address address;
};
std::vector<FrontendClaim> FrontendClaims(const kube::Service& service);

// Which set serves a side's clients.
struct SetsOfFrontend {
  EndpointSet internal = EndpointSet::kCluster;
  EndpointSet external = EndpointSet::kCluster;
};
SetsOfFrontend SetsOf(const kube::Service& service, FrontendKind kind);

// The policy of one port in one family, given all the Service's claims.
TrafficPolicy PolicyOf(const kube::Service& service,
                       absl::Span<const FrontendClaim> claims, size_t port,
                       IpFamily family);

// The endpoints of one service port by address, none twice; see Compile()
// about `slices`.
struct JoinedEndpoint {
  L4Address address;
  EndpointTraits traits;
};
std::vector<JoinedEndpoint> JoinEndpoints(
    const kube::ServicePort& port, IpFamily family,
    absl::Span<const Slice* const> slices, const Places& places);

// `slices` in the order in which they win when they disagree about one
// address and port, after what the endpoints say themselves: not terminating
// before terminating, ready before not ready, serving before not serving.
// Frontends that `owns` denies are left out.
DesiredService Compile(const kube::Service& service,
                       absl::Span<const Slice* const> slices,
                       const NodeConfig& node, const Places& places,
                       absl::FunctionRef<bool(const L4Address&)> owns);

}  // namespace fairlead::model

#endif  // FAIRLEAD_USERSPACE_MODEL_COMPILE_H_
