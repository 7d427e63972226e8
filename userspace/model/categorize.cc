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

bool ServesUntilTheEnd(const EndpointTraits& e) {
  return e.serving && e.terminating;
}

// Where `e` stands if it is not ready. `fallback`: no other one is, either.
EndpointStanding StandingOfUnready(const EndpointTraits& e, bool fallback) {
  if (!ServesUntilTheEnd(e)) return EndpointStanding::kNotReady;
  return fallback ? EndpointStanding::kTerminatingServing
                  : EndpointStanding::kTerminating;
}

EndpointStanding StandingInCluster(const EndpointTraits& e, Topology topology,
                                   bool fallback) {
  if (!e.ready) return StandingOfUnready(e, fallback);
  if (topology == Topology::kNode && !e.hints_this_node) {
    return EndpointStanding::kOtherNode;
  }
  if (topology == Topology::kZone && !e.hints_this_zone) {
    return EndpointStanding::kOtherZone;
  }
  return EndpointStanding::kReady;
}

EndpointStanding StandingInLocal(const EndpointTraits& e, bool fallback) {
  if (!e.local) return EndpointStanding::kNotLocal;
  return e.ready ? EndpointStanding::kReady : StandingOfUnready(e, fallback);
}

// Calls put(index, standing) for each endpoint, first with the ready ones in
// the set and, if that leaves it empty, again with those that serve until
// their end. True if it stays empty.
template <typename Decide, typename Put>
bool FillSet(absl::Span<const EndpointTraits> endpoints, Decide decide,
             Put put) {
  bool empty = true;
  for (bool fallback : {false, true}) {
    for (size_t i = 0; i < endpoints.size(); ++i) {
      const EndpointStanding standing = decide(endpoints[i], fallback);
      empty &= !IsIn(standing);
      put(i, standing);
    }
    if (!empty) return false;
  }
  return true;
}

template <typename Put>
bool FillCluster(absl::Span<const EndpointTraits> endpoints, Put put) {
  const Topology topology = ChooseTopology(endpoints);
  return FillSet(
      endpoints,
      [topology](const EndpointTraits& e, bool fallback) {
        return StandingInCluster(e, topology, fallback);
      },
      put);
}

template <typename Put>
bool FillLocal(absl::Span<const EndpointTraits> endpoints, Put put) {
  return FillSet(endpoints, StandingInLocal, put);
}

}  // namespace

std::string_view EndpointStandingText(EndpointStanding standing) {
  constexpr std::string_view kTexts[] = {
      "ready",
      "terminating but serving, and no other is ready",
      "no traffic policy uses this set",
      "on another node",
      "not ready",
      "terminating, and others are ready",
      "its hints name other nodes",
      "its hints name other zones",
  };
  return kTexts[static_cast<size_t>(standing)];
}

Categories Categorize(absl::Span<const EndpointTraits> endpoints,
                      const TrafficPolicy& policy) {
  Categories out;
  out.cluster.resize(endpoints.size());
  out.local.resize(endpoints.size());
  for (const EndpointTraits& e : endpoints) {
    out.any_usable |= e.ready || ServesUntilTheEnd(e);
  }
  if (policy.uses_cluster_set()) {
    out.cluster_empty =
        FillCluster(endpoints, [&out](size_t i, EndpointStanding standing) {
          out.cluster[i] = IsIn(standing);
        });
  }
  if (policy.uses_local_set()) {
    out.local_empty =
        FillLocal(endpoints, [&out](size_t i, EndpointStanding standing) {
          out.local[i] = IsIn(standing);
        });
  }
  return out;
}

Standings ExplainCategories(absl::Span<const EndpointTraits> endpoints,
                            const TrafficPolicy& policy) {
  Standings out;
  out.cluster.assign(endpoints.size(), EndpointStanding::kSetUnused);
  out.local.assign(endpoints.size(), EndpointStanding::kSetUnused);
  if (policy.uses_cluster_set()) {
    FillCluster(endpoints, [&out](size_t i, EndpointStanding standing) {
      out.cluster[i] = standing;
    });
  }
  if (policy.uses_local_set()) {
    FillLocal(endpoints, [&out](size_t i, EndpointStanding standing) {
      out.local[i] = standing;
    });
  }
  return out;
}

}  // namespace fairlead::model
