// SPDX-License-Identifier: Apache-2.0
// The daemons of a box: how each is started, where its pid is kept.
// Threads: one.
#ifndef FAIRLEAD_USERSPACE_CLI_COMPONENT_H_
#define FAIRLEAD_USERSPACE_CLI_COMPONENT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/cli/box.h"
#include "userspace/cli/process.h"

namespace fairlead::cli {

struct Component {
  std::string name;  // "controller", "agent-node-1", "kubelet-node-1"
  int node = 0;      // 0: the controller
  SpawnOptions spawn;
};

struct ComponentFlags {
  std::string bin_dir;  // where the programs are
  std::string log_level = "info";
  std::vector<std::string> controller;  // further flags
  std::vector<std::string> kubelet;
};

// All of a box, in the order in which they are started.
[[nodiscard]] absl::StatusOr<std::vector<Component>> Components(
    const Box& box, const ComponentFlags& flags);

// The folder of the running program: all programs are installed together.
std::string ProgramFolder();

// The process that the pid file names, if it still runs.
std::optional<ProcessIdentity> FindRunning(const Box& box,
                                           const std::string& component);
// Starts it and writes its pid file; nothing if it runs. Says whether it did.
[[nodiscard]] absl::StatusOr<bool> EnsureRunning(const Box& box,
                                                 const Component& component);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_COMPONENT_H_
