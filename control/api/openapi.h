// SPDX-License-Identifier: Apache-2.0
// OpenAPI v3 of one group version, made from the kind table and the schemas.
#ifndef FAIRLEAD_CONTROL_API_OPENAPI_H_
#define FAIRLEAD_CONTROL_API_OPENAPI_H_

#include <string>
#include <string_view>
#include <vector>

#include "control/api/kind.h"

namespace fairlead::api {

// The document's JSON: paths with their verbs and parameters, and the types.
// Built anew for each call (tens of ms for core/v1); clients keep it for ever.
std::string OpenApiDocument(const KindTable& kinds, std::string_view group,
                            std::string_view version);

// Changes exactly when one of the documents may have changed.
std::string OpenApiHash(const KindTable& kinds);

// The verbs of a kind's collection and objects, in alphabetical order.
std::vector<std::string> VerbsOf(const Kind& kind);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_OPENAPI_H_
