// SPDX-License-Identifier: Apache-2.0
// When to apply what: at once after a quiet time, then in batches; again with
// back-off what failed; and when a grace period ends. Sleeps otherwise.
//
// Threads: the event loop's only. The pointers outlive this.
#ifndef FAIRLEAD_USERSPACE_AGENT_APPLY_LOOP_H_
#define FAIRLEAD_USERSPACE_AGENT_APPLY_LOOP_H_

#include <functional>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "userspace/agent/metrics.h"
#include "userspace/base/clock.h"
#include "userspace/base/event_loop.h"
#include "userspace/model/cluster.h"
#include "userspace/reconcile/reconciler.h"

namespace fairlead::agent {

struct ApplyLoopOptions {
  // Between two applies, so that a storm of events is applied in batches: as
  // long as the last one took, within these. (At 1,000 changes a second an
  // interval of 1 ms is an apply, with its timer, for each.)
  absl::Duration min_interval = absl::Milliseconds(2);
  absl::Duration max_interval = absl::Milliseconds(10);
  absl::Duration min_backoff = absl::Milliseconds(100);
  absl::Duration max_backoff = absl::Seconds(30);
};

class ApplyLoop {
 public:
  // `on_applied` runs after each apply.
  ApplyLoop(EventLoop* loop, model::Cluster* cluster,
            reconcile::Reconciler* reconciler, ApplyLoopOptions options,
            std::function<void(const reconcile::ApplyResult&)> on_applied,
            const Clock& clock = Clock::Real());

  // Until this is called nothing is applied: the model isn't complete.
  void Open();
  bool is_open() const { return open_; }
  // Something may have become dirty.
  void Changed();
  // The endpoints of some slice changed at this time, says who made it.
  void EndpointsChanged(absl::Time when);

  struct Stats {
    uint64_t applies = 0;
    uint64_t writes = 0;    // applies that wrote something
    uint64_t failures = 0;  // Services, each time
    size_t failed = 0;      // Services, the last time
    std::optional<absl::Time> last_applied;
    std::optional<absl::Time> last_queued;
    absl::Duration last_latency;  // from event to kernel
    Histogram latency = Histogram::ForLatency();
    Histogram duration = Histogram::ForLatency();
    // The same in kube-proxy's buckets: all, the first, the others.
    Histogram sync = Histogram::ForSync();
    Histogram full_sync = Histogram::ForSync();
    Histogram partial_sync = Histogram::ForSync();
    Histogram network_programming = Histogram::ForNetworkProgramming();
  };
  const Stats& stats() const { return stats_; }
  // For how long a change has been waiting; zero: none is.
  absl::Duration waiting() const;

 private:
  void Schedule();
  void Apply();
  void ScheduleAdvance();

  EventLoop* loop_;
  model::Cluster* cluster_;
  reconcile::Reconciler* reconciler_;
  ApplyLoopOptions options_;
  std::function<void(const reconcile::ApplyResult&)> on_applied_;
  const Clock& clock_;
  absl::Time began_;
  bool open_ = false;
  Timer next_;
  Timer retry_;
  Timer advance_;
  int failed_applies_ = 0;
  std::optional<absl::Duration> waiting_since_;  // monotonic
  absl::Duration not_before_ = absl::ZeroDuration();  // monotonic
  std::vector<absl::Time> endpoint_changes_;
  Stats stats_;
};

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_APPLY_LOOP_H_
