// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/volumes/host_path.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::kubelet {
namespace {

struct Type {
  const char* name;
  mode_t format;  // S_IFMT bits
  const char* noun;
};
constexpr Type kTypes[] = {
    {"Directory", S_IFDIR, "directory"},
    {"DirectoryOrCreate", S_IFDIR, "directory"},
    {"File", S_IFREG, "file"},
    {"FileOrCreate", S_IFREG, "file"},
    {"Socket", S_IFSOCK, "socket file"},
    {"CharDevice", S_IFCHR, "character device"},
    {"BlockDevice", S_IFBLK, "block device"},
};

absl::Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  return error ? ErrnoStatus(error.value(), "make directory", path)
               : absl::OkStatus();
}

absl::Status MakeFile(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  return fd.valid() ? absl::OkStatus() : ErrnoStatus(errno, "create", path);
}

}  // namespace

absl::Status PrepareHostPath(const std::string& path,
                             const std::string& type) {
  struct stat info{};
  const bool there = stat(path.c_str(), &info) == 0;
  if (type.empty()) return there ? absl::OkStatus() : MakeDirectories(path);
  for (const Type& known : kTypes) {
    if (type != known.name) continue;
    if (!there && type == "DirectoryOrCreate") return MakeDirectories(path);
    if (!there && type == "FileOrCreate") return MakeFile(path);
    if (there && (info.st_mode & S_IFMT) == known.format)
      return absl::OkStatus();
    return absl::FailedPreconditionError(
        StrCat("hostPath type check failed: ", path, " is not a ",
               known.noun));
  }
  return absl::InvalidArgumentError(
      StrCat("hostPath type check failed: unknown type ", type));
}

}  // namespace fairlead::kubelet
