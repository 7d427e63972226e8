// SPDX-License-Identifier: Apache-2.0
// Looks at what the node and its pods use when it is asked, and every ten
// seconds, so that the rate of the last seconds is known to whoever asks once.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_USERSPACE_KUBELET_STATS_SAMPLER_H_
#define FAIRLEAD_USERSPACE_KUBELET_STATS_SAMPLER_H_

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "userspace/base/event_loop.h"
#include "userspace/kubelet/stats/summary.h"

namespace fairlead::kubelet {

// A pod to be looked at; the samples of its containers are filled in. The
// cgroup of one is CGROUP/NAME, in v1 (ReadCgroupUsage) V1_MEMORY/NAME.
struct SampledPod {
  PodStats stats;
  std::string cgroup, v1_memory;
};

class Sampler {
 public:
  using ListPods = std::function<std::vector<SampledPod>()>;

  // `loop` outlives it.
  Sampler(EventLoop* loop, std::string node, ListPods pods);

  // From now on, every ten seconds.
  void Start();
  NodeStats Look();

 private:
  struct Rate {
    absl::Time at;
    absl::Duration cpu;
    std::optional<double> cores;
    uint64_t round = 0;
  };
  std::optional<double> RateOf(const std::string& key,
                               const UsageSample& sample);

  EventLoop* loop_;
  std::string node_;
  ListPods pods_;
  std::map<std::string, Rate> rates_;  // by cgroup and start; "": the node
  uint64_t round_ = 0;
  Timer timer_;
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_STATS_SAMPLER_H_
