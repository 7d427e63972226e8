// SPDX-License-Identifier: Apache-2.0
// A container's environment and command line, worked out from its spec.
// Pure functions.
#ifndef FAIRLEAD_USERSPACE_KUBELET_ENV_H_
#define FAIRLEAD_USERSPACE_KUBELET_ENV_H_

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"
#include "userspace/kubelet/pod_spec.h"
#include "userspace/kubelet/resources.h"

namespace fairlead::kubelet {

// Replaces $(NAME) by its value; "$$" is a literal "$"; a reference to what
// isn't there stays as it is (the rules of Kubernetes' expansion package).
std::string ExpandVariables(std::string_view text,
                            const std::map<std::string, std::string>& values);

struct EnvContext {
  const PodSpec* pod = nullptr;
  std::vector<IpAddress> pod_ips;
  std::vector<IpAddress> host_ips;
  std::string default_path;  // PATH; empty: the usual one
  ResourceAmounts allocatable;  // the node's
  std::vector<std::pair<std::string, std::string>> service_variables;
  // The values of a ConfigMap or Secret in the pod's namespace; NotFound.
  std::function<absl::StatusOr<std::map<std::string, std::string>>(
      bool secret, const std::string& object)>
      lookup;
};

// "NAME=value" in order, later ones of the same name win. Errors are what
// goes into CreateContainerConfigError.
[[nodiscard]] absl::StatusOr<std::vector<std::string>> BuildEnv(
    const ContainerSpec& container, const EnvContext& context);

// command and args with $(VAR) expanded from `env` ("NAME=value"s). Error when
// both are empty: the image "host" has no entry point.
[[nodiscard]] absl::StatusOr<std::vector<std::string>> BuildArgs(
    const ContainerSpec& container, const std::vector<std::string>& env);

// Of "NAME=value" lines, the values by name.
std::map<std::string, std::string> ValuesOf(
    const std::vector<std::string>& env);

// resourceFieldRef; `container` is whose variable it is.
[[nodiscard]] absl::StatusOr<std::string> ResourceValue(
    const EnvContext& context, const ResourceRef& ref,
    const std::string& container);

// fieldRef: metadata.name, metadata.labels['x'], status.podIP, ...; all of the
// labels or annotations are lines of KEY="value".
[[nodiscard]] absl::StatusOr<std::string> FieldValue(const EnvContext& context,
                                                     std::string_view path);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_ENV_H_
