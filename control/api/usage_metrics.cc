// SPDX-License-Identifier: Apache-2.0
#include "control/api/usage_metrics.h"

#include <utility>

#include "absl/status/status.h"
#include "control/api/json_access.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

// Over which a kubelet's rate of processor time is.
constexpr char kWindow[] = "10s";

// nullopt while one of the two isn't known.
std::optional<MeasuredUsage> UsageOf(const Json& stats, std::string_view name) {
  const Json& cores = Get(stats, {"cpu", "usageNanoCores"});
  const Json& memory = Get(stats, {"memory", "workingSetBytes"});
  if (name.empty() || !cores.is_number_integer() ||
      !memory.is_number_integer() || Int(cores) < 0 || Int(memory) < 0) {
    return std::nullopt;
  }
  return MeasuredUsage{std::string(name),
                       std::string(Text(stats, {"cpu", "time"})), Int(cores),
                       Int(memory)};
}

// In metrics-server's units.
Json Amounts(const MeasuredUsage& usage) {
  return {{"cpu", usage.nano_cores == 0 ? "0"
                                        : StrCat(usage.nano_cores, "n")},
          {"memory", StrCat(usage.memory_bytes >> 10, "Ki")}};
}

Json MetadataOf(const Json& object, std::string_view time) {
  Json metadata = {{"name", Get(object, {"metadata", "name"})},
                   {"creationTimestamp", time}};
  if (const Json& ns = Get(object, {"metadata", "namespace"}); ns.is_string())
    metadata["namespace"] = ns;
  if (const Json& labels = Get(object, {"metadata", "labels"});
      labels.is_object())
    metadata["labels"] = labels;
  return metadata;
}

}  // namespace

bool IsUsageMetrics(const Kind& kind) {
  return kind.resource.group == kMetricsGroup;
}

absl::StatusOr<NodeUsage> ParseSummary(std::string_view text) {
  const Json summary = Json::parse(text, nullptr, false);
  if (!Get(summary, "node").is_object())
    return absl::InvalidArgumentError("not a summary of a node");
  NodeUsage out;
  const Json& node = Get(summary, "node");
  out.node = UsageOf(node, Text(node, "nodeName"));
  for (const Json& pod : List(summary, {"pods"})) {
    PodUsage usage;
    usage.ns = Text(pod, {"podRef", "namespace"});
    usage.name = Text(pod, {"podRef", "name"});
    usage.uid = Text(pod, {"podRef", "uid"});
    bool known = true;
    for (const Json& container : List(pod, {"containers"})) {
      auto one = UsageOf(container, Text(container, "name"));
      known = known && one.has_value();
      if (one) usage.containers.push_back(*std::move(one));
    }
    // Half of a pod's would look like all of it.
    if (known && !usage.containers.empty())
      out.pods.push_back(std::move(usage));
  }
  return out;
}

Json NodeMetricsOf(const Json& node, const MeasuredUsage& usage) {
  return {{"metadata", MetadataOf(node, usage.time)},
          {"timestamp", usage.time},
          {"window", kWindow},
          {"usage", Amounts(usage)}};
}

Json PodMetricsOf(const Json& pod, const PodUsage& usage) {
  Json containers = Json::array();
  std::string time;  // the oldest
  for (const MeasuredUsage& one : usage.containers) {
    containers.push_back({{"name", one.name}, {"usage", Amounts(one)}});
    if (time.empty() || one.time < time) time = one.time;
  }
  return {{"metadata", MetadataOf(pod, time)},
          {"timestamp", time},
          {"window", kWindow},
          {"containers", std::move(containers)}};
}

}  // namespace fairlead::api
