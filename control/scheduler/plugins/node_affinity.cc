// SPDX-License-Identifier: Apache-2.0
// nodeSelector and required node affinity.
#include "control/controllers/node_affinity.h"

#include <nlohmann/json.hpp>

#include "control/scheduler/plugin.h"

namespace fairlead::scheduler {

Reasons FilterNodeAffinity(const PodView& pod, const NodeView& node) {
  if (controllers::NodeAffinityAdmits(
          controllers::Get(*pod.pod, {"spec"}), *node.node)) {
    return {};
  }
  return {"node(s) didn't match Pod's node affinity/selector"};
}

}  // namespace fairlead::scheduler
