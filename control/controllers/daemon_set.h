// SPDX-License-Identifier: Apache-2.0
// Runs one pod of a DaemonSet on each node that admits it, replaces them when
// the template changes, and keeps the template's history as
// ControllerRevisions.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_DAEMON_SET_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_DAEMON_SET_H_

#include <string>
#include <vector>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

struct DaemonSetFacts {
  Object daemon_set;
  std::vector<Object> nodes;
  // Those it controls, and those without a controller that match.
  std::vector<Object> pods;
  std::vector<Object> revisions;  // of its namespace, that it controls
};

Plan PlanDaemonSet(const DaemonSetFacts& facts, absl::Time now);

// What a ControllerRevision keeps: a patch that brings this template back.
Json RevisionData(const Json& daemon_set);

// The tolerations every daemon pod has, whatever its template says.
Json DaemonTolerations(const Json& pod_spec);

class DaemonSetController {
 public:
  explicit DaemonSetController(const Context& context);
  Shell& shell() { return shell_; }

 private:
  DaemonSetFacts Facts(const Object& daemon_set) const;
  void PodChanged(const Object& before, const Object& after);
  void AddAll();

  Context context_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_DAEMON_SET_H_
