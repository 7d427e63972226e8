// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/box_cgroup.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "userspace/base/mounts.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::cli {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<std::string> BoxCgroup(const Box& box) {
  FL_ASSIGN_OR_RETURN(std::string mount, FindMount("cgroup2"));
  return StrCat(mount, "/", box.CgroupName());
}

// Children first: a cgroup with children can't be removed. Its control files
// can't be either, so only directories are touched.
void RemoveTree(const fs::path& path) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path, error))
    if (entry.is_directory()) RemoveTree(entry.path());
  rmdir(path.c_str());
}

}  // namespace

absl::StatusOr<std::string> NodeCgroup(const Box& box, int node) {
  FL_ASSIGN_OR_RETURN(std::string root, BoxCgroup(box));
  return StrCat(root, "/", Box::NodeName(node));
}

absl::Status MakeCgroup(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  return ErrnoStatus(error.value(), "make cgroup", path);
}

absl::Status JoinCgroup(const std::string& path) {
  std::ofstream file(path + "/cgroup.procs");
  file << getpid();
  file.close();
  return file ? absl::OkStatus() : ErrnoStatus(errno, "join cgroup", path);
}

absl::Status RemoveCgroups(const Box& box) {
  FL_ASSIGN_OR_RETURN(std::string root, BoxCgroup(box));
  if (!fs::exists(root)) return absl::OkStatus();
  std::ofstream(root + "/cgroup.kill") << "1";
  // The kernel ends them in its own time.
  absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (fs::exists(root) && absl::Now() < deadline) {
    RemoveTree(root);
    if (fs::exists(root)) absl::SleepFor(absl::Milliseconds(10));
  }
  if (fs::exists(root))
    return absl::DeadlineExceededError(StrCat(root, " can't be removed"));
  // Of containers with limits, where cgroup v2 lacks the controllers.
  for (const auto& [controller, mount] : CgroupV1Mounts())
    RemoveTree(StrCat(mount, "/", box.CgroupName()));
  return absl::OkStatus();
}

}  // namespace fairlead::cli
