// SPDX-License-Identifier: Apache-2.0
// Keeps as many pods as a ReplicaSet asks for.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_REPLICA_SET_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_REPLICA_SET_H_

#include <memory>
#include <vector>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

struct ReplicaSetFacts {
  Object replica_set;
  // Those in its namespace that it controls, or that have no controller and
  // match its selector.
  std::vector<Object> pods;
  // Pods of all ReplicaSets with the same owner: scaling down thins out nodes
  // that hold many of them.
  std::vector<Object> related;
};

Plan PlanReplicaSet(const ReplicaSetFacts& facts, absl::Time now);

// The order in which pods are given up, the first to go first: not placed,
// pending, not ready, cheap (pod-deletion-cost), crowded on its node, ready
// for a shorter time, restarted more often, younger. Powers of two of the time
// count, not seconds, so that a batch of equals isn't always cut at one end.
std::vector<Object> RankForDeletion(std::vector<Object> pods,
                                    const std::vector<Object>& related,
                                    absl::Time now);

class ReplicaSetController {
 public:
  explicit ReplicaSetController(const Context& context);
  Shell& shell() { return shell_; }

 private:
  ReplicaSetFacts Facts(const Object& replica_set) const;
  void PodChanged(const Object& before, const Object& after);

  Context context_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_REPLICA_SET_H_
