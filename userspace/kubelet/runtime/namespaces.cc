// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/namespaces.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <thread>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::kubelet {
namespace {

struct Kind {
  const char* name;
  int flag;
  std::string NamespacePaths::* path;
};
constexpr std::array<Kind, 3> kKinds = {{
    {"net", CLONE_NEWNET, &NamespacePaths::net},
    {"ipc", CLONE_NEWIPC, &NamespacePaths::ipc},
    {"uts", CLONE_NEWUTS, &NamespacePaths::uts},
}};

bool IsNamespaceMount(const std::string& path) {
  struct statfs fs{};
  return statfs(path.c_str(), &fs) == 0 && fs.f_type == NSFS_MAGIC;
}

absl::Status Remove(const std::string& path) {
  while (IsNamespaceMount(path)) {
    if (umount2(path.c_str(), MNT_DETACH) != 0)
      return ErrnoStatus(errno, "unmount", path);
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT)
    return ErrnoStatus(errno, "remove", path);
  return absl::OkStatus();
}

absl::Status BindAt(const std::string& source, const std::string& path) {
  FL_RETURN_IF_ERROR(Remove(path));
  std::error_code error;
  std::filesystem::create_directories(
      std::filesystem::path(path).parent_path(), error);
  const UniqueFd file(
      open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0444));
  if (!file.valid()) return ErrnoStatus(errno, "create", path);
  if (mount(source.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0)
    return ErrnoStatus(errno, "mount namespace at", path);
  return absl::OkStatus();
}

absl::Status BindAll(const NamespacePaths& paths, const std::string& source) {
  for (const Kind& kind : kKinds) {
    const std::string& path = paths.*kind.path;
    if (!path.empty()) FL_RETURN_IF_ERROR(BindAt(source + kind.name, path));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CreateNamespaces(const NamespacePaths& paths,
                              const std::string& hostname) {
  int flags = 0;
  for (const Kind& kind : kKinds) {
    if (!(paths.*kind.path).empty()) flags |= kind.flag;
  }
  absl::Status status;
  // A thread of its own leaves the caller's namespaces as they are.
  std::thread([&] {
    if (unshare(flags) != 0) {
      status = ErrnoStatus(errno, "create namespaces for", hostname);
      return;
    }
    if (!paths.uts.empty() &&
        sethostname(hostname.data(), hostname.size()) != 0) {
      status = ErrnoStatus(errno, "set host name", hostname);
      return;
    }
    status = BindAll(paths, "/proc/thread-self/ns/");
  }).join();
  return status;
}

bool NamespacesExist(const NamespacePaths& paths) {
  for (const Kind& kind : kKinds) {
    const std::string& path = paths.*kind.path;
    if (!path.empty() && !IsNamespaceMount(path)) return false;
  }
  return true;
}

absl::Status AdoptNamespaces(const NamespacePaths& paths, int pid) {
  return BindAll(paths, StrCat("/proc/", pid, "/ns/"));
}

absl::Status RemoveNamespaces(const NamespacePaths& paths) {
  absl::Status status;
  for (const Kind& kind : kKinds) {
    const std::string& path = paths.*kind.path;
    if (!path.empty()) status.Update(Remove(path));
  }
  return status;
}

}  // namespace fairlead::kubelet
