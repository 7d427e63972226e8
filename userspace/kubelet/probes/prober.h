// SPDX-License-Identifier: Apache-2.0
// Probes one running container for one purpose, over and over, until it is
// destroyed.
//
// Threads: the event loop's only; `on_result` may destroy the prober.
#ifndef FAIRLEAD_USERSPACE_KUBELET_PROBES_PROBER_H_
#define FAIRLEAD_USERSPACE_KUBELET_PROBES_PROBER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "userspace/base/event_loop.h"
#include "userspace/kubelet/pod_spec.h"
#include "userspace/kubelet/probes/action.h"
#include "userspace/kubelet/probes/probe_state.h"

namespace fairlead::kubelet {

class Prober {
 public:
  struct Result {
    bool success = false;  // of this one try
    bool changed = false;  // the verdict did
    int run = 0;           // equal results in a row
    std::string message;
  };
  using OnResult = std::function<void(const Result&)>;

  // `initial` is the verdict before the first result. The first try is after
  // `delay`.
  Prober(EventLoop* loop, const Probe& probe, ActionTarget target,
         bool initial, absl::Duration delay, OnResult on_result);

  bool verdict() const { return state_.verdict(); }

 private:
  void Try();
  void Finish(const ActionResult& result);

  EventLoop* loop_;
  Probe probe_;
  ActionTarget target_;
  ProbeState state_;
  OnResult on_result_;
  absl::Duration began_;  // monotonic
  Timer timer_;
  std::unique_ptr<ActionCall> call_;
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_PROBES_PROBER_H_
