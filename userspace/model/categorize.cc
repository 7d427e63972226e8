// SPDX-License-Identifier: Apache-2.0
#include "userspace/model/categorize.h"

namespace fairlead::model {
namespace {

enum class Topology : uint8_t { kNone, kNode, kZone };

// One ready endpoint without a hint switches a mode off: it means that the
// hints are being rolled out, or don't cover all.
Topology ChooseTopology(absl::Span<const EndpointTraits> endpoints) {
  bool all_node = true, all_zone = true, any_node = false, any_zone = false;
  for (const EndpointTraits& e : endpoints) {
    if (!e.ready) continue;
    all_node &= e.has_node_hints;
    all_zone &= e.has_zone_hints;
    any_node |= e.hints_this_node;
    any_zone |= e.hints_this_zone;
  }
  if (all_node && any_node) return Topology::kNode;
  if (all_zone && any_zone) return Topology::kZone;
  return Topology::kNone;
}

bool Available(const EndpointTraits& e, Topology topology) {
  switch (topology) {
    case Topology::kNode:
      return e.hints_this_node;
    case Topology::kZone:
      return e.hints_this_zone;
    case Topology::kNone:
      return true;
  }
  return true;
}

bool ServesUntilTheEnd(const EndpointTraits& e) {
  return e.serving && e.terminating;
}

// Fills `set` with those that `first` holds for, or else with those that
// `fallback` holds for. True if it stays empty.
template <typename First, typename Fallback>
bool FillSet(absl::Span<const EndpointTraits> endpoints, First first,
             Fallback fallback, std::vector<bool>* set) {
  bool empty = true;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    if (!first(endpoints[i])) continue;
    (*set)[i] = true;
    empty = false;
  }
  if (!empty) return false;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    if (!fallback(endpoints[i])) continue;
    (*set)[i] = true;
    empty = false;
  }
  return empty;
}

}  // namespace

Categories Categorize(absl::Span<const EndpointTraits> endpoints,
                      const TrafficPolicy& policy) {
  Categories out;
  out.cluster.resize(endpoints.size());
  out.local.resize(endpoints.size());
  for (const EndpointTraits& e : endpoints) {
    out.any_usable |= e.ready || ServesUntilTheEnd(e);
  }
  if (policy.uses_cluster_set()) {
    const Topology topology = ChooseTopology(endpoints);
    out.cluster_empty = FillSet(
        endpoints,
        [topology](const EndpointTraits& e) {
          return e.ready && Available(e, topology);
        },
        ServesUntilTheEnd, &out.cluster);
  }
  if (policy.uses_local_set()) {
    out.local_empty = FillSet(
        endpoints, [](const EndpointTraits& e) { return e.local && e.ready; },
        [](const EndpointTraits& e) {
          return e.local && ServesUntilTheEnd(e);
        },
        &out.local);
  }
  return out;
}

}  // namespace fairlead::model
