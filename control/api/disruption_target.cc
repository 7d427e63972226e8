// SPDX-License-Identifier: Apache-2.0
#include "control/api/disruption_target.h"

#include <algorithm>

#include "control/api/json_access.h"

namespace fairlead::api {
namespace {

using nlohmann::json;

constexpr char kType[] = "DisruptionTarget";

}  // namespace

bool IsDisruptionTarget(const json& pod) {
  const json& conditions = List(pod, {"status", "conditions"});
  return std::any_of(conditions.begin(), conditions.end(), [](const json& c) {
    return Text(c, "type") == kType && Text(c, "status") == "True";
  });
}

void SetDisruptionTarget(json& pod, std::string_view reason,
                         std::string_view message, std::string_view now) {
  json kept = json::array();
  for (const json& condition : List(pod, {"status", "conditions"})) {
    if (Text(condition, "type") != kType) kept.push_back(condition);
  }
  kept.push_back({{"type", kType},
                  {"status", "True"},
                  {"reason", reason},
                  {"message", message},
                  {"lastProbeTime", nullptr},
                  {"lastTransitionTime", now}});
  Sub(pod, "status")["conditions"] = std::move(kept);
}

}  // namespace fairlead::api
