// SPDX-License-Identifier: Apache-2.0
// Objects as a Table, as PartialObjectMetadata, and as YAML.
//
// Threads: pure functions.
#ifndef FAIRLEAD_CONTROL_API_RENDER_H_
#define FAIRLEAD_CONTROL_API_RENDER_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/api/http.h"
#include "control/api/kind.h"

namespace fairlead::api {

// A Table without rows, in the version that `how` says; without column
// definitions (null) when `columns` is false, as in the later events of a
// watch.
nlohmann::json EmptyTable(const Kind& kind, const Representation& how,
                          bool columns);
// One row, with as much of the object as `how` says.
nlohmann::json TableRow(const Kind& kind, const nlohmann::json& object,
                        const Representation& how, absl::Time now);
nlohmann::json PartialMetadata(const nlohmann::json& object);

std::string YamlText(const nlohmann::json& json);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_RENDER_H_
