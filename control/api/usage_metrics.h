// SPDX-License-Identifier: Apache-2.0
// What a kubelet's /stats/summary says of processors and memory, and the same
// as objects of metrics.k8s.io/v1beta1.
//
// Threads: pure functions.
#ifndef FAIRLEAD_CONTROL_API_USAGE_METRICS_H_
#define FAIRLEAD_CONTROL_API_USAGE_METRICS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "control/api/kind.h"

namespace fairlead::api {

inline constexpr char kMetricsGroup[] = "metrics.k8s.io";

// Whether it is one of these kinds: nothing is stored of them, and they can be
// got and listed only.
bool IsUsageMetrics(const Kind& kind);

struct MeasuredUsage {
  std::string name;  // of the container or node
  std::string time;  // RFC 3339, as the kubelet wrote it
  int64_t nano_cores = 0, memory_bytes = 0;
};

struct PodUsage {
  std::string ns, name, uid;
  std::vector<MeasuredUsage> containers;
};

struct NodeUsage {
  std::optional<MeasuredUsage> node;  // none: not known yet
  std::vector<PodUsage> pods;         // those of which all is known
};

// InvalidArgument: not a summary at all.
[[nodiscard]] absl::StatusOr<NodeUsage> ParseSummary(std::string_view text);

// `node` and `pod` are the objects that it is about. Without kind and
// apiVersion.
Json NodeMetricsOf(const Json& node, const MeasuredUsage& usage);
Json PodMetricsOf(const Json& pod, const PodUsage& usage);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_USAGE_METRICS_H_
