// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/stats/sampler.h"

#include <algorithm>

#include "userspace/base/clock.h"
#include "userspace/base/strings.h"

namespace fairlead::kubelet {
namespace {

constexpr absl::Duration kPeriod = absl::Seconds(10);
// A shorter time tells more of chance than of the rate.
constexpr absl::Duration kShortest = absl::Seconds(1);

}  // namespace

Sampler::Sampler(EventLoop* loop, std::string node, ListPods pods)
    : loop_(loop), node_(std::move(node)), pods_(std::move(pods)) {}

void Sampler::Start() {
  (void)Look();
  timer_ = loop_->After(kPeriod, [this] { Start(); });
}

std::optional<double> Sampler::RateOf(const std::string& key,
                                      const UsageSample& sample) {
  const auto [it, fresh] = rates_.try_emplace(key);
  Rate& rate = it->second;
  rate.round = round_;
  const absl::Duration passed = sample.at - rate.at;
  if (fresh) {
    rate.at = sample.at;
    rate.cpu = sample.usage.cpu;
  } else if (passed >= kShortest) {
    rate.cores = std::max(
        0.0, absl::FDivDuration(sample.usage.cpu - rate.cpu, passed));
    rate.at = sample.at;
    rate.cpu = sample.usage.cpu;
  }
  return rate.cores;
}

NodeStats Sampler::Look() {
  ++round_;
  NodeStats stats;
  stats.name = node_;
  const auto measure = [this](const absl::StatusOr<Usage>& usage,
                              const std::string& key, UsageSample* sample) {
    if (!usage.ok()) return false;
    sample->at = Clock::Real().Now();
    sample->usage = *usage;
    sample->cores = RateOf(key, *sample);
    return true;
  };
  (void)measure(ReadMachineUsage(), "", &stats.sample);
  // Time since the machine's start, as the counters have it.
  stats.sample.started =
      Clock::Real().Now() - Clock::Real().Monotonic();
  for (SampledPod& pod : pods_()) {
    std::erase_if(pod.stats.containers, [&](ContainerStats& c) {
      const std::string cgroup = StrCat(pod.cgroup, "/", c.name);
      const std::string run =
          StrCat(cgroup, "@", absl::ToUnixNanos(c.sample.started));
      return !measure(
          ReadCgroupUsage(cgroup, StrCat(pod.v1_memory, "/", c.name)), run,
          &c.sample);
    });
    stats.pods.push_back(std::move(pod.stats));
  }
  std::erase_if(rates_,
                [this](const auto& r) { return r.second.round != round_; });
  return stats;
}

}  // namespace fairlead::kubelet
