// SPDX-License-Identifier: Apache-2.0
// Histograms, and the text format in which Prometheus reads metrics. Values;
// one thread at a time.
#ifndef FAIRLEAD_USERSPACE_AGENT_METRICS_H_
#define FAIRLEAD_USERSPACE_AGENT_METRICS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace fairlead::agent {

class Histogram {
 public:
  // Upper bounds in seconds, rising.
  explicit Histogram(std::vector<double> bounds);
  // 0.1 ms to 10 s, for what should take about a millisecond.
  static Histogram ForLatency();
  // The buckets of kube-proxy's network_programming_duration_seconds.
  static Histogram ForNetworkProgramming();
  // Of its sync_proxy_rules_duration_seconds: 1 ms to 16 s.
  static Histogram ForSync();

  void Observe(absl::Duration value);
  uint64_t count() const { return count_; }
  double sum() const { return sum_; }
  const std::vector<double>& bounds() const { return bounds_; }
  // How many were in each bucket alone; the last is above all bounds.
  const std::vector<uint64_t>& buckets() const { return buckets_; }

 private:
  std::vector<double> bounds_;
  std::vector<uint64_t> buckets_;
  uint64_t count_ = 0;
  double sum_ = 0;
};

class PrometheusText {
 public:
  // `labels` is "" or `reason="x",hook="y"`. Samples of one name follow each
  // other; the first brings the HELP and TYPE lines.
  void Counter(std::string_view name, std::string_view help,
               std::string_view labels, double value);
  void Gauge(std::string_view name, std::string_view help,
             std::string_view labels, double value);
  void Add(std::string_view name, std::string_view help,
           const Histogram& histogram, std::string_view labels = "");
  std::string Take() { return std::move(text_); }

 private:
  void Head(std::string_view name, std::string_view help,
            std::string_view type);
  void Sample(std::string_view name, std::string_view labels, double value);
  std::string text_;
  std::string last_name_;
};

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_METRICS_H_
