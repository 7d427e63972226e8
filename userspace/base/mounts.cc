// SPDX-License-Identifier: Apache-2.0
#include "userspace/base/mounts.h"

#include <fstream>
#include <vector>

#include "absl/strings/str_split.h"
#include "userspace/base/strings.h"

namespace fairlead {
namespace {

struct Mount {
  std::string point;
  std::string type;
  std::string options;  // the file system's own
};

// In the order in which they were mounted.
std::vector<Mount> ReadMounts() {
  std::vector<Mount> out;
  std::ifstream mounts("/proc/self/mountinfo");
  // id parent major:minor root MOUNT-POINT options [fields...] - TYPE source options
  for (std::string line; std::getline(mounts, line);) {
    std::vector<std::string> halves = absl::StrSplit(line, " - ");
    if (halves.size() < 2) continue;
    std::vector<std::string> left = absl::StrSplit(halves[0], ' ');
    std::vector<std::string> right = absl::StrSplit(halves[1], ' ');
    if (left.size() > 4) {
      out.push_back({left[4], right[0], right.size() > 2 ? right[2] : ""});
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<std::string> FindMount(std::string_view type) {
  for (const Mount& mount : ReadMounts())
    if (mount.type == type) return mount.point;
  return absl::NotFoundError(
      StrCat("no file system of type ", type, " is mounted"));
}

std::vector<std::string> MountsBelow(std::string_view dir) {
  std::vector<std::string> out;
  std::string prefix = StrCat(dir, "/");
  std::vector<Mount> mounts = ReadMounts();
  for (auto mount = mounts.rbegin(); mount != mounts.rend(); ++mount)
    if (mount->point.starts_with(prefix)) out.push_back(mount->point);
  return out;
}

std::map<std::string, std::string> CgroupV1Mounts() {
  std::map<std::string, std::string> out;
  for (const Mount& mount : ReadMounts()) {
    if (mount.type != "cgroup") continue;
    // The controllers are among them: "rw,cpu,cpuacct".
    for (const auto& word : absl::StrSplit(mount.options, ','))
      out.emplace(std::string(word), mount.point);
  }
  return out;
}

}  // namespace fairlead
