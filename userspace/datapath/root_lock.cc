// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/root_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <utility>

#include "userspace/base/status.h"

namespace fairlead::datapath {

absl::StatusOr<RootLock> RootLock::Take(const std::string& pin_root,
                                        Kind kind) {
  UniqueFd fd(open(pin_root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "open", pin_root);
  const int how = kind == Kind::kShared ? LOCK_SH : LOCK_EX;
  if (flock(fd.get(), how | LOCK_NB) != 0) {
    return ErrnoStatus(errno, "lock", pin_root);
  }
  return RootLock(std::move(fd));
}

}  // namespace fairlead::datapath
