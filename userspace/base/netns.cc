// SPDX-License-Identifier: Apache-2.0
#include "userspace/base/netns.h"

#include <fcntl.h>
#include <sched.h>

#include <cerrno>
#include <thread>

#include "userspace/base/status.h"
#include "userspace/base/unique_fd.h"

namespace fairlead {

absl::Status RunInNetns(const std::string& path,
                        const std::function<absl::Status()>& fn) {
  UniqueFd ns(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!ns.valid()) return ErrnoStatus(errno, "open network namespace", path);
  absl::Status status;
  std::thread([&] {
    if (setns(ns.get(), CLONE_NEWNET) != 0) {
      status = ErrnoStatus(errno, "enter network namespace", path);
      return;
    }
    status = fn();
  }).join();
  return status;
}

}  // namespace fairlead
