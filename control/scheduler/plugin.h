// SPDX-License-Identifier: Apache-2.0
// The two kinds of rules by which a node is chosen. One file each in plugins/.
// Pure functions.
#ifndef FAIRLEAD_CONTROL_SCHEDULER_PLUGIN_H_
#define FAIRLEAD_CONTROL_SCHEDULER_PLUGIN_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "control/scheduler/snapshot.h"

namespace fairlead::scheduler {

// Why the pod can't run on the node, in the words of FailedScheduling; empty
// when it can.
using Reasons = std::vector<std::string>;
struct FilterPlugin {
  const char* name;
  // Whether the node could take the pod if others left it.
  bool others_in_the_way;
  Reasons (*filter)(const PodView& pod, const NodeView& node);
};

// 0 (worst) to 100 for each of `nodes`, which all passed the filters.
struct ScorePlugin {
  const char* name;
  int64_t weight;
  std::vector<int64_t> (*score)(
      const PodView& pod,
      std::span<const std::shared_ptr<const NodeView>> nodes);
};
inline constexpr int64_t kMaxScore = 100;

Reasons FilterNodeName(const PodView& pod, const NodeView& node);
Reasons FilterUnschedulable(const PodView& pod, const NodeView& node);
Reasons FilterTaints(const PodView& pod, const NodeView& node);
Reasons FilterNodeAffinity(const PodView& pod, const NodeView& node);
Reasons FilterNodePorts(const PodView& pod, const NodeView& node);
Reasons FilterResources(const PodView& pod, const NodeView& node);

std::vector<int64_t> ScoreLeastAllocated(
    const PodView& pod,
    std::span<const std::shared_ptr<const NodeView>> nodes);
std::vector<int64_t> ScoreSpreading(
    const PodView& pod,
    std::span<const std::shared_ptr<const NodeView>> nodes);
std::vector<int64_t> ScoreTaints(
    const PodView& pod,
    std::span<const std::shared_ptr<const NodeView>> nodes);

// In the order in which they run; the first that refuses a node is the reason
// that is told.
std::span<const FilterPlugin> FilterPlugins();
std::span<const ScorePlugin> ScorePlugins();

}  // namespace fairlead::scheduler

#endif  // FAIRLEAD_CONTROL_SCHEDULER_PLUGIN_H_
