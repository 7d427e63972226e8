// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/stats/summary.h"

#include <functional>

#include "absl/strings/str_format.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"
#include "userspace/kubelet/pod_status.h"

namespace fairlead::kubelet {
namespace {

void AddUsage(const UsageSample& sample, Json* json) {
  const std::string time = KubeTime(sample.at);
  Json cpu = {{"time", time},
              {"usageCoreNanoSeconds",
               absl::ToInt64Nanoseconds(sample.usage.cpu)}};
  if (sample.cores)
    cpu["usageNanoCores"] = static_cast<int64_t>(*sample.cores * 1e9);
  Json memory = {{"time", time},
                 {"usageBytes", sample.usage.working_set},
                 {"workingSetBytes", sample.usage.working_set}};
  if (sample.usage.available > 0)
    memory["availableBytes"] = sample.usage.available;
  (*json)["cpu"] = std::move(cpu);
  (*json)["memory"] = std::move(memory);
}

// A pod is the sum of its containers.
UsageSample SumOf(const PodStats& pod) {
  UsageSample sum;
  sum.started = pod.started;
  bool rates = !pod.containers.empty();
  double cores = 0;
  for (const ContainerStats& container : pod.containers) {
    sum.at = container.sample.at;
    sum.usage.cpu += container.sample.usage.cpu;
    sum.usage.working_set += container.sample.usage.working_set;
    rates = rates && container.sample.cores;
    cores += container.sample.cores.value_or(0);
  }
  if (rates) sum.cores = cores;
  return sum;
}

// One metric of Prometheus' text format: what it is, and a line per labels.
class Metric {
 public:
  Metric(std::string name, const char* type, const char* help)
      : name_(std::move(name)) {
    StrAppend(&text_, "# HELP ", name_, " [STABLE] ", help, "\n# TYPE ", name_,
              " ", type, "\n");
  }
  void Add(const std::string& labels, double value,
           std::optional<absl::Time> at = {}) {
    StrAppend(&text_, name_, labels.empty() ? "" : StrCat("{", labels, "}"),
              " ", absl::StrFormat("%.15g", value));
    if (at) StrAppend(&text_, " ", absl::ToUnixMillis(*at));
    text_ += '\n';
  }
  const std::string& text() const { return text_; }

 private:
  std::string name_, text_;
};

std::string Labels(const PodStats& pod, const std::string& container = "") {
  return StrCat(container.empty() ? ""
                                  : StrCat("container=\"", container, "\","),
                "namespace=\"", pod.ns, "\",pod=\"", pod.name, "\"");
}

}  // namespace

Json FormatSummary(const NodeStats& stats) {
  Json node = {{"nodeName", stats.name},
               {"startTime", KubeTime(stats.sample.started)}};
  AddUsage(stats.sample, &node);
  Json pods = Json::array();
  for (const PodStats& pod : stats.pods) {
    Json json = {{"podRef",
                  {{"name", pod.name},
                   {"namespace", pod.ns},
                   {"uid", pod.uid}}},
                 {"startTime", KubeTime(pod.started)},
                 {"containers", Json::array()}};
    for (const ContainerStats& container : pod.containers) {
      Json one = {{"name", container.name},
                  {"startTime", KubeTime(container.sample.started)}};
      AddUsage(container.sample, &one);
      json["containers"].push_back(std::move(one));
    }
    if (!pod.containers.empty()) AddUsage(SumOf(pod), &json);
    pods.push_back(std::move(json));
  }
  return {{"node", std::move(node)}, {"pods", std::move(pods)}};
}

std::string FormatResourceMetrics(const NodeStats& stats) {
  Metric cpu("container_cpu_usage_seconds_total", "counter",
             "Cumulative cpu time consumed by the container in core-seconds");
  Metric memory("container_memory_working_set_bytes", "gauge",
                "Current working set of the container in bytes");
  Metric start("container_start_time_seconds", "gauge",
               "Start time of the container since unix epoch in seconds");
  Metric pod_cpu("pod_cpu_usage_seconds_total", "counter",
                 "Cumulative cpu time consumed by the pod in core-seconds");
  Metric pod_memory("pod_memory_working_set_bytes", "gauge",
                    "Current working set of the pod in bytes");
  Metric node_cpu("node_cpu_usage_seconds_total", "counter",
                  "Cumulative cpu time consumed by the node in core-seconds");
  Metric node_memory("node_memory_working_set_bytes", "gauge",
                     "Current working set of the node in bytes");
  Metric error("resource_scrape_error", "gauge",
               "1 if there was an error while getting container metrics, 0 "
               "otherwise");
  const auto add = [](const std::string& labels, const UsageSample& sample,
                      Metric* seconds, Metric* bytes) {
    seconds->Add(labels, absl::ToDoubleSeconds(sample.usage.cpu), sample.at);
    bytes->Add(labels, static_cast<double>(sample.usage.working_set),
               sample.at);
  };
  for (const PodStats& pod : stats.pods) {
    for (const ContainerStats& c : pod.containers) {
      const std::string labels = Labels(pod, c.name);
      add(labels, c.sample, &cpu, &memory);
      start.Add(labels, absl::ToUnixNanos(c.sample.started) / 1e9);
    }
    if (!pod.containers.empty())
      add(Labels(pod), SumOf(pod), &pod_cpu, &pod_memory);
  }
  add("", stats.sample, &node_cpu, &node_memory);
  error.Add("", 0);
  std::string text;
  for (const Metric* metric : {&cpu, &memory, &start, &node_cpu, &node_memory,
                               &pod_cpu, &pod_memory, &error})
    text += metric->text();
  return text;
}

}  // namespace fairlead::kubelet
