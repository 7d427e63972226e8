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

struct Refusals {
  std::map<std::string, int> reasons;  // each with its number of nodes
  size_t others_in_the_way = 0;        // of how many nodes
};

// Whether the node takes the pod; why not goes to `refusals`.
bool Filter(const PodView& pod, const NodeView& node, Refusals* refusals) {
  for (const FilterPlugin& plugin : FilterPlugins()) {
    Reasons reasons = plugin.filter(pod, node);
    if (reasons.empty()) continue;
    for (std::string& reason : reasons) ++refusals->reasons[std::move(reason)];
    if (plugin.others_in_the_way) ++refusals->others_in_the_way;
    return false;
  }
  return true;
}

std::string Explain(size_t nodes, const Refusals& refusals) {
  if (nodes == 0) return "no nodes available to schedule pods";
  std::vector<std::string> lines;
  for (const auto& [reason, count] : refusals.reasons) {
    lines.push_back(StrCat(count, " ", reason));
  }
  std::sort(lines.begin(), lines.end());
  std::string text = StrCat("0/", nodes, " nodes are available: ");
  for (size_t i = 0; i < lines.size(); ++i) {
    StrAppend(&text, i == 0 ? "" : ", ", lines[i]);
  }
  text += ".";
  // Nobody is evicted for a pod here; where that could not help, the message
  // says so in the stock scheduler's words.
  if (refusals.others_in_the_way == 0) {
    StrAppend(&text, " no new claims to deallocate, preemption: 0/", nodes,
              " nodes are available: ", nodes,
              " Preemption is not helpful for scheduling.");
  }
  return text;
}

}  // namespace

Decision Decide(const PodView& pod, const Snapshot& snapshot) {
  Snapshot feasible;
  Refusals refusals;
  for (const auto& node : snapshot) {
    if (Filter(pod, *node, &refusals)) feasible.push_back(node);
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
