// SPDX-License-Identifier: Apache-2.0
// The condition that a pod gets before it is taken away for a reason of the
// cluster's and not its own: a Job's podFailurePolicy can tell the two apart.
#ifndef FAIRLEAD_CONTROL_API_DISRUPTION_TARGET_H_
#define FAIRLEAD_CONTROL_API_DISRUPTION_TARGET_H_

#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace fairlead::api {

bool IsDisruptionTarget(const nlohmann::json& pod);
// `now` as the API writes times.
void SetDisruptionTarget(nlohmann::json& pod, std::string_view reason,
                         std::string_view message, std::string_view now);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_DISRUPTION_TARGET_H_
