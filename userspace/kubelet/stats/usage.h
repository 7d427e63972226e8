// SPDX-License-Identifier: Apache-2.0
// How much processor time and memory a cgroup's processes, or the machine,
// use. Reads files only; safe from any thread.
#ifndef FAIRLEAD_USERSPACE_KUBELET_STATS_USAGE_H_
#define FAIRLEAD_USERSPACE_KUBELET_STATS_USAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace fairlead::kubelet {

struct Usage {
  absl::Duration cpu;        // since its beginning
  int64_t working_set = 0;   // bytes that can't be taken back at once
  int64_t available = 0;     // bytes; the machine's only
};

// Of a cgroup v2 directory; `v1_memory` may be the same container's in cgroup
// v1's memory hierarchy. Without a memory controller the working set is the
// processes' proportional share (Pss), which costs a look at each of them.
[[nodiscard]] absl::StatusOr<Usage> ReadCgroupUsage(
    const std::string& path, const std::string& v1_memory = "");
[[nodiscard]] absl::StatusOr<Usage> ReadMachineUsage();

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_STATS_USAGE_H_
