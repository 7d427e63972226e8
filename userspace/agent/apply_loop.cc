// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/apply_loop.h"

#include <algorithm>
#include <utility>

namespace fairlead::agent {

ApplyLoop::ApplyLoop(
    EventLoop* loop, model::Cluster* cluster, reconcile::Reconciler* reconciler,
    ApplyLoopOptions options,
    std::function<void(const reconcile::ApplyResult&)> on_applied,
    const Clock& clock)
    : loop_(loop),
      cluster_(cluster),
      reconciler_(reconciler),
      options_(options),
      on_applied_(std::move(on_applied)),
      clock_(clock),
      began_(clock.Now()) {}

void ApplyLoop::Open() {
  if (open_) return;
  open_ = true;
  // Also without a dirty Service: what nobody wants must go.
  waiting_since_ = clock_.Monotonic();
  Schedule();
}

void ApplyLoop::Changed() {
  if (!cluster_->has_dirty()) return;
  stats_.last_queued = clock_.Now();
  if (!waiting_since_.has_value()) waiting_since_ = clock_.Monotonic();
  Schedule();
}

void ApplyLoop::EndpointsChanged(absl::Time when) {
  // Older ones are of a list, not news.
  if (when > began_) endpoint_changes_.push_back(when);
}

absl::Duration ApplyLoop::waiting() const {
  if (!waiting_since_.has_value()) return absl::ZeroDuration();
  return clock_.Monotonic() - *waiting_since_;
}

void ApplyLoop::Schedule() {
  if (!open_ || next_.pending()) return;
  absl::Duration delay =
      std::max(absl::ZeroDuration(), not_before_ - clock_.Monotonic());
  next_ = loop_->After(delay, [this] { Apply(); });
}

void ApplyLoop::Apply() {
  absl::Duration start = clock_.Monotonic();
  retry_.Cancel();
  std::vector<absl::Time> endpoint_changes =
      std::exchange(endpoint_changes_, {});
  reconcile::ApplyResult result = reconciler_->Apply(cluster_, start);
  absl::Duration end = clock_.Monotonic();
  absl::Time now = clock_.Now();
  not_before_ = end + std::clamp(end - start, options_.min_interval,
                                 options_.max_interval);
  ++stats_.applies;
  if (result.operations > 0) ++stats_.writes;
  stats_.failures += result.failures.size();
  stats_.failed = result.failures.size();
  stats_.duration.Observe(end - start);
  stats_.sync.Observe(end - start);
  (stats_.applies == 1 ? stats_.full_sync : stats_.partial_sync)
      .Observe(end - start);
  if (result.ok()) {
    failed_applies_ = 0;
    stats_.last_applied = now;
    if (waiting_since_.has_value()) {
      stats_.last_latency = end - *waiting_since_;
      stats_.latency.Observe(stats_.last_latency);
      waiting_since_.reset();
    }
    for (absl::Time when : endpoint_changes) {
      stats_.network_programming.Observe(now - when);
    }
  } else {
    absl::Duration delay = std::min(
        options_.min_backoff * (1 << std::min(failed_applies_++, 16)),
        options_.max_backoff);
    retry_ = loop_->After(delay, [this] { Schedule(); });
  }
  ScheduleAdvance();
  on_applied_(result);
}

void ApplyLoop::ScheduleAdvance() {
  std::optional<absl::Duration> due = reconciler_->NextDue();
  if (!due.has_value()) {
    advance_.Cancel();
    return;
  }
  absl::Duration delay =
      std::max(absl::ZeroDuration(), *due - clock_.Monotonic());
  advance_ = loop_->After(delay, [this] {
    reconcile::ApplyResult result = reconciler_->Advance(clock_.Monotonic());
    if (!result.ok()) stats_.failures += result.failures.size();
    // Not at once again, should it be due still.
    advance_ = loop_->After(options_.max_interval, [this] {
      ScheduleAdvance();
    });
  });
}

}  // namespace fairlead::agent
