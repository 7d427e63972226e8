// SPDX-License-Identifier: Apache-2.0
// nodeSelector and required node affinity.
#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "control/controllers/object.h"
#include "control/scheduler/plugin.h"
#include "userspace/base/strings.h"

namespace fairlead::scheduler {
namespace {

using controllers::Get;
using controllers::MapSelects;
using controllers::Text;

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
  return controllers::SelectorMatches(
      {{"matchExpressions", Json::array({requirement})}}, fields);
}

bool MatchesAll(const Json& requirements, const Json& fields) {
  return !requirements.is_array() ||
         std::all_of(requirements.begin(), requirements.end(),
                     [&](const Json& r) { return Matches(r, fields); });
}

// Terms are alternatives; an empty one matches nothing.
bool MatchesAnyTerm(const Json& terms, const NodeView& node) {
  const Json& labels = Get(*node.node, {"metadata", "labels"});
  const Json fields = {{"metadata.name", node.name}};
  return std::any_of(terms.begin(), terms.end(), [&](const Json& term) {
    const Json& expressions = Get(term, {"matchExpressions"});
    const Json& names = Get(term, {"matchFields"});
    if (expressions.empty() && names.empty()) return false;
    return MatchesAll(expressions, labels) && MatchesAll(names, fields);
  });
}

}  // namespace

Reasons FilterNodeAffinity(const PodView& pod, const NodeView& node) {
  bool fits = MapSelects(Get(*pod.pod, {"spec", "nodeSelector"}),
                         Get(*node.node, {"metadata", "labels"}));
  const Json& terms =
      Get(*pod.pod, {"spec", "affinity", "nodeAffinity",
                     "requiredDuringSchedulingIgnoredDuringExecution",
                     "nodeSelectorTerms"});
  if (fits && terms.is_array()) fits = MatchesAnyTerm(terms, node);
  if (fits) return {};
  return {"node(s) didn't match Pod's node affinity/selector"};
}

}  // namespace fairlead::scheduler
