// SPDX-License-Identifier: Apache-2.0
// Pods of one owner are spread over the nodes, so that the loss of a node is
// the loss of as few of them as possible. A pod without an owner goes where
// there are the fewest pods.
#include <algorithm>

#include "control/scheduler/plugin.h"

namespace fairlead::scheduler {

std::vector<int64_t> ScoreSpreading(
    const PodView& pod,
    std::span<const std::shared_ptr<const NodeView>> nodes) {
  std::vector<int64_t> counts;
  int64_t most = 0;
  for (const auto& node : nodes) {
    int64_t count = 0;
    if (pod.owner.empty()) {
      auto it = node->requested.find("pods");
      count = it == node->requested.end() ? 0 : it->second;
    } else {
      auto it = node->pods_by_owner.find(pod.owner);
      count = it == node->pods_by_owner.end() ? 0 : it->second;
    }
    counts.push_back(count);
    most = std::max(most, count);
  }
  for (int64_t& count : counts) {
    count = most == 0 ? kMaxScore : kMaxScore * (most - count) / most;
  }
  return counts;
}

}  // namespace fairlead::scheduler
