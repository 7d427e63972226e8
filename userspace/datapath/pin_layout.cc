// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/pin_layout.h"

#include <dirent.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/map_sizes.h"

namespace fairlead::datapath {
namespace {

constexpr std::string_view kPrograms = "programs_";

absl::Status MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, "mkdir", path);
}

// The folder is there. A BPF file system may be open for everybody (mode 1777
// without further options): who owns a folder of our pins, or may rename in it,
// could put maps of his own in the place of ours.
absl::Status CheckOwn(const std::string& path) {
  struct stat found = {};
  if (lstat(path.c_str(), &found) != 0) {
    return ErrnoStatus(errno, "stat", path);
  }
  if (!S_ISDIR(found.st_mode) || found.st_uid != geteuid()) {
    return absl::FailedPreconditionError(
        StrCat(path, " is not a folder of this user's (its owner is uid ",
               found.st_uid, "): remove it, or give another --bpf-root"));
  }
  if ((found.st_mode & 022) != 0 && (found.st_mode & S_ISVTX) == 0) {
    return absl::FailedPreconditionError(
        StrCat(path, " can be written by other users: chmod go-w it, or give "
               "another --bpf-root"));
  }
  return absl::OkStatus();
}

// Ours, and nobody else's to look into.
absl::Status MakePrivate(const std::string& path) {
  FL_RETURN_IF_ERROR(MakeDirectory(path));
  FL_RETURN_IF_ERROR(CheckOwn(path));
  if (chmod(path.c_str(), 0700) != 0) return ErrnoStatus(errno, "chmod", path);
  return absl::OkStatus();
}

}  // namespace

std::string_view DirectionName(Direction direction) {
  return direction == Direction::kIngress ? "ingress" : "egress";
}

PinLayout::PinLayout(std::string root)
    : PinLayout(std::move(root), VersionName(MapSizes())) {}

PinLayout::PinLayout(std::string root, std::string_view version)
    : root_(std::move(root)), version_dir_(StrCat(root_, "/", version)) {}

std::string PinLayout::version_name() const {
  return version_dir_.substr(root_.size() + 1);
}
std::string PinLayout::MapsDir() const { return version_dir_ + "/maps"; }
std::string PinLayout::LinksDir() const { return version_dir_ + "/links"; }

std::string PinLayout::ProgramsDir(std::string_view fingerprint) const {
  return StrCat(version_dir_, "/", kPrograms, fingerprint);
}

std::string PinLayout::MapPath(std::string_view map) const {
  return StrCat(MapsDir(), "/", map);
}

std::string PinLayout::CgroupLinkPath(std::string_view program) const {
  return StrCat(LinksDir(), "/cgroup_", program);
}

std::string PinLayout::TcxLinkPath(int ifindex, Direction direction) const {
  return StrCat(LinksDir(), "/tc_", ifindex, "_", DirectionName(direction));
}

std::string PinLayout::ClsactPath(int ifindex, Direction direction) const {
  return StrCat(LinksDir(), "/clsact_", ifindex, "_",
                DirectionName(direction));
}

absl::Status PinLayout::Check() const {
  std::filesystem::path path(root_);
  if (!path.is_absolute()) {
    return absl::InvalidArgumentError(
        StrCat("the BPF root must be an absolute path: \"", root_, "\""));
  }
  std::error_code error;
  while (!std::filesystem::exists(path, error) && path.has_relative_path()) {
    path = path.parent_path();
  }
  struct statfs fs;
  if (statfs(path.c_str(), &fs) != 0) {
    return ErrnoStatus(errno, "statfs", path.string());
  }
  if (static_cast<unsigned long>(fs.f_type) != BPF_FS_MAGIC) {
    return absl::FailedPreconditionError(
        StrCat(root_, " is not on a BPF file system (", path.string(),
               " is something else): mount one with "
               "`mount -t bpf bpf /sys/fs/bpf`, or choose a directory of one "
               "with --bpf-root"));
  }
  return absl::OkStatus();
}

absl::Status PinLayout::CreateDirectories() const {
  std::filesystem::path path;
  for (const std::filesystem::path& part : std::filesystem::path(root_)) {
    path /= part;
    FL_RETURN_IF_ERROR(MakeDirectory(path.string()));
  }
  FL_RETURN_IF_ERROR(CheckOwn(root_));
  FL_RETURN_IF_ERROR(MakePrivate(version_dir_));
  FL_RETURN_IF_ERROR(MakePrivate(MapsDir()));
  return MakePrivate(LinksDir());
}

absl::Status PinLayout::CreatePrivate(const std::string& path) const {
  return MakePrivate(path);
}

absl::Status PinLayout::RemovePrograms(std::string_view keep) const {
  FL_ASSIGN_OR_RETURN(std::vector<std::string> names,
                      ListDirectory(version_dir_));
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, Absl(kPrograms))) continue;
    const std::string path = StrCat(version_dir_, "/", name);
    if (!keep.empty() && path == ProgramsDir(keep)) continue;
    FL_RETURN_IF_ERROR(RemovePins(path));
  }
  return absl::OkStatus();
}

std::optional<DevicePin> ParseDevicePin(std::string_view file_name) {
  std::vector<std::string> parts = absl::StrSplit(Absl(file_name), '_');
  DevicePin pin;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[1], &pin.ifindex)) {
    return std::nullopt;
  }
  if (parts[0] != "tc" && parts[0] != "clsact") return std::nullopt;
  if (parts[2] != "ingress" && parts[2] != "egress") return std::nullopt;
  pin.clsact = parts[0] == "clsact";
  pin.direction =
      parts[2] == "ingress" ? Direction::kIngress : Direction::kEgress;
  return pin;
}

absl::StatusOr<std::vector<std::string>> ListDirectory(
    const std::string& path) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(path.c_str()), closedir);
  if (dir == nullptr) {
    if (errno == ENOENT) return names;
    return ErrnoStatus(errno, "opendir", path);
  }
  while (const dirent* entry = readdir(dir.get())) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

absl::Status RemovePin(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, "unlink", path);
}

absl::Status RemoveFolder(const std::string& path) {
  if (rmdir(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, "rmdir", path);
}

absl::Status RemovePins(const std::string& directory) {
  FL_ASSIGN_OR_RETURN(std::vector<std::string> names,
                      ListDirectory(directory));
  for (const std::string& name : names) {
    FL_RETURN_IF_ERROR(RemovePin(StrCat(directory, "/", name)));
  }
  return RemoveFolder(directory);
}

}  // namespace fairlead::datapath
