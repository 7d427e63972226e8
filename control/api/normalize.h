// SPDX-License-Identifier: Apache-2.0
// Gives an object the one form in which it is stored and answered, so that
// two objects mean the same exactly if their JSON is equal: nulls and empty
// optional fields gone, fields that are always there filled in, quantities
// and times canonical. Idempotent.
#ifndef FAIRLEAD_CONTROL_API_NORMALIZE_H_
#define FAIRLEAD_CONTROL_API_NORMALIZE_H_

#include <nlohmann/json_fwd.hpp>

#include "control/api/schema.h"

namespace fairlead::api {

// Fields of the wrong type or unknown to `type` stay as they are.
void Normalize(const Type& type, nlohmann::json& value);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_NORMALIZE_H_
