// SPDX-License-Identifier: Apache-2.0
// A pod's status as the API has it. Pure.
#ifndef FAIRLEAD_USERSPACE_KUBELET_POD_STATUS_H_
#define FAIRLEAD_USERSPACE_KUBELET_POD_STATUS_H_

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/time/time.h"
#include "userspace/kubelet/pod_plan.h"
#include "userspace/kubelet/pod_spec.h"

namespace fairlead::kubelet {

// `current` is the API's status: conditions of others and qosClass are taken
// from there. Transition times are kept from `previous`, the last status that
// this kubelet sent, or from `current`.
[[nodiscard]] nlohmann::json BuildPodStatus(const PodSpec& spec,
                                            const PodView& view,
                                            const nlohmann::json& current,
                                            const nlohmann::json& previous,
                                            absl::Time now);

// A strategic merge patch of the status sub-resource that leads from `current`
// to `status`; fields that are gone are nulls.
[[nodiscard]] nlohmann::json StatusPatch(const PodSpec& spec,
                                         const nlohmann::json& current,
                                         const nlohmann::json& status);

// "2024-01-02T03:04:05Z"
std::string KubeTime(absl::Time time);

// "process://ID"
std::string ContainerId(const ContainerRun& run);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_POD_STATUS_H_
