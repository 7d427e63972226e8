// SPDX-License-Identifier: Apache-2.0
// JSON Web Tokens signed with ES256 (RFC 7515, 7518, 7519): the form alone.
// What the claims mean is the reader's business.
//
// Threads: pure functions.
#ifndef FAIRLEAD_USERSPACE_PKI_JWT_H_
#define FAIRLEAD_USERSPACE_PKI_JWT_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "userspace/pki/key.h"

namespace fairlead::pki {

[[nodiscard]] absl::StatusOr<std::string> SignJwt(const nlohmann::json& claims,
                                                  const Key& key);

// The claims of a token that `key` signed. kUnauthenticated otherwise: for
// another algorithm ("none" too), a changed or cut text, claims that are no
// object. Times are not looked at.
[[nodiscard]] absl::StatusOr<nlohmann::json> VerifyJwt(std::string_view token,
                                                       const Key& key);

}  // namespace fairlead::pki

#endif  // FAIRLEAD_USERSPACE_PKI_JWT_H_
