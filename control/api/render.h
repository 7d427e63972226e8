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
#include "control/api/kind.h"

namespace fairlead::api {

// A Table without rows; without column definitions (null) when `columns` is
// false, as in the later events of a watch.
nlohmann::json EmptyTable(const Kind& kind, bool columns);
// One row. `include_object`: "Metadata", "Object" or "None".
nlohmann::json TableRow(const Kind& kind, const nlohmann::json& object,
                        std::string_view include_object, absl::Time now);
nlohmann::json PartialMetadata(const nlohmann::json& object);

std::string YamlText(const nlohmann::json& json);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_RENDER_H_
