// SPDX-License-Identifier: Apache-2.0
// A pod that names its node goes there or nowhere.
#include "control/controllers/object.h"
#include "control/scheduler/plugin.h"

namespace fairlead::scheduler {

Reasons FilterNodeName(const PodView& pod, const NodeView& node) {
  std::string_view wanted = controllers::Text(*pod.pod, {"spec", "nodeName"});
  if (wanted.empty() || wanted == node.name) return {};
  return {"node(s) didn't match the requested node name"};
}

}  // namespace fairlead::scheduler
