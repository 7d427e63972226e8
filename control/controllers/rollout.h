// SPDX-License-Identifier: Apache-2.0
// The parts of a Deployment's plan: its ReplicaSets as numbers, the
// arithmetic of scaling them, and its status. Pure functions.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_ROLLOUT_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_ROLLOUT_H_

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "control/controllers/object.h"

namespace fairlead::controllers {

inline constexpr char kRevision[] = "deployment.kubernetes.io/revision";
inline constexpr char kRevisionHistory[] =
    "deployment.kubernetes.io/revision-history";
inline constexpr char kDesiredReplicas[] =
    "deployment.kubernetes.io/desired-replicas";
inline constexpr char kMaxReplicas[] = "deployment.kubernetes.io/max-replicas";
inline constexpr char kTemplateHash[] = "pod-template-hash";

// What a Deployment asks for, as numbers.
struct RolloutSpec {
  int replicas = 1;
  bool recreate = false;
  bool paused = false;
  int max_surge = 0;
  int max_unavailable = 0;
  int revision_history_limit = 10;
  std::optional<absl::Duration> progress_deadline;
};
// Percentages of replicas: surge is rounded up, unavailable down; when both
// come to zero, one may be unavailable.
RolloutSpec RolloutSpecOf(const Json& deployment);

// A ReplicaSet and what the plan makes of it.
struct ReplicaSetState {
  Object object;
  int replicas = 0;    // wanted; the plan changes it
  int available = 0;   // of its status
  // Pods there are or will be: those that are still to be deleted count, too.
  int pods = 0;
  // Its controller has not seen the present spec, so `pods` says little.
  bool lagging = false;
  bool operator==(const ReplicaSetState&) const = default;
};
ReplicaSetState StateOf(const Object& replica_set);

// How many replicas the new ReplicaSet should have now. `total`: the pods of
// all ReplicaSets.
int NewReplicas(const RolloutSpec& spec, int total, int current);

// Takes old replicas away as far as the bounds allow: unhealthy ones first,
// then those that available new ones make up for. True if any changed.
bool ScaleDownOld(const RolloutSpec& spec, std::vector<ReplicaSetState>& old,
                  const ReplicaSetState& current);

// Shares a change of spec.replicas between the ReplicaSets of an unfinished
// rollout by their sizes. `current` may be null. True if any changed.
bool ScaleProportionally(const RolloutSpec& spec, int status_replicas,
                         std::vector<ReplicaSetState>& old,
                         ReplicaSetState* current);

// FNV-1a over the template, in letters and digits that spell nothing.
std::string TemplateHash(const Json& pod_template, int collisions);

// The whole status. `current` is null when there is no ReplicaSet for the
// template (yet). `created`: it is made by this very plan.
struct StatusFacts {
  const Json* deployment = nullptr;
  RolloutSpec spec;
  std::vector<Object> all;
  Object current;
  std::string created;
  int collisions = 0;
  // Conditions are kept as they are (a pure scaling).
  bool scaling_only = false;
};
Json DeploymentStatus(const StatusFacts& facts, absl::Time now,
                      absl::Duration* again);

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_ROLLOUT_H_
