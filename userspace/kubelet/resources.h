// SPDX-License-Identifier: Apache-2.0
// What a container asks for and may have at most (core/v1
// ResourceRequirements), and how a pod learns of it. Values, pure functions.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RESOURCES_H_
#define FAIRLEAD_USERSPACE_KUBELET_RESOURCES_H_

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "userspace/kube/quantity.h"
#include "userspace/kubelet/runtime/pod_cgroups.h"

namespace fairlead::kubelet {

// By the resource's name: "cpu", "memory".
using ResourceAmounts = std::map<std::string, kube::Quantity>;

struct Resources {
  ResourceAmounts requests, limits;
};
// Amounts that are none are left out: the API refuses them.
Resources DecodeResources(const nlohmann::json& resources);
ContainerLimits LimitsOf(const Resources& resources);
// "cpu=500m,memory=1Gi", of cpu, memory and ephemeral-storage.
// kInvalidArgument names the part that is wrong.
[[nodiscard]] absl::StatusOr<ResourceAmounts> ParseReserved(
    const std::string& text);

// resourceFieldRef of an environment variable or a downwardAPI file.
struct ResourceRef {
  std::string container;  // "": the one whose variable it is
  std::string resource;   // "limits.cpu"
  kube::Quantity divisor;  // zero: 1
};
ResourceRef DecodeResourceRef(const nlohmann::json& ref);

// The amount in divisors, rounded up. A limit that isn't set is the node's
// `allocatable`. kInvalidArgument for a resource that has no such reference.
[[nodiscard]] absl::StatusOr<std::string> ResourceFieldValue(
    const ResourceRef& ref, const Resources& of,
    const ResourceAmounts& allocatable);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_RESOURCES_H_
