// SPDX-License-Identifier: Apache-2.0
// Whether a pod's nodeSelector and required node affinity admit a node. Pure.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_NODE_AFFINITY_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_NODE_AFFINITY_H_

#include "control/controllers/object.h"

namespace fairlead::controllers {

// `spec`: of a pod or of a template's pod.
bool NodeAffinityAdmits(const Json& spec, const Json& node);

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_NODE_AFFINITY_H_
