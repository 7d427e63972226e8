// SPDX-License-Identifier: Apache-2.0
#include "control/scheduler/decision.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "control/scheduler/plugin.h"
#include "userspace/base/strings.h"

namespace fairlead::scheduler {
namespace {

Reasons Filter(const PodView& pod, const NodeView& node) {
  for (const FilterPlugin& plugin : FilterPlugins()) {
    Reasons reasons = plugin.filter(pod, node);
    if (!reasons.empty()) return reasons;
  }
  return {};
}

std::string Explain(size_t nodes, const std::map<std::string, int>& reasons) {
  if (nodes == 0) return "no nodes available to schedule pods";
  std::vector<std::string> lines;
  for (const auto& [reason, count] : reasons) {
    lines.push_back(StrCat(count, " ", reason));
  }
  std::sort(lines.begin(), lines.end());
  std::string text = StrCat("0/", nodes, " nodes are available: ");
  for (size_t i = 0; i < lines.size(); ++i) {
    StrAppend(&text, i == 0 ? "" : ", ", lines[i]);
  }
  return text + ".";
}

}  // namespace

Decision Decide(const PodView& pod, const Snapshot& snapshot) {
  Snapshot feasible;
  std::map<std::string, int> refusals;
  for (const auto& node : snapshot) {
    Reasons reasons = Filter(pod, *node);
    if (reasons.empty()) feasible.push_back(node);
    for (std::string& reason : reasons) ++refusals[std::move(reason)];
  }
  if (feasible.empty()) {
    return {.message = Explain(snapshot.size(), refusals)};
  }
  std::vector<int64_t> totals(feasible.size(), 0);
  for (const ScorePlugin& plugin : ScorePlugins()) {
    std::vector<int64_t> scores = plugin.score(pod, feasible);
    for (size_t i = 0; i < totals.size(); ++i) {
      totals[i] += plugin.weight * scores[i];
    }
  }
  // Of equals the first by name.
  size_t best = std::max_element(totals.begin(), totals.end()) -
                totals.begin();
  return {.node = feasible[best]->name};
}

}  // namespace fairlead::scheduler
