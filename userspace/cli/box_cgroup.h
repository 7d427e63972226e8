// SPDX-License-Identifier: Apache-2.0
// The cgroup subtree of a cluster in a box: <cgroup2>/fairlead-NAME/node-N.
// Threads: any.
#ifndef FAIRLEAD_USERSPACE_CLI_BOX_CGROUP_H_
#define FAIRLEAD_USERSPACE_CLI_BOX_CGROUP_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/cli/box.h"

namespace fairlead::cli {

// The node's cgroup: its pods live below it, its agent attaches to it.
[[nodiscard]] absl::StatusOr<std::string> NodeCgroup(const Box& box, int node);

// Makes `path` and its parents.
[[nodiscard]] absl::Status MakeCgroup(const std::string& path);
// Moves the calling process.
[[nodiscard]] absl::Status JoinCgroup(const std::string& path);

// Kills all that runs below the box's cgroup and removes the subtree.
[[nodiscard]] absl::Status RemoveCgroups(const Box& box);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_BOX_CGROUP_H_
