// SPDX-License-Identifier: Apache-2.0
// Taints keep pods away (NoSchedule, NoExecute) or are avoided
// (PreferNoSchedule). Nodes that are not ready carry taints, too.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "control/controllers/object.h"
#include "control/scheduler/plugin.h"

namespace fairlead::scheduler {
namespace {

using controllers::Get;
using controllers::IsTolerated;
using controllers::Text;

int64_t Avoided(const PodView& pod, const NodeView& node) {
  int64_t count = 0;
  const Json& taints = Get(*node.node, {"spec", "taints"});
  if (!taints.is_array()) return 0;
  for (const Json& taint : taints) {
    if (Text(taint, {"effect"}) == "PreferNoSchedule" &&
        !IsTolerated(Get(*pod.pod, {"spec", "tolerations"}), taint)) {
      ++count;
    }
  }
  return count;
}

}  // namespace

Reasons FilterTaints(const PodView& pod, const NodeView& node) {
  const Json& taints = Get(*node.node, {"spec", "taints"});
  if (!taints.is_array()) return {};
  for (const Json& taint : taints) {
    std::string_view effect = Text(taint, {"effect"});
    if (effect != "NoSchedule" && effect != "NoExecute") continue;
    if (!IsTolerated(Get(*pod.pod, {"spec", "tolerations"}), taint)) {
      return {"node(s) had untolerated taint(s)"};
    }
  }
  return {};
}

std::vector<int64_t> ScoreTaints(
    const PodView& pod,
    std::span<const std::shared_ptr<const NodeView>> nodes) {
  std::vector<int64_t> counts;
  int64_t most = 0;
  for (const auto& node : nodes) {
    counts.push_back(Avoided(pod, *node));
    most = std::max(most, counts.back());
  }
  for (int64_t& count : counts) {
    count = most == 0 ? kMaxScore : kMaxScore * (most - count) / most;
  }
  return counts;
}

}  // namespace fairlead::scheduler
