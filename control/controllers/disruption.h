// SPDX-License-Identifier: Apache-2.0
// Keeps the status of PodDisruptionBudgets: how many of their pods may be
// evicted now. The eviction sub-resource takes from that number.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_DISRUPTION_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_DISRUPTION_H_

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

struct DisruptionFacts {
  Object budget;
  std::vector<Object> pods;  // those it selects
  // Pods that their controllers want, by the uid of the pods' own controller;
  // a pod whose controller isn't here counts for itself. Several ReplicaSets
  // of one Deployment count once: `scale_of` leads to the same key.
  absl::flat_hash_map<std::string, std::string> scale_of;  // owner uid -> key
  absl::flat_hash_map<std::string, int> scales;            // key -> replicas
};

Plan PlanDisruption(const DisruptionFacts& facts, absl::Time now);

class DisruptionController {
 public:
  explicit DisruptionController(const Context& context);
  Shell& shell() { return shell_; }

 private:
  std::vector<Object> Candidates(const Json& budget) const;
  DisruptionFacts Facts(const Object& budget) const;
  void PodChanged(const Object& before, const Object& after);
  void ScaleChanged(const Json& workload);

  Context context_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_DISRUPTION_H_
