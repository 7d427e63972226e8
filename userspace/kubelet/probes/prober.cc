// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/probes/prober.h"

#include <algorithm>

#include "userspace/base/clock.h"

namespace fairlead::kubelet {

Prober::Prober(EventLoop* loop, const Probe& probe, ActionTarget target,
               bool initial, absl::Duration delay, OnResult on_result)
    : loop_(loop),
      probe_(probe),
      target_(std::move(target)),
      state_(probe.success_threshold, probe.failure_threshold, initial),
      on_result_(std::move(on_result)) {
  timer_ = loop_->After(delay, [this] { Try(); });
}

void Prober::Try() {
  began_ = Clock::Real().Monotonic();
  call_ = RunAction(loop_, probe_.action, target_, probe_.timeout,
                    [this](const ActionResult& result) { Finish(result); });
}

void Prober::Finish(const ActionResult& result) {
  // The next try is a period after the last began, however long it took.
  const absl::Duration passed = Clock::Real().Monotonic() - began_;
  timer_ = loop_->After(
      std::max(probe_.period - passed, absl::Milliseconds(10)),
      [this] { Try(); });
  const bool changed = state_.OnResult(result.success);
  const Result report{result.success, changed, state_.run(), result.message};
  // A copy: the callback may destroy this prober, and `call_` with it.
  const OnResult fn = on_result_;
  fn(report);
}

}  // namespace fairlead::kubelet
