// SPDX-License-Identifier: Apache-2.0
// Who is at work on a node's data path: agents share it, a hand-over has it
// alone. Held by a descriptor of the root directory: the kernel lets go of it
// when the process ends, however it does.
//
// Threads: any.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_ROOT_LOCK_H_
#define FAIRLEAD_USERSPACE_DATAPATH_ROOT_LOCK_H_

#include <string>

#include "absl/status/statusor.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::datapath {

class RootLock {
 public:
  enum class Kind { kShared, kAlone };
  // Doesn't wait. kUnavailable: somebody else has it; kNotFound: there is no
  // such directory.
  [[nodiscard]] static absl::StatusOr<RootLock> Take(
      const std::string& pin_root, Kind kind);

 private:
  explicit RootLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_ROOT_LOCK_H_
