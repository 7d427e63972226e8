// SPDX-License-Identifier: Apache-2.0
// Starts a child process with some of our descriptors as its own.
//
// Threads: any. The child is the caller's to reap.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_SPAWN_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_SPAWN_H_

#include <sys/types.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace fairlead::kubelet {

struct Redirect {
  int fd = -1;      // ours
  int target = -1;  // its number in the child
};

// words[0] is the program's path. Standard input is /dev/null unless it is
// redirected; everything else that isn't close-on-exec is inherited. SIGPIPE
// ends the child as it would from a shell, whatever this process does of it.
[[nodiscard]] absl::StatusOr<pid_t> Spawn(
    const std::vector<std::string>& words,
    std::initializer_list<Redirect> redirects);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_SPAWN_H_
