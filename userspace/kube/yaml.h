// SPDX-License-Identifier: Apache-2.0
// YAML manifests as the JSON that the API takes.
// Threads: pure functions.
#ifndef FAIRLEAD_USERSPACE_KUBE_YAML_H_
#define FAIRLEAD_USERSPACE_KUBE_YAML_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fairlead::kube {

// Each document of a stream; empty ones are left out. Plain scalars follow
// YAML 1.1 as kubectl and the API server read it (`y`, `on` are booleans,
// 0o17 and 017 are octal). JSON is YAML. Errors name the line.
[[nodiscard]] absl::StatusOr<std::vector<nlohmann::json>> JsonFromYaml(
    std::string_view text);

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_YAML_H_
