// SPDX-License-Identifier: Apache-2.0
// The cgroups of a node's pods, and what holds their resources in bounds.
//
//   ROOT/pods/UID/CONTAINER  below --cgroup-root, in cgroup v2
//   V1/ROOT/pods/UID/...     the same in a v1 hierarchy, for a controller that
//                            v2 doesn't offer: only containers with a limit
//                            on its resource are in there
//
// Amounts become settings by Kubernetes' rules (pkg/kubelet/cm): cpu requests
// are weights (in v2), cpu limits quotas of 100 ms.
//
// Threads: any, one call at a time for a pod. Values but for the folders.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_POD_CGROUPS_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_POD_CGROUPS_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace fairlead::kubelet {

// 0: none.
struct ContainerLimits {
  int64_t cpu_request_milli = 0, cpu_limit_milli = 0;
  int64_t memory_limit = 0;  // bytes
};
struct PodLimits {
  int64_t cpu_request_milli = 0;  // of all that run together
  int64_t pids = 0;
};

// What has to be done before a container's first process is started.
struct CgroupPlan {
  std::string cgroup;               // in v2, where all of the container is
  std::vector<std::string> joined;  // by each process, `cgroup` first
  std::vector<std::string> fresh;   // of these, what has to be made anew
  std::vector<std::pair<std::string, std::string>> settings;  // file, value
  std::string memory;  // where the out-of-memory killer counts
};

class PodCgroups {
 public:
  // `root` is in cgroup v2, mounted at `mount`; `v1` are CgroupV1Mounts().
  PodCgroups(std::string root, std::string mount,
             std::map<std::string, std::string> v1);

  // Makes the pods' folder and has v2 offer its controllers below it. Before
  // the first Plan.
  [[nodiscard]] absl::Status Prepare();
  // Of cpu, memory and pids those that nothing on this machine enforces.
  std::vector<std::string> Missing() const;

  std::string Pod(const std::string& uid) const;
  [[nodiscard]] CgroupPlan Plan(const std::string& uid, const PodLimits& pod,
                                const std::string& container,
                                const ContainerLimits& limits) const;
  // Where the memory of a pod's containers is counted, of those that are.
  std::string MemoryOf(const std::string& uid) const;
  // Uids that there are cgroups of.
  std::set<std::string> List() const;
  // SIGKILL to all that is left, and the folders away. Unavailable while
  // processes are on their way out.
  [[nodiscard]] absl::Status Remove(const std::string& uid) const;

 private:
  // ROOT/pods where `controller` is: in v2 or in its v1 hierarchy.
  std::string PodsIn(const std::string& controller) const;
  bool InV2(const std::string& controller) const {
    return v2_.contains(controller);
  }
  bool InV1(const std::string& controller) const {
    return !InV2(controller) && v1_.contains(controller);
  }
  void PlanCpu(const std::string& uid, const PodLimits& pod,
               const std::string& container, const ContainerLimits& limits,
               CgroupPlan* plan) const;

  std::string root_, below_mount_;  // root_ without the mount point
  std::map<std::string, std::string> v1_;  // those of kControllers
  std::set<std::string> v2_;  // offered below the pods' folder
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_POD_CGROUPS_H_
