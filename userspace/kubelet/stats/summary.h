// SPDX-License-Identifier: Apache-2.0
// What the node and its pods use, in the two forms that are asked for:
// /stats/summary (stats/v1alpha1) and /metrics/resource (Prometheus text).
// Pure.
#ifndef FAIRLEAD_USERSPACE_KUBELET_STATS_SUMMARY_H_
#define FAIRLEAD_USERSPACE_KUBELET_STATS_SUMMARY_H_

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "userspace/kubelet/stats/usage.h"

namespace fairlead::kubelet {

struct UsageSample {
  absl::Time at, started;
  Usage usage;
  std::optional<double> cores;  // over the last seconds; known from the second
};

struct ContainerStats {
  std::string name;
  UsageSample sample;
};

struct PodStats {
  std::string ns, name, uid;
  absl::Time started;
  std::vector<ContainerStats> containers;  // those that run
};

struct NodeStats {
  std::string name;
  UsageSample sample;
  std::vector<PodStats> pods;
};

nlohmann::json FormatSummary(const NodeStats& stats);
std::string FormatResourceMetrics(const NodeStats& stats);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_STATS_SUMMARY_H_
