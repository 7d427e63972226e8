// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/metrics.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "userspace/base/strings.h"

namespace fairlead::agent {

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), buckets_(bounds_.size() + 1) {}

Histogram Histogram::ForLatency() {
  return Histogram({0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025,
                    0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10});
}

Histogram Histogram::ForNetworkProgramming() {
  std::vector<double> bounds = {0.25, 0.5};
  for (int s = 1; s < 60; ++s) bounds.push_back(s);
  for (int s = 60; s < 120; s += 5) bounds.push_back(s);
  for (int s = 120; s <= 300; s += 30) bounds.push_back(s);
  return Histogram(std::move(bounds));
}

Histogram Histogram::ForSync() {
  std::vector<double> bounds = {0.001};
  while (bounds.size() < 15) bounds.push_back(bounds.back() * 2);
  return Histogram(std::move(bounds));
}

void Histogram::Observe(absl::Duration value) {
  double seconds = std::max(0.0, absl::ToDoubleSeconds(value));
  auto it = std::lower_bound(bounds_.begin(), bounds_.end(), seconds);
  ++buckets_[it - bounds_.begin()];
  ++count_;
  sum_ += seconds;
}

void PrometheusText::Head(std::string_view name, std::string_view help,
                          std::string_view type) {
  if (last_name_ == name) return;
  last_name_ = std::string(name);
  StrAppend(&text_, "# HELP ", name, " ", help, "\n# TYPE ", name, " ", type,
            "\n");
}

void PrometheusText::Sample(std::string_view name, std::string_view labels,
                            double value) {
  text_.append(name);
  if (!labels.empty()) StrAppend(&text_, "{", labels, "}");
  absl::StrAppendFormat(&text_, " %.15g\n", value);
}

void PrometheusText::Counter(std::string_view name, std::string_view help,
                             std::string_view labels, double value) {
  Head(name, help, "counter");
  Sample(name, labels, value);
}

void PrometheusText::Gauge(std::string_view name, std::string_view help,
                           std::string_view labels, double value) {
  Head(name, help, "gauge");
  Sample(name, labels, value);
}

void PrometheusText::Add(std::string_view name, std::string_view help,
                         const Histogram& histogram, std::string_view labels) {
  Head(name, help, "histogram");
  const std::string bucket = StrCat(name, "_bucket");
  const std::string first = labels.empty() ? "" : StrCat(labels, ",");
  uint64_t total = 0;
  for (size_t i = 0; i < histogram.bounds().size(); ++i) {
    total += histogram.buckets()[i];
    Sample(bucket,
           StrCat(first, absl::StrFormat("le=\"%g\"", histogram.bounds()[i])),
           static_cast<double>(total));
  }
  Sample(bucket, StrCat(first, "le=\"+Inf\""),
         static_cast<double>(histogram.count()));
  Sample(StrCat(name, "_sum"), labels, histogram.sum());
  Sample(StrCat(name, "_count"), labels,
         static_cast<double>(histogram.count()));
}

}  // namespace fairlead::agent
