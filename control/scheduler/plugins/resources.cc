// SPDX-License-Identifier: Apache-2.0
// What pods ask for must fit into what the node has left; among nodes where
// it does, the emptier is the better.
#include <algorithm>

#include "control/scheduler/plugin.h"
#include "userspace/base/strings.h"

namespace fairlead::scheduler {
namespace {

// A pod that asks for nothing still needs something.
constexpr int64_t kAssumedMilliCpu = 100;
constexpr int64_t kAssumedMemory = 200 << 20;

int64_t Amount(const Amounts& amounts, std::string_view name) {
  auto it = amounts.find(name);
  return it == amounts.end() ? 0 : it->second;
}

int64_t FreePart(const PodView& pod, const NodeView& node,
                 std::string_view name, int64_t assumed) {
  int64_t capacity = Amount(node.allocatable, name);
  if (capacity <= 0) return 0;
  int64_t asked = Amount(pod.requests, name);
  int64_t used = Amount(node.requested, name) + (asked > 0 ? asked : assumed);
  return std::max<int64_t>(0, capacity - used) * kMaxScore / capacity;
}

}  // namespace

Reasons FilterResources(const PodView& pod, const NodeView& node) {
  Reasons reasons;
  for (const auto& [name, asked] : pod.requests) {
    if (asked <= 0) continue;
    int64_t left =
        Amount(node.allocatable, name) - Amount(node.requested, name);
    if (asked <= left) continue;
    if (name == "pods") {
      // A node that does not say how many takes the usual number.
      bool unlimited = !node.allocatable.contains("pods");
      if (!unlimited || Amount(node.requested, name) >= 110) {
        reasons.push_back("Too many pods");
      }
    } else {
      reasons.push_back(StrCat("Insufficient ", name));
    }
  }
  return reasons;
}

std::vector<int64_t> ScoreLeastAllocated(
    const PodView& pod,
    std::span<const std::shared_ptr<const NodeView>> nodes) {
  std::vector<int64_t> scores;
  for (const auto& node : nodes) {
    scores.push_back((FreePart(pod, *node, "cpu", kAssumedMilliCpu) +
                      FreePart(pod, *node, "memory", kAssumedMemory)) /
                     2);
  }
  return scores;
}

}  // namespace fairlead::scheduler
