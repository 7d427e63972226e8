// SPDX-License-Identifier: Apache-2.0
#include "control/api/render.h"

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "control/api/api_status.h"
#include "control/api/json_access.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

// What kinds without columns of their own have.
std::vector<Column> DefaultColumns() {
  return {{"Name", "string", "name", 0}, {"Created At", "date", "", 0}};
}

// Numbers, also in base 60 (1:30), and dates, as YAML 1.1 has them.
bool LooksLikeNumber(std::string_view text) {
  std::string bare = absl::StrReplaceAll(Absl(text), {{"_", ""}});
  double number;
  int64_t integer;
  if (absl::SimpleAtod(bare, &number)) return true;
  std::string_view digits = bare;
  if (digits.starts_with('-') || digits.starts_with('+')) {
    digits.remove_prefix(1);
  }
  if (digits.starts_with("0x") || digits.starts_with("0o") ||
      digits.starts_with("0b")) {
    return absl::SimpleHexAtoi(Absl(digits.substr(2)), &integer);
  }
  if (digits.empty() || !absl::ascii_isdigit(digits[0])) return false;
  bool base60 = digits.find(':') != digits.npos &&
                digits.find_first_not_of("0123456789:.") == digits.npos;
  bool date = digits.size() >= 8 && digits[4] == '-' &&
              digits.find_first_not_of("0123456789-:.+TtZz ") == digits.npos;
  return base60 || date;
}

// Whether a YAML 1.1 reader would take the bare text for a string.
bool IsPlain(std::string_view text) {
  if (text.empty() || text.back() == ' ' || text.back() == ':') return false;
  if (!absl::ascii_isalnum(text[0]) && text[0] != '/' && text[0] != '.') {
    return false;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    if (absl::ascii_isalnum(text[i])) continue;
    if (std::string_view("_-./{}\"'%=+@(),$").find(text[i]) != text.npos) {
      continue;
    }
    // A colon before a blank ends a key; a blank before # begins a comment.
    if (text[i] == ' ' || (text[i] == ':' && text[i + 1] != ' ')) continue;
    return false;
  }
  std::string lower = absl::AsciiStrToLower(Absl(text));
  for (const char* word :
       {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan",
        "inf", ".inf", ".nan"}) {
    if (lower == word) return false;
  }
  return !LooksLikeNumber(lower);
}

std::string YamlScalar(const Json& json) {
  if (!json.is_string()) return json.dump();
  const std::string& text = json.get_ref<const std::string&>();
  return IsPlain(text) ? text : Quote(text);
}

void WriteYaml(const Json& json, int indent, std::string* out) {
  std::string pad(indent, ' ');
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      bool nested = value.is_structured() && !value.empty();
      StrAppend(out, pad, IsPlain(key) ? key : Quote(key), ":");
      if (nested) {
        *out += "\n";
        // Lists stay at their key's column, as the API server writes them.
        WriteYaml(value, value.is_array() ? indent : indent + 2, out);
      } else {
        StrAppend(out, " ", YamlScalar(value), "\n");
      }
    }
    return;
  }
  for (const Json& value : json) {
    if (!value.is_structured() || value.empty()) {
      StrAppend(out, pad, "- ", YamlScalar(value), "\n");
      continue;
    }
    std::string nested;
    WriteYaml(value, indent + 2, &nested);
    nested[indent] = '-';
    *out += nested;
  }
}

}  // namespace

Json EmptyTable(const Kind& kind, const Representation& how,
                bool with_columns) {
  Json columns;
  if (with_columns) {
    columns = Json::array();
    for (const Column& column :
         kind.columns.empty() ? DefaultColumns() : kind.columns) {
      columns.push_back({{"name", column.name},
                         {"type", column.type},
                         {"format", column.format},
                         {"description", ""},
                         {"priority", column.priority}});
    }
  }
  return {{"kind", "Table"},
          {"apiVersion", how.table_version},
          {"metadata", Json::object()},
          {"columnDefinitions", std::move(columns)},
          {"rows", Json::array()}};
}

Json PartialMetadata(const Json& object) {
  return {{"kind", "PartialObjectMetadata"},
          {"apiVersion", "meta.k8s.io/v1"},
          {"metadata", Map(object, "metadata")}};
}

namespace {

// By which clients show that a pod's work is done.
Json RowConditions(const Kind& kind, const Json& object) {
  std::string_view phase = Text(object, {"status", "phase"});
  if (kind.resource.plural != "pods" ||
      (phase != "Succeeded" && phase != "Failed")) {
    return Json::array();
  }
  return Json::array(
      {{{"type", "Completed"},
        {"status", "True"},
        {"reason", phase},
        {"message", phase == "Failed"
                        ? "The pod failed."
                        : "The pod has completed successfully."}}});
}

// A Table is made of an object without its version's own annotations.
Json RowMetadata(const Json& object) {
  Json partial = PartialMetadata(object);
  Json& metadata = partial["metadata"];
  auto it = metadata.find("annotations");
  if (it != metadata.end() &&
      it->erase("deprecated.daemonset.template.generation") > 0 &&
      it->empty()) {
    metadata.erase(it);
  }
  return partial;
}

}  // namespace

Json TableRow(const Kind& kind, const Json& object, const Representation& how,
              absl::Time now) {
  Json cells = Json::array();
  if (kind.cells) {
    for (Json& cell : kind.cells(object, now)) cells.push_back(std::move(cell));
  } else {
    cells = {Get(object, {"metadata", "name"}),
             Get(object, {"metadata", "creationTimestamp"})};
  }
  Json row = {{"cells", std::move(cells)}, {"object", Json()}};
  if (Json conditions = RowConditions(kind, object); !conditions.empty()) {
    row["conditions"] = std::move(conditions);
  }
  if (how.include_object == "Object") {
    row["object"] = object;
  } else if (how.include_object != "None") {
    row["object"] = RowMetadata(object);
    row["object"]["apiVersion"] = how.table_version;
  }
  return row;
}

std::string YamlText(const Json& json) {
  std::string out;
  if (!json.is_structured() || json.empty()) return YamlScalar(json) + "\n";
  WriteYaml(json, 0, &out);
  return out;
}

}  // namespace fairlead::api
