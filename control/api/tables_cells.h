// SPDX-License-Identifier: Apache-2.0
// Cells and columns that many kinds' Tables have. Pure functions, for
// tables_*.cc alone.
#ifndef FAIRLEAD_CONTROL_API_TABLES_CELLS_H_
#define FAIRLEAD_CONTROL_API_TABLES_CELLS_H_

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "control/api/kind.h"

namespace fairlead::api {

std::string Name(const Json& object);
std::string Age(const Json& object, absl::Time now);
std::string Or(std::string_view text, std::string_view otherwise);
// Columns by name; a leading '+' marks one for -o wide.
std::vector<Column> Columns(std::initializer_list<const char*> names);
// A field ("name", "image") of the containers in a workload's pod template.
std::string Containers(const Json& object, std::string_view field);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_TABLES_CELLS_H_
