// SPDX-License-Identifier: Apache-2.0
// Which pods a controlling object has: it takes in those without a controller
// that match its selector, and lets go of its own that match no more. Pure.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_OWNERSHIP_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_OWNERSHIP_H_

#include <vector>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"

namespace fairlead::controllers {

struct ClaimedPods {
  std::vector<Object> pods;   // the owner's, however far gone
  std::vector<Write> writes;  // adoptions and releases
};

// `pods`: those it controls and those without a controller.
ClaimedPods ClaimPods(const kube::Resource& resource, const Json& owner,
                      const std::vector<Object>& pods);

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_OWNERSHIP_H_
