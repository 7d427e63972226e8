// SPDX-License-Identifier: Apache-2.0
// metadata.managedFields: who set which field of an object, and server-side
// apply, which lives on that. Follows the rules of the stock API server: what
// a write adds or changes becomes the writer's own and nobody else's; what an
// apply no longer gives, and nobody else has, goes.
//
// Threads: pure functions.
#ifndef FAIRLEAD_CONTROL_API_MANAGED_FIELDS_H_
#define FAIRLEAD_CONTROL_API_MANAGED_FIELDS_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "control/api/kind.h"

namespace fairlead::api {

// Who writes, and through which sub-resource ("status", "scale", "").
struct FieldManager {
  std::string name;
  std::string subresource;
};

// The manager of a write: what the client calls itself with `fieldManager`,
// else the part of its User-Agent before the slash, else "unknown".
std::string ManagerName(std::string_view field_manager,
                        std::string_view user_agent);

// managedFields after a create or an update by `manager`. `before`: the object
// as it was, or an empty one of the kind; `after`: as it will be, without what
// later steps of the server fill in. `sent`: the managedFields of the request's
// body, which may replace the list (null: none). An empty list: nothing is
// tracked.
nlohmann::json TrackUpdate(const Kind& kind, const nlohmann::json& before,
                           const nlohmann::json& after,
                           const nlohmann::json& sent,
                           const FieldManager& manager, const std::string& now);

struct ApplyRequest {
  const nlohmann::json* config = nullptr;  // what is applied
  FieldManager manager;
  bool force = false;  // take fields from their owners
};
// The object that an apply leaves, with its managedFields. `live` is null when
// there is none yet. Errors: 400, 409 with a cause for each field that belongs
// to somebody else, 500 for what doesn't fit the schema.
[[nodiscard]] absl::StatusOr<nlohmann::json> ApplyConfig(
    const Kind& kind, const nlohmann::json* live, const ApplyRequest& request,
    const std::string& now);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_MANAGED_FIELDS_H_
