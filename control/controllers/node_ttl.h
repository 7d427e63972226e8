// SPDX-License-Identifier: Apache-2.0
// Writes on each node how long its kubelet may keep Secrets and ConfigMaps
// before it asks again: the annotation node.alpha.kubernetes.io/ttl, in
// seconds, longer the more nodes there are.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_NODE_TTL_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_NODE_TTL_H_

#include <cstddef>
#include <string>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

// The step for a cluster of `nodes`, coming from `step` (0 at first). Steps
// overlap, so that a node that comes and goes doesn't change all the others.
size_t NextTtlStep(size_t step, size_t nodes);

// REQUIRES: a step that NextTtlStep gave.
Plan PlanNodeTtl(const Object& node, size_t step);

// A node gets a new value when it next changes, which its kubelet sees to:
// a cluster that grows isn't written anew at once.
class NodeTtlController {
 public:
  explicit NodeTtlController(const Context& context);
  Shell& shell() { return shell_; }

 private:
  Plan Make(const std::string& key);

  Context context_;
  size_t step_ = 0;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_NODE_TTL_H_
