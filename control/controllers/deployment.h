// SPDX-License-Identifier: Apache-2.0
// Rolls a Deployment's pod template out through ReplicaSets.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_DEPLOYMENT_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_DEPLOYMENT_H_

#include <memory>
#include <string>
#include <vector>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

struct DeploymentFacts {
  Object deployment;
  std::vector<Object> replica_sets;  // all of its namespace
  std::vector<Object> pods;          // all that those ReplicaSets control
};

Plan PlanDeployment(const DeploymentFacts& facts, absl::Time now);

class DeploymentController {
 public:
  explicit DeploymentController(const Context& context);
  Shell& shell() { return shell_; }

 private:
  DeploymentFacts Facts(const Object& deployment) const;
  void ReplicaSetChanged(const Object& before, const Object& after);
  void PodChanged(const Object& before, const Object& after);

  Context context_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_DEPLOYMENT_H_
