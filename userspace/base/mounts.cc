// SPDX-License-Identifier: Apache-2.0
#include "userspace/base/mounts.h"

#include <fstream>
#include <vector>

#include "absl/strings/str_split.h"
#include "userspace/base/strings.h"

namespace fairlead {

absl::StatusOr<std::string> FindMount(std::string_view type) {
  std::ifstream mounts("/proc/self/mountinfo");
  // id parent major:minor root MOUNT-POINT options [fields...] - TYPE source
  for (std::string line; std::getline(mounts, line);) {
    std::vector<std::string> halves = absl::StrSplit(line, " - ");
    if (halves.size() < 2) continue;
    std::vector<std::string> left = absl::StrSplit(halves[0], ' ');
    std::vector<std::string> right = absl::StrSplit(halves[1], ' ');
    if (left.size() > 4 && right[0] == type) return left[4];
  }
  return absl::NotFoundError(
      StrCat("no file system of type ", type, " is mounted"));
}

}  // namespace fairlead
