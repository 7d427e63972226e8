// SPDX-License-Identifier: Apache-2.0
// Events by their newer name (events.k8s.io/v1): the same objects as core/v1's,
// with other names for most fields. They are kept as core/v1; a request by the
// newer name is translated on its way in, its answer on the way out.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_EVENT_VERSIONS_H_
#define FAIRLEAD_CONTROL_API_EVENT_VERSIONS_H_

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "absl/status/status.h"
#include "control/api/http.h"
#include "control/api/kind.h"

namespace fairlead::api {

// Whether requests of this kind are translated.
bool IsNewerEvent(const Kind& kind);

// An object, or a merge patch of one, by the names of the other version.
nlohmann::json ToCoreEvent(nlohmann::json event);
nlohmann::json ToNewerEvent(nlohmann::json event);

// Translates the body of a write. 400, 415, 422.
[[nodiscard]] absl::Status TranslateEventRequest(const Kind& newer,
                                                 kube::Request* request);
// `responder`, for JSON answers of core/v1; `how` the client wants them. A
// Table's cells are the same.
ResponderRef NewerEventResponder(const Representation& how,
                                 ResponderRef responder);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_EVENT_VERSIONS_H_
