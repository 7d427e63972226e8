// SPDX-License-Identifier: Apache-2.0
#include "userspace/base/netns.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "userspace/base/status.h"
#include "userspace/base/unique_fd.h"

namespace fairlead {
namespace {

namespace fs = std::filesystem;

constexpr char kDirectory[] = "/run/netns";

// Mounts below a shared mount are seen by every mount namespace made from
// this one, and their removal too; without it a namespace would live on in
// the containers that were started meanwhile.
absl::Status ShareDirectory() {
  if (mkdir(kDirectory, 0755) != 0 && errno != EEXIST)
    return ErrnoStatus(errno, "make directory", kDirectory);
  if (mount("", kDirectory, "none", MS_SHARED | MS_REC, nullptr) == 0)
    return absl::OkStatus();
  if (errno != EINVAL) return ErrnoStatus(errno, "share mount", kDirectory);
  // Not a mount point yet.
  if (mount(kDirectory, kDirectory, "none", MS_BIND | MS_REC, nullptr) != 0 ||
      mount("", kDirectory, "none", MS_SHARED | MS_REC, nullptr) != 0)
    return ErrnoStatus(errno, "share mount", kDirectory);
  return absl::OkStatus();
}

absl::Status SetLoopbackUp() {
  UniqueFd sock(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  if (!sock.valid() || ioctl(sock.get(), SIOCSIFFLAGS, &request) != 0)
    return ErrnoStatus(errno, "set up device", "lo");
  return absl::OkStatus();
}

bool IsOwnNetns(int fd) {
  struct stat own = {}, other = {};
  return stat("/proc/thread-self/ns/net", &own) == 0 &&
         fstat(fd, &other) == 0 && own.st_dev == other.st_dev &&
         own.st_ino == other.st_ino;
}

}  // namespace

absl::Status RunInNetns(const std::string& path,
                        const std::function<absl::Status()>& fn) {
  UniqueFd ns(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!ns.valid()) return ErrnoStatus(errno, "open network namespace", path);
  absl::Status status;
  std::thread([&] {
    if (!IsOwnNetns(ns.get()) && setns(ns.get(), CLONE_NEWNET) != 0) {
      status = ErrnoStatus(errno, "enter network namespace", path);
      return;
    }
    status = fn();
  }).join();
  return status;
}

std::optional<uint64_t> NetnsCookie() {
#ifndef SO_NETNS_COOKIE
  constexpr int SO_NETNS_COOKIE = 71;
#endif
  UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (!fd.valid() || getsockopt(fd.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie,
                                &size) != 0) {
    return std::nullopt;
  }
  return cookie;
}

std::vector<std::string> AllNetns() {
  std::vector<std::string> paths;
  std::set<std::pair<dev_t, ino_t>> seen;
  auto add = [&](const std::string& path) {
    struct stat at = {};
    struct statfs kind = {};
    // A name is a plain file before its namespace is mounted there.
    if (statfs(path.c_str(), &kind) == 0 && kind.f_type == NSFS_MAGIC &&
        stat(path.c_str(), &at) == 0 &&
        seen.emplace(at.st_dev, at.st_ino).second) {
      paths.push_back(path);
    }
  };
  add("/proc/self/ns/net");
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    std::string name = entry.path().filename();
    if (name[0] >= '1' && name[0] <= '9') add(entry.path() / "ns/net");
  }
  for (const auto& entry : fs::directory_iterator(kDirectory, error)) {
    add(entry.path());
  }
  return paths;
}

std::string NetnsPath(const std::string& name) {
  return std::string(kDirectory) + "/" + name;
}

absl::Status CreateNetns(const std::string& name) {
  FL_RETURN_IF_ERROR(ShareDirectory());
  std::string path = NetnsPath(name);
  UniqueFd file(
      open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
  if (!file.valid()) return ErrnoStatus(errno, "make network namespace", name);
  absl::Status status;
  std::thread([&] {
    if (unshare(CLONE_NEWNET) != 0 ||
        mount("/proc/thread-self/ns/net", path.c_str(), "none", MS_BIND,
              nullptr) != 0) {
      status = ErrnoStatus(errno, "make network namespace", name);
      return;
    }
    status = SetLoopbackUp();
  }).join();
  if (!status.ok()) DeleteNetns(name).IgnoreError();
  return status;
}

absl::Status DeleteNetns(const std::string& name) {
  std::string path = NetnsPath(name);
  if (umount2(path.c_str(), MNT_DETACH) != 0 && errno != EINVAL &&
      errno != ENOENT)
    return ErrnoStatus(errno, "unmount network namespace", name);
  if (unlink(path.c_str()) != 0 && errno != ENOENT)
    return ErrnoStatus(errno, "remove network namespace", name);
  return absl::OkStatus();
}

}  // namespace fairlead
