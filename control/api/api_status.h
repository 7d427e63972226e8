// SPDX-License-Identifier: Apache-2.0
// The API's errors, in the words of the Kubernetes API server: an absl::Status
// that carries a `Status` object. Any other absl::Status becomes a 500.
//
// Threads: pure functions.
#ifndef FAIRLEAD_CONTROL_API_API_STATUS_H_
#define FAIRLEAD_CONTROL_API_API_STATUS_H_

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "control/api/kind.h"

namespace fairlead::api {

struct ApiStatus {
  int code = 500;
  std::string reason;  // "NotFound"; may be empty
  std::string message;
  // JSON text of `details`; "" for none.
  std::string details;
  // metadata.continue of a 410.
  std::string continue_token;
};

absl::Status MakeStatus(ApiStatus status);
ApiStatus ApiStatusOf(const absl::Status& status);
// The whole `Status` object.
nlohmann::json StatusObject(const ApiStatus& status);

// "services", "deployments.apps"
std::string GroupResource(const Kind& kind);
// "Service", "Deployment.apps"
std::string GroupKind(const Kind& kind);

absl::Status BadRequest(std::string_view message);              // 400
absl::Status Forbidden(const Kind& kind, std::string_view name,
                       std::string_view message);               // 403
// The same by names; all empty for what is no resource.
absl::Status Forbidden(std::string_view group, std::string_view resource,
                       std::string_view name, std::string_view message);
absl::Status Unauthorized();                                    // 401
absl::Status NotFound(const Kind& kind, std::string_view name); // 404
absl::Status NotFound(std::string_view group, std::string_view resource,
                      std::string_view name);
absl::Status NoSuchResource();                                  // 404
absl::Status MethodNotAllowed();                                // 405
absl::Status AlreadyExists(const Kind& kind, std::string_view name);
// 409 for a generated name.
absl::Status NoUniqueName(const Kind& kind, std::string_view name);
// 409: "Operation cannot be fulfilled on <resource> "<name>": <message>".
absl::Status Conflict(std::string_view resource, std::string_view group,
                      std::string_view name, std::string_view message);
// 409 for a resourceVersion that is not the newest.
absl::Status Modified(const Kind& kind, std::string_view name);
absl::Status Expired(std::string_view message);                 // 410
absl::Status TooLarge(size_t limit);                            // 413
absl::Status UnsupportedMediaType(std::string_view message);    // 415
// 422. `kind`: "Service"; `group` may be empty.
absl::Status Invalid(std::string_view kind, std::string_view group,
                     std::string_view name, const FieldErrors& errors);
absl::Status InvalidObject(const Kind& kind, std::string_view name,
                           const FieldErrors& errors);
absl::Status InternalError(std::string_view message);           // 500
absl::Status VersionTooLarge(int64_t asked, int64_t current);   // 504

// A FieldError with the API's message for its reason:
// FieldInvalid("a.b", "\"x\"", "must be y"): 'Invalid value: "x": must be y'.
FieldError FieldInvalid(std::string field, std::string_view value_json,
                        std::string_view detail);
FieldError FieldForbidden(std::string field, std::string_view detail);
FieldError FieldRequired(std::string field, std::string_view detail = "");
FieldError FieldNotSupported(std::string field, std::string_view value_json,
                             std::string_view supported);

// `text` as a JSON string with quotes.
std::string Quote(std::string_view text);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_API_STATUS_H_
