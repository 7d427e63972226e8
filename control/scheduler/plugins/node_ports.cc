// SPDX-License-Identifier: Apache-2.0
// A port of a node belongs to one pod.
#include "control/scheduler/plugin.h"

namespace fairlead::scheduler {

Reasons FilterNodePorts(const PodView& pod, const NodeView& node) {
  if (!kube::AnyConflict(pod.host_ports, node.host_ports)) return {};
  return {std::string(kube::kNoFreePorts)};
}

}  // namespace fairlead::scheduler
