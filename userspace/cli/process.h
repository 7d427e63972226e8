// SPDX-License-Identifier: Apache-2.0
// Daemons that fairleadctl starts and finds again.
// Threads: any; REQUIRES for Spawn: no other thread changes namespaces.
#ifndef FAIRLEAD_USERSPACE_CLI_PROCESS_H_
#define FAIRLEAD_USERSPACE_CLI_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace fairlead::cli {

// A process that can't be mistaken for a later one with the same pid.
struct ProcessIdentity {
  pid_t pid = 0;
  uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat

  bool IsAlive() const;
};

// Nullopt when there is no such process (or it is a zombie).
std::optional<uint64_t> StartTicks(pid_t pid);

struct SpawnOptions {
  std::vector<std::string> argv;  // argv[0] is the program's path
  std::string netns;     // path to enter; empty: the caller's
  std::string log_file;  // standard output and error are appended to it
};

// Starts a daemon in a session of its own. It outlives the caller.
[[nodiscard]] absl::StatusOr<ProcessIdentity> Spawn(
    const SpawnOptions& options);

// SIGTERM, then SIGKILL after `grace`; waits until it is gone.
[[nodiscard]] absl::Status Terminate(const ProcessIdentity& process,
                                     absl::Duration grace);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_PROCESS_H_
