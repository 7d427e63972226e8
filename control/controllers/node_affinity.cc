// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/node_affinity.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

bool Compares(const std::string& label, const Json& values, bool greater) {
  int64_t have = 0, bound = 0;
  if (!values.is_array() || values.size() != 1 || !values[0].is_string() ||
      !absl::SimpleAtoi(label, &have) ||
      !absl::SimpleAtoi(values[0].get_ref<const std::string&>(), &bound)) {
    return false;
  }
  return greater ? have > bound : have < bound;
}

bool Matches(const Json& requirement, const Json& fields) {
  std::string_view op = Text(requirement, {"operator"});
  if (op == "Gt" || op == "Lt") {
    if (!fields.is_object()) return false;
    auto it = fields.find(Text(requirement, {"key"}));
    return it != fields.end() && it->is_string() &&
           Compares(it->get_ref<const std::string&>(),
                    Get(requirement, {"values"}), op == "Gt");
  }
  // The rest are the operators of label selectors.
  return SelectorMatches(
      {{"matchExpressions", Json::array({requirement})}}, fields);
}

bool MatchesAll(const Json& requirements, const Json& fields) {
  return !requirements.is_array() ||
         std::all_of(requirements.begin(), requirements.end(),
                     [&](const Json& r) { return Matches(r, fields); });
}

// Terms are alternatives; an empty one matches nothing.
bool MatchesAnyTerm(const Json& terms, const Json& node) {
  const Json& labels = Get(node, {"metadata", "labels"});
  const Json fields = {{"metadata.name", Name(node)}};
  return std::any_of(terms.begin(), terms.end(), [&](const Json& term) {
    const Json& expressions = Get(term, {"matchExpressions"});
    const Json& names = Get(term, {"matchFields"});
    if (expressions.empty() && names.empty()) return false;
    return MatchesAll(expressions, labels) && MatchesAll(names, fields);
  });
}

}  // namespace

bool NodeAffinityAdmits(const Json& spec, const Json& node) {
  if (!MapSelects(Get(spec, {"nodeSelector"}),
                  Get(node, {"metadata", "labels"}))) {
    return false;
  }
  const Json& terms = Get(spec, {"affinity", "nodeAffinity",
                                 "requiredDuringSchedulingIgnoredDuringExecution",
                                 "nodeSelectorTerms"});
  return !terms.is_array() || MatchesAnyTerm(terms, node);
}

}  // namespace fairlead::controllers
