// SPDX-License-Identifier: Apache-2.0
// Where file systems are mounted in this process' mount namespace.
#ifndef FAIRLEAD_USERSPACE_BASE_MOUNTS_H_
#define FAIRLEAD_USERSPACE_BASE_MOUNTS_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fairlead {

// The first mount point of a file system type, such as "cgroup2" or "bpf", by
// /proc/self/mountinfo. NotFound when there is none. (With the hybrid layout
// cgroup v2 is not at /sys/fs/cgroup itself.)
[[nodiscard]] absl::StatusOr<std::string> FindMount(std::string_view type);

// Every mount point below `dir` (itself not), the newest first: the order in
// which they can be unmounted.
std::vector<std::string> MountsBelow(std::string_view dir);

// Mount points of cgroup v1 by controller ("memory"): those that cgroup v2
// can't offer while they are here.
std::map<std::string, std::string> CgroupV1Mounts();

}  // namespace fairlead

#endif  // FAIRLEAD_USERSPACE_BASE_MOUNTS_H_
