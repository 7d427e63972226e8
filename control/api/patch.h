// SPDX-License-Identifier: Apache-2.0
// The three patches of the API, as functions of objects.
//
// Threads: pure functions. Errors are the API's (400, 422, 500), in the
// server's words.
#ifndef FAIRLEAD_CONTROL_API_PATCH_H_
#define FAIRLEAD_CONTROL_API_PATCH_H_

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "absl/status/statusor.h"
#include "control/api/schema.h"

namespace fairlead::api {

enum class PatchKind { kJson, kMerge, kStrategic };

// A patch's JSON, of the shape that `kind` must have. 400.
[[nodiscard]] absl::StatusOr<nlohmann::json> ParsePatch(PatchKind kind,
                                                        std::string_view text);

// `object` with `patch` applied. `type` is the schema of `object` (for the
// strategic merge; null takes every list for atomic).
[[nodiscard]] absl::StatusOr<nlohmann::json> ApplyPatch(
    PatchKind kind, const nlohmann::json& object, const nlohmann::json& patch,
    const Type* type);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_PATCH_H_
