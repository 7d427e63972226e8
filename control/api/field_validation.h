// SPDX-License-Identifier: Apache-2.0
// Reading a body into an object of a schema: types, unknown fields, duplicate
// keys.
//
// Threads: pure functions.
#ifndef FAIRLEAD_CONTROL_API_FIELD_VALIDATION_H_
#define FAIRLEAD_CONTROL_API_FIELD_VALIDATION_H_

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "control/api/kind.h"
#include "control/api/schema.h"

namespace fairlead::api {

enum class FieldValidation { kIgnore, kWarn, kStrict };

// Makes `object` one of `type`: drops fields that the type does not know and
// adds 'unknown field "spec.x"' to `problems` for each; drops nulls. An error
// (kInvalidArgument) says where a value has the wrong type, in the words of
// the API's decoder.
[[nodiscard]] absl::Status ConformToSchema(const Type* type,
                                           nlohmann::json& object,
                                           std::vector<std::string>* problems);

// 'duplicate field "data.a"' for each key that is there twice. REQUIRES:
// `text` is valid JSON.
std::vector<std::string> DuplicateFields(std::string_view text);

struct Decoded {
  nlohmann::json object;
  std::vector<std::string> warnings;
};
// A request's body as an object of `kind` (POST and PUT). Fills in apiVersion
// and kind when they are missing. Errors are 400 and 415.
[[nodiscard]] absl::StatusOr<Decoded> DecodeObject(
    const Kind& kind, const KindTable& kinds, std::string_view content_type,
    std::string_view body, FieldValidation validation);

// A body as any JSON object (DeleteOptions, Binding, Scale). "" gives {}.
[[nodiscard]] absl::StatusOr<nlohmann::json> DecodeAny(
    std::string_view content_type, std::string_view body,
    std::string_view expected_kind);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_FIELD_VALIDATION_H_
