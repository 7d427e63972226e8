// SPDX-License-Identifier: Apache-2.0
// Which endpoints of a service port may be used on this node (KEP-1669, 2086,
// 2433, 3015, 4444). Pure.
#ifndef FAIRLEAD_USERSPACE_MODEL_CATEGORIZE_H_
#define FAIRLEAD_USERSPACE_MODEL_CATEGORIZE_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace fairlead::model {

// What the decision needs to know about an endpoint, seen from this node.
struct EndpointTraits {
  bool ready = false;
  bool serving = false;
  bool terminating = false;
  bool local = false;
  bool has_node_hints = false;
  bool hints_this_node = false;
  bool has_zone_hints = false;
  bool hints_this_zone = false;
};

struct TrafficPolicy {
  bool internal_local = false;
  bool external_local = false;
  // A NodePort, a load balancer's VIP or an external IP leads here.
  bool externally_accessible = false;

  bool uses_cluster_set() const {
    return !internal_local || externally_accessible;
  }
  bool uses_local_set() const {
    return internal_local || (external_local && externally_accessible);
  }
};

struct Categories {
  std::vector<bool> cluster;  // by index of the endpoint
  std::vector<bool> local;
  bool cluster_empty = true;
  bool local_empty = true;
  // Somewhere there is an endpoint that takes traffic: then an empty set
  // means "drop", as another node would serve it, and not "reject".
  bool any_usable = false;
};

Categories Categorize(absl::Span<const EndpointTraits> endpoints,
                      const TrafficPolicy& policy);

// Why an endpoint is in a set, or is not.
enum class EndpointStanding : uint8_t {
  // in
  kReady,
  kTerminatingServing,  // no ready one is left, and it still serves
  // out
  kSetUnused,    // the policy has no use for this set
  kNotLocal,     // of the local set: it is on another node
  kNotReady,     // ... and not serving while it ends, either
  kTerminating,  // it serves until its end, but there are ready ones
  kOtherNode,    // its topology hints name other nodes
  kOtherZone,    // its topology hints name other zones
};
constexpr bool IsIn(EndpointStanding standing) {
  return standing <= EndpointStanding::kTerminatingServing;
}
// "ready", "hints name other nodes", ...
std::string_view EndpointStandingText(EndpointStanding standing);

// The decisions of Categorize(), endpoint by endpoint; by the same code.
struct Standings {
  std::vector<EndpointStanding> cluster;  // by index of the endpoint
  std::vector<EndpointStanding> local;
};
Standings ExplainCategories(absl::Span<const EndpointTraits> endpoints,
                            const TrafficPolicy& policy);

}  // namespace fairlead::model

#endif  // FAIRLEAD_USERSPACE_MODEL_CATEGORIZE_H_
