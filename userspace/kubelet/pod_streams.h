// SPDX-License-Identifier: Apache-2.0
// Which run of a container a log request means. Pure.
#ifndef FAIRLEAD_USERSPACE_KUBELET_POD_STREAMS_H_
#define FAIRLEAD_USERSPACE_KUBELET_POD_STREAMS_H_

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "userspace/kubelet/pod_plan.h"

namespace fairlead::kubelet {

// `status` is the pod's, as pod_status.h builds it from `view`. Errors are a
// kubelet's: InvalidArgument (400), with its words.
[[nodiscard]] absl::StatusOr<ContainerRun> RunForLog(
    const std::string& pod, const std::string& container, bool previous,
    const PodView& view, const nlohmann::json& status);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_POD_STREAMS_H_
