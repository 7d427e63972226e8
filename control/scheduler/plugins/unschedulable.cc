// SPDX-License-Identifier: Apache-2.0
// Cordoned nodes take only pods that tolerate being on one.
#include <nlohmann/json.hpp>

#include "control/controllers/object.h"
#include "control/scheduler/plugin.h"

namespace fairlead::scheduler {

Reasons FilterUnschedulable(const PodView& pod, const NodeView& node) {
  if (!controllers::Flag(*node.node, {"spec", "unschedulable"})) return {};
  const Json taint = {{"key", "node.kubernetes.io/unschedulable"},
                      {"effect", "NoSchedule"}};
  if (controllers::IsTolerated(
          controllers::Get(*pod.pod, {"spec", "tolerations"}), taint)) {
    return {};
  }
  return {"node(s) were unschedulable"};
}

}  // namespace fairlead::scheduler
