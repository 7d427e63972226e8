// SPDX-License-Identifier: Apache-2.0
// Does what a probe or a lifecycle hook says, once, and tells how it went.
//
// Threads: the event loop's only. `done` runs once, from the loop, unless the
// call is destroyed first.
#ifndef FAIRLEAD_USERSPACE_KUBELET_PROBES_ACTION_H_
#define FAIRLEAD_USERSPACE_KUBELET_PROBES_ACTION_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "userspace/base/event_loop.h"
#include "userspace/base/ip_address.h"
#include "userspace/kubelet/pod_spec.h"

namespace fairlead::kubelet {

struct ActionResult {
  bool success = false;
  std::string message;  // as in "Readiness probe failed: MESSAGE"
};

struct ActionTarget {
  std::string host;  // the pod's address
  // Put before the command of an exec action: it enters the container.
  std::vector<std::string> enter;
};

class ActionCall {
 public:
  virtual ~ActionCall() = default;
};

using ActionDone = std::function<void(ActionResult)>;

// HTTP: 200 to 399 is success; redirects aren't followed.
[[nodiscard]] std::unique_ptr<ActionCall> RunAction(EventLoop* loop,
                                                    const Action& action,
                                                    const ActionTarget& target,
                                                    absl::Duration timeout,
                                                    ActionDone done);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_PROBES_ACTION_H_
