// SPDX-License-Identifier: Apache-2.0
#include "userspace/base/write_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "userspace/base/status.h"
#include "userspace/base/unique_fd.h"

namespace fairlead {

absl::Status WriteFile(const std::string& path, std::string_view text,
                       mode_t mode) {
  const std::string temporary = path + ".new";
  unlink(temporary.c_str());
  UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                   mode));
  if (!fd.valid()) return ErrnoStatus(errno, "create", temporary);
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n =
        write(fd.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return ErrnoStatus(errno, "write", temporary);
    done += static_cast<size_t>(n);
  }
  if (fsync(fd.get()) != 0) return ErrnoStatus(errno, "write", temporary);
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    return ErrnoStatus(errno, "rename", path);
  }
  return absl::OkStatus();
}

}  // namespace fairlead
