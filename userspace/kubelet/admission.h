// SPDX-License-Identifier: Apache-2.0
// Whether this node takes a pod that was bound to it, in Kubernetes' words.
// Pure.
#ifndef FAIRLEAD_USERSPACE_KUBELET_ADMISSION_H_
#define FAIRLEAD_USERSPACE_KUBELET_ADMISSION_H_

#include <optional>
#include <string>
#include <vector>

#include "userspace/kubelet/node_status.h"
#include "userspace/kubelet/pod_spec.h"

namespace fairlead::kubelet {

// Of the pods that run here or are about to.
struct NodeOccupancy {
  int pods = 0, max_pods = 0;
  std::vector<kube::HostPort> host_ports;
  Shortages shortages;  // as the node's conditions say
};

struct Refusal {
  std::string reason, message;  // of the pod's status
};

// Under memory pressure pods of the class BestEffort are refused, under any
// other pressure all; critical pods never.
[[nodiscard]] std::optional<Refusal> RefusalOf(const PodSpec& pod,
                                               const NodeOccupancy& node);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_ADMISSION_H_
