// SPDX-License-Identifier: Apache-2.0
#include "control/api/tables_cells.h"

#include "absl/strings/str_join.h"
#include "control/api/json_access.h"
#include "control/api/tables.h"

namespace fairlead::api {

std::string Name(const Json& object) {
  return std::string(Text(object, {"metadata", "name"}));
}

std::string Age(const Json& object, absl::Time now) {
  return Since(Get(object, {"metadata", "creationTimestamp"}), now);
}

std::string Or(std::string_view text, std::string_view otherwise) {
  return std::string(text.empty() ? otherwise : text);
}

std::vector<Column> Columns(std::initializer_list<const char*> names) {
  std::vector<Column> columns;
  for (std::string_view name : names) {
    Column column{.name = std::string(name), .type = "string"};
    if (name[0] == '+') {
      column.name.erase(0, 1);
      column.priority = 1;
    }
    if (column.name == "Name") column.format = "name";
    columns.push_back(std::move(column));
  }
  return columns;
}

std::string Containers(const Json& object, std::string_view field) {
  std::vector<std::string> texts;
  for (const Json& container :
       List(object, {"spec", "template", "spec", "containers"})) {
    texts.emplace_back(Text(container, field));
  }
  return absl::StrJoin(texts, ",");
}

}  // namespace fairlead::api
