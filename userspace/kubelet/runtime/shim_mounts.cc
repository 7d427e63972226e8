// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/shim_mounts.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace fairlead::shim {
namespace {

// What is to be shown somewhere: a copy of a mount that has no place yet.
struct Tree {
  const MountRecord* record = nullptr;
  int fd = -1;
  bool directory = false;
  bool writable = false;  // before anything was made read-only
};

// Not what belongs to other pods: copies of their networks' and volumes' mounts
// would keep those alive until this container ends.
void DetachForeignMounts(const Spec& spec) {
  const std::string mounts = ReadFile("/proc/self/mountinfo");
  std::vector<std::string> targets;
  for (size_t at = 0; at < mounts.size();) {
    const size_t end = mounts.find('\n', at);
    const std::string line = mounts.substr(at, end - at);
    at = end == std::string::npos ? mounts.size() : end + 1;
    size_t field = 0;
    for (int i = 0; i < 4; ++i) field = line.find(' ', field) + 1;
    std::string target = line.substr(field, line.find(' ', field) - field);
    const bool hidden = !spec.hide_below.empty() &&
                        target.starts_with(spec.hide_below + "/");
    if (hidden || line.find(" - nsfs ") != std::string::npos)
      targets.push_back(std::move(target));
  }
  for (const std::string& target : targets)
    umount2(target.c_str(), MNT_DETACH);
}

// Opens the folder or file `below` the open folder `root`, by no way out of it.
int OpenBelow(int root, const std::string& below) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(
      syscall(SYS_openat2, root, below.c_str(), &how, sizeof(how)));
}

// Folders that aren't there are made.
int OpenSubPath(int root, const std::string& below) {
  int fd = OpenBelow(root, below);
  if (fd >= 0 || errno != ENOENT) return fd;
  size_t end = 0;
  while (end != std::string::npos) {
    end = below.find('/', end + 1);
    const std::string part = below.substr(0, end);
    fd = OpenBelow(root, part);
    if (fd < 0 && errno == ENOENT) {
      const size_t slash = part.rfind('/');
      const int parent = slash == std::string::npos
                             ? dup(root)
                             : OpenBelow(root, part.substr(0, slash));
      const std::string name =
          slash == std::string::npos ? part : part.substr(slash + 1);
      if (parent < 0 || mkdirat(parent, name.c_str(), 0777) != 0) return -1;
      // The mask of this process doesn't count: the pod's user must enter.
      fchmodat(parent, name.c_str(), 0777, 0);
      close(parent);
      fd = OpenBelow(root, part);
    }
    if (fd < 0) return -1;
    if (end != std::string::npos) close(fd);
  }
  return fd;
}

Tree OpenTree(int report, const MountRecord& record) {
  int fd = open(record.source.c_str(), O_PATH | O_CLOEXEC);
  if (fd < 0) Fail(report, "open " + record.source, errno);
  if (!record.below.empty()) {
    const int below = OpenSubPath(fd, record.below);
    if (below < 0)
      Fail(report, "subPath " + record.below + " of " + record.source, errno);
    close(fd);
    fd = below;
  }
  struct stat status {};
  struct statvfs system {};
  if (fstat(fd, &status) != 0 || fstatvfs(fd, &system) != 0)
    Fail(report, "look at " + record.source, errno);
  Tree tree{.record = &record,
            .fd = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE |
                                        OPEN_TREE_CLOEXEC | AT_RECURSIVE),
            .directory = S_ISDIR(status.st_mode),
            .writable = (system.f_flag & ST_RDONLY) == 0};
  if (tree.fd < 0) Fail(report, "copy mount " + record.source, errno);
  close(fd);
  return tree;
}

// Something to mount on. What the node doesn't have is made there, empty.
void EnsureTarget(int report, const Tree& tree) {
  const std::string& target = tree.record->target;
  struct stat status {};
  if (stat(target.c_str(), &status) == 0) return;
  for (size_t end = target.find('/', 1); end != std::string::npos;
       end = target.find('/', end + 1)) {
    if (mkdir(target.substr(0, end).c_str(), 0755) != 0 && errno != EEXIST)
      Fail(report, "make mount point " + target, errno);
  }
  const int made = tree.directory
                       ? mkdir(target.c_str(), 0755)
                       : mknod(target.c_str(), S_IFREG | 0644, 0);
  if (made != 0 && errno != EEXIST)
    Fail(report, "make mount point " + target, errno);
}

bool SetReadOnly(const std::string& path, bool read_only, unsigned flags) {
  mount_attr attr{};
  (read_only ? attr.attr_set : attr.attr_clr) = MOUNT_ATTR_RDONLY;
  return mount_setattr(AT_FDCWD, path.c_str(), flags, &attr, sizeof(attr)) ==
         0;
}

// With the mounts at their places, and whatever else the node has mounted.
// Devices can be written to all the same; shared memory is the container's to
// write, as in container runtimes.
void MakeRootReadOnly(int report, const std::vector<Tree>& trees) {
  if (!SetReadOnly("/", true, AT_RECURSIVE))
    Fail(report, "make the root file system read-only", errno);
  for (const char* path : {"/dev/shm", "/dev/mqueue"})
    SetReadOnly(path, false, 0);  // where they are mounted
  for (const Tree& tree : trees) {
    if (tree.writable && !tree.record->read_only &&
        !SetReadOnly(tree.record->target, false, 0)) {
      Fail(report, "make writable " + tree.record->target, errno);
    }
  }
}

}  // namespace

void SetUpMounts(int report, const Spec& spec) {
  if (unshare(CLONE_NEWNS) != 0) Fail(report, "unshare mounts", errno);
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    Fail(report, "make mounts private", errno);
  // All are taken before the first can cover another one's source.
  std::vector<Tree> trees;
  for (const MountRecord& record : spec.mounts)
    trees.push_back(OpenTree(report, record));
  DetachForeignMounts(spec);
  // Outer ones first.
  std::stable_sort(trees.begin(), trees.end(), [](const Tree& a,
                                                  const Tree& b) {
    return a.record->target.size() < b.record->target.size();
  });
  for (const Tree& tree : trees) {
    const std::string& target = tree.record->target;
    EnsureTarget(report, tree);
    if (move_mount(tree.fd, "", AT_FDCWD, target.c_str(),
                   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) != 0) {
      Fail(report, "mount " + target, errno);
    }
    close(tree.fd);
  }
  for (const Tree& tree : trees) {
    if (tree.record->read_only && !SetReadOnly(tree.record->target, true, 0))
      Fail(report, "make read-only " + tree.record->target, errno);
  }
  if (spec.read_only_root) MakeRootReadOnly(report, trees);
  if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
            nullptr) != 0) {
    Fail(report, "mount /proc", errno);
  }
}

}  // namespace fairlead::shim
