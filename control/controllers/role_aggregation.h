// SPDX-License-Identifier: Apache-2.0
// Writes into each ClusterRole with an aggregationRule the rules of the
// ClusterRoles that its selectors choose, for people to read: what a role
// allows is asked of the selected ones themselves (control/api/rbac.h).
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_ROLE_AGGREGATION_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_ROLE_AGGREGATION_H_

#include <vector>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

// `roles`: all ClusterRoles, in the order of their names. What is written to one
// may be a part of another: to be planned again when it shows.
Plan PlanRoleAggregation(const std::vector<Object>& roles);

class RoleAggregationController {
 public:
  explicit RoleAggregationController(const Context& context);
  Shell& shell() { return shell_; }

 private:
  Context context_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_ROLE_AGGREGATION_H_
