// SPDX-License-Identifier: Apache-2.0
// Cgroup directories. Safe from any thread.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_CGROUP_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_CGROUP_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fairlead::kubelet {

// With its parents. OK if it is there.
[[nodiscard]] absl::Status MakeCgroup(const std::string& path);
// SIGKILL to every process in it and below; cgroup v2. OK if it isn't there.
[[nodiscard]] absl::Status KillCgroup(const std::string& path);
// With all below. OK if it isn't there; Unavailable while processes are in it.
[[nodiscard]] absl::Status RemoveCgroup(const std::string& path);
// Names of the cgroups directly below.
std::vector<std::string> ListCgroups(const std::string& path);
// How many of its processes the kernel killed for want of memory, of v2 or v1;
// 0 without a memory controller.
int OomKills(const std::string& path);
// Error unless `path` is in a cgroup v2 file system.
[[nodiscard]] absl::Status CheckCgroupRoot(const std::string& path);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_CGROUP_H_
