// SPDX-License-Identifier: Apache-2.0
// `fairleadctl cluster up|down|status|exec`: a whole cluster on one machine,
// every node a network namespace (box.h). Threads: one.
#ifndef FAIRLEAD_USERSPACE_CLI_CLUSTER_H_
#define FAIRLEAD_USERSPACE_CLI_CLUSTER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "userspace/cli/box.h"
#include "userspace/cli/output.h"

namespace fairlead::cli {

struct ClusterUpOptions {
  Box box;
  absl::Duration wait = absl::Seconds(60);
  std::string log_level = "info";
  std::vector<std::string> controller_flags;  // passed on as they are
  std::vector<std::string> kubelet_flags;
};

// Starts what is not running; a second call on a whole cluster changes
// nothing. OK when the API answers, every node is Ready and every agent has
// applied its first state. Leaves everything in place on failure, for logs.
[[nodiscard]] absl::Status ClusterUp(ClusterUpOptions options,
                                     const Progress& progress);

// Ends every process, removes namespaces, cgroups, pins and the box's folder.
// OK when there is nothing.
[[nodiscard]] absl::Status ClusterDown(const Box& box,
                                       const Progress& progress);

// One row a component; an error when one is not running or not ready.
[[nodiscard]] absl::Status ClusterStatus(const Box& box, bool as_json);

struct ExecOptions {
  Box box;
  std::string where;  // "node-1", "outside", "pod/NAME", "pod/NS/NAME"
  bool packet_path = false;  // stay out of the node's cgroup
  std::vector<std::string> command;
};
// Replaces this process by the command, in that place's network namespace
// and, so that the socket path serves it, in the node's cgroup. Returns only
// on failure.
[[nodiscard]] absl::Status ClusterExec(const ExecOptions& options);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_CLUSTER_H_
