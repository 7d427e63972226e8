// SPDX-License-Identifier: Apache-2.0
// What a pod needs next, as a function of its spec and of what is running.
// Pure: no clock, no IO.
#ifndef FAIRLEAD_USERSPACE_KUBELET_POD_PLAN_H_
#define FAIRLEAD_USERSPACE_KUBELET_POD_PLAN_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "userspace/base/ip_address.h"
#include "userspace/kubelet/pod_spec.h"
#include "userspace/kubelet/runtime/container_process.h"

namespace fairlead::kubelet {

struct ContainerView {
  std::optional<ContainerRun> run;   // the latest
  std::optional<ContainerRun> last;  // the one before
  // When `run` has ended and is to be repeated: not before this time.
  absl::Time restart_at = absl::InfinitePast();
  absl::Duration backoff;
  // Why it can't be started now ("ErrImagePull"); empty: nothing is wrong.
  std::string waiting_reason, waiting_message;
  bool ready = false;    // by its probe, or for having none
  bool started = false;  // likewise

  bool Running() const {
    return run && run->state != ContainerRun::State::kExited;
  }
  bool Exited() const {
    return run && run->state == ContainerRun::State::kExited;
  }
};

struct PodView {
  bool sandbox_ready = false;
  std::vector<IpAddress> ips;
  std::vector<IpAddress> host_ips;
  absl::Time start_time;
  // Set when the node refused the pod ("OutOfpods"): it never runs.
  std::string rejected_reason, rejected_message;
  bool stopping = false;  // it is to go: nothing is started any more
  std::map<std::string, ContainerView> containers;  // by name

  const ContainerView& Of(const std::string& container) const;
  bool AnyRunning() const;
};

struct PodPlan {
  bool create_sandbox = false;
  std::vector<std::string> start;
  // Nothing runs and nothing will: the pod has succeeded or failed.
  bool finished = false;
  // When to ask again without an event; infinite: never.
  absl::Time wake = absl::InfiniteFuture();
};

[[nodiscard]] PodPlan PlanPod(const PodSpec& spec, const PodView& view,
                              absl::Time now);

// Whether a container that ended so is started again.
bool IsRestarted(RestartPolicy policy, const ContainerRun& run);
// Whether all init containers have succeeded.
bool IsInitialized(const PodSpec& spec, const PodView& view);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_POD_PLAN_H_
