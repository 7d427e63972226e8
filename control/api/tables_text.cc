// SPDX-License-Identifier: Apache-2.0
// The texts that cells have in common.
#include <algorithm>

#include "absl/strings/str_join.h"
#include "control/api/json_access.h"
#include "control/api/tables.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

std::string TwoUnits(int64_t major, const char* major_unit, int64_t minor,
                     const char* minor_unit) {
  if (minor == 0) return StrCat(major, major_unit);
  return StrCat(major, major_unit, minor, minor_unit);
}

}  // namespace

std::string HumanDuration(absl::Duration duration) {
  int64_t seconds = absl::ToInt64Seconds(duration);
  // Clocks of two machines may differ a little.
  if (seconds < -1) return "<invalid>";
  if (seconds < 0) return "0s";
  if (seconds < 120) return StrCat(seconds, "s");
  int64_t minutes = seconds / 60;
  if (minutes < 10) return TwoUnits(minutes, "m", seconds % 60, "s");
  if (minutes < 180) return StrCat(minutes, "m");
  int64_t hours = minutes / 60;
  if (hours < 8) return TwoUnits(hours, "h", minutes % 60, "m");
  if (hours < 48) return StrCat(hours, "h");
  int64_t days = hours / 24;
  if (days < 8) return TwoUnits(days, "d", hours % 24, "h");
  if (days < 2 * 365) return StrCat(days, "d");
  if (days < 8 * 365) return TwoUnits(days / 365, "y", days % 365, "d");
  return StrCat(days / 365, "y");
}

std::string Since(const Json& time, absl::Time now) {
  absl::Time then;
  std::string error;
  if (Text(time).empty() ||
      !absl::ParseTime(absl::RFC3339_full, Absl(Text(time)), &then, &error)) {
    return "<unknown>";
  }
  return HumanDuration(now - then);
}

std::string FormatLabels(const Json& labels) {
  std::vector<std::string> parts;
  for (const auto& [key, value] : Map(labels).items()) {
    parts.push_back(StrCat(key, "=", Text(value)));
  }
  return parts.empty() ? "<none>" : absl::StrJoin(parts, ",");
}

std::string FormatSelector(const Json& selector) {
  std::vector<std::pair<std::string, std::string>> parts;  // by key
  for (const auto& [key, value] : Map(selector, "matchLabels").items()) {
    parts.emplace_back(key, StrCat(key, "=", Text(value)));
  }
  for (const Json& term : List(selector, "matchExpressions")) {
    std::string key(Text(term, "key"));
    std::vector<std::string> values;
    for (const Json& value : List(term, "values")) {
      values.emplace_back(Text(value));
    }
    std::sort(values.begin(), values.end());
    std::string_view op = Text(term, "operator");
    if (op == "Exists") {
      parts.emplace_back(key, key);
    } else if (op == "DoesNotExist") {
      parts.emplace_back(key, StrCat("!", key));
    } else if (op == "In" || op == "NotIn") {
      parts.emplace_back(key, StrCat(key, op == "In" ? " in (" : " notin (",
                                     absl::StrJoin(values, ","), ")"));
    } else {
      return "<error>";
    }
  }
  std::stable_sort(
      parts.begin(), parts.end(),
      [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> texts;
  for (auto& part : parts) texts.push_back(std::move(part.second));
  return texts.empty() ? "<none>" : absl::StrJoin(texts, ",");
}

}  // namespace fairlead::api
