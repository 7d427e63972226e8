// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/admission.h"

#include "absl/strings/str_join.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/stats/pressure.h"

namespace fairlead::kubelet {
namespace {

Refusal Reject(std::string reason, const std::string& why) {
  return {std::move(reason), StrCat("Pod was rejected: ", why)};
}

std::optional<Refusal> RefusalUnderPressure(const PodSpec& pod,
                                            const Shortages& shortages) {
  std::vector<std::string> conditions;
  if (shortages.memory) conditions.push_back("MemoryPressure");
  if (shortages.disk) conditions.push_back("DiskPressure");
  if (shortages.pids) conditions.push_back("PIDPressure");
  if (conditions.empty() || pod.priority >= kCriticalPriority)
    return std::nullopt;
  const bool only_memory = shortages.memory && conditions.size() == 1;
  if (only_memory && (!pod.best_effort || pod.tolerates_memory_pressure))
    return std::nullopt;
  return Reject("Evicted", StrCat("The node had condition: [",
                                  absl::StrJoin(conditions, " "), "]. "));
}

}  // namespace

std::optional<Refusal> RefusalOf(const PodSpec& pod,
                                 const NodeOccupancy& node) {
  if (auto refusal = RefusalUnderPressure(pod, node.shortages)) return refusal;
  if (node.pods >= node.max_pods) {
    return Reject("OutOfpods",
                  StrCat("Node didn't have enough resource: pods, requested: "
                         "1, used: ", node.pods, ", capacity: ",
                         node.max_pods));
  }
  if (kube::AnyConflict(pod.host_ports, node.host_ports)) {
    return Reject("NodePorts", StrCat("Predicate NodePorts failed: ",
                                      kube::kNoFreePorts));
  }
  return std::nullopt;
}

}  // namespace fairlead::kubelet
