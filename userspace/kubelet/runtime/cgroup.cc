// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/cgroup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::kubelet {

namespace fs = std::filesystem;

absl::Status MakeCgroup(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  return error ? ErrnoStatus(error.value(), "make cgroup", path)
               : absl::OkStatus();
}

absl::Status KillCgroup(const std::string& path) {
  const UniqueFd fd(
      open((path + "/cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) {
    return errno == ENOENT ? absl::OkStatus()
                           : ErrnoStatus(errno, "open cgroup.kill", path);
  }
  return write(fd.get(), "1", 1) == 1 ? absl::OkStatus()
                                      : ErrnoStatus(errno, "kill cgroup", path);
}

std::vector<std::string> ListCgroups(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (entry.is_directory(error))
      names.push_back(entry.path().filename().string());
  }
  return names;
}

absl::Status RemoveCgroup(const std::string& path) {
  for (const std::string& child : ListCgroups(path))
    FL_RETURN_IF_ERROR(RemoveCgroup(StrCat(path, "/", child)));
  if (rmdir(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno == EBUSY)
    return absl::UnavailableError(StrCat("cgroup ", path, " is in use"));
  return ErrnoStatus(errno, "remove cgroup", path);
}

int OomKills(const std::string& path) {
  for (const char* file : {"/memory.events", "/memory.oom_control"}) {
    std::ifstream events(path + file);
    std::string name;
    int count = 0;
    while (events >> name >> count) {
      if (name == "oom_kill") return count;
    }
  }
  return 0;
}

absl::Status CheckCgroupRoot(const std::string& path) {
  struct statfs fs{};
  if (statfs(path.c_str(), &fs) != 0)
    return ErrnoStatus(errno, "look at cgroup root", path);
  if (fs.f_type != CGROUP2_SUPER_MAGIC) {
    return absl::FailedPreconditionError(
        StrCat(path, " is not in a cgroup v2 file system; `findmnt -t cgroup2` "
               "shows where one is mounted"));
  }
  return absl::OkStatus();
}

}  // namespace fairlead::kubelet
