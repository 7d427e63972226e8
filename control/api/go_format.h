// SPDX-License-Identifier: Apache-2.0
// JSON parse errors and values printed as the API server's messages have them.
// Threads: pure functions.
#ifndef FAIRLEAD_CONTROL_API_GO_FORMAT_H_
#define FAIRLEAD_CONTROL_API_GO_FORMAT_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fairlead::api {

// Nesting beyond this is refused: it would only be meant to exhaust the stack.
inline constexpr int kMaxJsonDepth = 512;

// nlohmann::json::parse without exceptions and with a limit on depth. The
// error's message: "unexpected end of JSON input", "invalid character '}' ...".
// What is no UTF-8 in a string becomes U+FFFD, as for Go. `repeats`: false only
// if no key is there twice.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text,
                                         bool* repeats = nullptr);

// "string", "number", "bool", "object", "array", "null"
std::string_view JsonTypeName(const nlohmann::json& json);

// "map[a:1 b:[x y]]"
std::string GoMapText(const nlohmann::json& json);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_GO_FORMAT_H_
