// SPDX-License-Identifier: Apache-2.0
#include "control/api/int_or_string.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <string>

namespace fairlead::api {

std::optional<int> ParsePercent(std::string_view text) {
  if (text.size() < 2 || text.size() > 9 || text.back() != '%') return {};
  text.remove_suffix(1);
  int value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return {};
    value = value * 10 + (c - '0');
  }
  return value;
}

absl::StatusOr<int> ScaleIntOrPercent(const nlohmann::json& value, int total,
                                      Rounding rounding) {
  if (value.is_number_integer()) {
    int64_t number = value.get<int64_t>();
    if (number < std::numeric_limits<int>::min() ||
        number > std::numeric_limits<int>::max()) {
      return absl::InvalidArgumentError("value out of range");
    }
    return static_cast<int>(number);
  }
  std::optional<int> percent;
  if (value.is_string()) {
    percent = ParsePercent(value.get_ref<const std::string&>());
  }
  if (!percent) {
    return absl::InvalidArgumentError(
        "invalid value for IntOrString: neither a number nor a percentage");
  }
  int64_t scaled = static_cast<int64_t>(*percent) * total;
  if (rounding == Rounding::kUp && scaled > 0) scaled += 99;
  return static_cast<int>(scaled / 100);
}

}  // namespace fairlead::api
