// SPDX-License-Identifier: Apache-2.0
// Values that are a number or a text: target ports, maxSurge ("25%").
// Pure functions.
#ifndef FAIRLEAD_CONTROL_API_INT_OR_STRING_H_
#define FAIRLEAD_CONTROL_API_INT_OR_STRING_H_

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"

namespace fairlead::api {

enum class Rounding { kDown, kUp };

// A number as it is; "25%" as that part of `total`.
[[nodiscard]] absl::StatusOr<int> ScaleIntOrPercent(
    const nlohmann::json& value, int total, Rounding rounding);

// 25 for "25%"; nullopt for anything else.
std::optional<int> ParsePercent(std::string_view text);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_INT_OR_STRING_H_
