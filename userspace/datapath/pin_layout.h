// SPDX-License-Identifier: Apache-2.0
// Where the data path lives between two runs of the agent: a directory of a
// BPF file system.
//
//   <root>/<VersionName()>/maps/<map>
//                         /links/cgroup_<program>
//                         /links/tc_<ifindex>_{ingress,egress}
//                         /links/clsact_<ifindex>_{ingress,egress}
//                         /programs_<fingerprint>/<program>
//
// clsact_* are pinned programs, for kernels without tcx: a clsact filter can't
// be pinned itself, so its program marks the device. programs_*: the programs
// as they were loaded (program_pins.h). Values; any thread.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_PIN_LAYOUT_H_
#define FAIRLEAD_USERSPACE_DATAPATH_PIN_LAYOUT_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fairlead::datapath {

enum class Direction { kIngress, kEgress };
std::string_view DirectionName(Direction direction);

class PinLayout {
 public:
  // With maps of the default sizes, of our version.
  explicit PinLayout(std::string root);
  // A directory by its name: VersionName() (map_sizes.h).
  PinLayout(std::string root, std::string_view version);

  const std::string& root() const { return root_; }
  const std::string& version_dir() const { return version_dir_; }
  // Its last part: "v6".
  std::string version_name() const;
  std::string MapsDir() const;
  std::string LinksDir() const;
  std::string ProgramsDir(std::string_view fingerprint) const;
  std::string MapPath(std::string_view map) const;
  std::string CgroupLinkPath(std::string_view program) const;
  std::string TcxLinkPath(int ifindex, Direction direction) const;
  std::string ClsactPath(int ifindex, Direction direction) const;

  // Is the root, or the nearest directory above it that exists, on a BPF file
  // system? Says how to mount one if not. Changes nothing.
  [[nodiscard]] absl::Status Check() const;
  [[nodiscard]] absl::Status CreateDirectories() const;
  // A folder below version_dir() that nobody else may look into.
  [[nodiscard]] absl::Status CreatePrivate(const std::string& path) const;
  // All sets of pinned programs but the one of `keep`.
  [[nodiscard]] absl::Status RemovePrograms(std::string_view keep = "") const;

 private:
  std::string root_;
  std::string version_dir_;
};

// What a file in LinksDir() is, by its name.
struct DevicePin {
  int ifindex = 0;
  Direction direction = Direction::kIngress;
  bool clsact = false;
};
std::optional<DevicePin> ParseDevicePin(std::string_view file_name);

// The names in a directory, without "." and ".."; none if it doesn't exist.
[[nodiscard]] absl::StatusOr<std::vector<std::string>> ListDirectory(
    const std::string& path);
// unlink(2); OK if it is not there.
[[nodiscard]] absl::Status RemovePin(const std::string& path);
// rmdir(2); OK if it is not there.
[[nodiscard]] absl::Status RemoveFolder(const std::string& path);
// A directory of pins alone, with them.
[[nodiscard]] absl::Status RemovePins(const std::string& directory);

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_PIN_LAYOUT_H_
