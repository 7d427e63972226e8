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
  // Set when the node ended the pod before its time ("DeadlineExceeded").
  std::string ended_reason, ended_message;
  bool stopping = false;  // it is to go: nothing is started any more
  std::map<std::string, ContainerView> containers;  // by name

  const ContainerView& Of(const std::string& container) const;
  bool AnyRunning() const;
};

struct PodPlan {
  bool create_sandbox = false;
  std::vector<std::string> start;
  // Sidecars whose work is over.
  std::vector<std::string> stop;
  // Nothing runs and nothing will: the pod has succeeded or failed.
  bool finished = false;
  // When to ask again without an event; infinite: never.
  absl::Time wake = absl::InfiniteFuture();
};

[[nodiscard]] PodPlan PlanPod(const PodSpec& spec, const PodView& view,
                              absl::Time now);

// Whether a container that ended so is started again.
bool IsRestarted(RestartPolicy policy, const ContainerSpec& container,
                 const ContainerRun& run);
// What is to be stopped now, of a pod that is to go: sidecars outlive the
// containers that they were started before.
std::vector<std::string> NextToStop(const PodSpec& spec, const PodView& view);
// Whether an init container is through, or a sidecar has started.
bool IsInitDone(const ContainerSpec& container, const ContainerView& view);
// Whether all of them are, or were once.
bool IsInitialized(const PodSpec& spec, const PodView& view);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_POD_PLAN_H_
