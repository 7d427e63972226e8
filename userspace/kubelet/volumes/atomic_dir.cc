// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/volumes/atomic_dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"
#include "userspace/kubelet/runtime/files.h"

namespace fairlead::kubelet {
namespace {

namespace fs = std::filesystem;

constexpr char kData[] = "..data";
constexpr mode_t kGroupReads = 0440, kGroupEnters = 0550, kSetGid = 02000;

absl::Status Failed(const char* what, const fs::path& path) {
  return ErrnoStatus(errno, what, path.string());
}

absl::Status Give(const fs::path& path, mode_t mode,
                  std::optional<uid_t> user, std::optional<gid_t> group) {
  const auto unchanged = static_cast<uid_t>(-1);
  if (chown(path.c_str(), user.value_or(unchanged),
            group.value_or(unchanged)) != 0) {
    return Failed("give away", path);
  }
  // After the chown, which would take bits away.
  if (chmod(path.c_str(), mode) != 0) return Failed("set mode of", path);
  return absl::OkStatus();
}

mode_t ModeOf(const FileContent& content, std::optional<gid_t> group) {
  return content.mode | (group ? kGroupReads : 0);
}

absl::Status WriteOne(const fs::path& path, const FileContent& content,
                      std::optional<gid_t> group) {
  const UniqueFd fd(open(path.c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return Failed("create", path);
  for (size_t at = 0; at < content.data.size();) {
    const ssize_t n = write(fd.get(), content.data.data() + at,
                            content.data.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Failed("write", path);
    at += static_cast<size_t>(n);
  }
  return Give(path, ModeOf(content, group), content.owner, group);
}

absl::Status WriteAll(const fs::path& root, const Payload& payload,
                      std::optional<gid_t> group) {
  const mode_t mode = 0755 | (group ? kGroupEnters | kSetGid : 0);
  std::set<fs::path> made;
  const auto make = [&](const fs::path& dir) {
    if (!made.insert(dir).second) return absl::OkStatus();
    if (mkdir(dir.c_str(), 0755) != 0 && errno != EEXIST)
      return Failed("make directory", dir);
    return Give(dir, mode, std::nullopt, group);
  };
  FL_RETURN_IF_ERROR(make(root));
  for (const auto& [name, content] : payload) {
    fs::path at = root;
    for (const fs::path& part : fs::path(name).parent_path())
      FL_RETURN_IF_ERROR(make(at /= part));
    FL_RETURN_IF_ERROR(WriteOne(root / name, content, group));
  }
  return absl::OkStatus();
}

// Whether a new version would be the same.
bool Holds(const fs::path& root, const Payload& payload,
           std::optional<gid_t> group) {
  std::error_code error;
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root, error)) {
    if (!entry.is_directory()) ++files;
  }
  if (error || files != payload.size()) return false;
  for (const auto& [name, content] : payload) {
    struct stat status{};
    if (stat((root / name).c_str(), &status) != 0 ||
        (status.st_mode & 07777) != ModeOf(content, group)) {
      return false;
    }
    const auto text = ReadFile((root / name).string());
    if (!text.ok() || *text != content.data) return false;
  }
  return true;
}

// A link in place of whatever is at `path`.
absl::Status Link(const fs::path& target, const fs::path& path) {
  std::error_code error;
  if (fs::read_symlink(path, error) == target) return absl::OkStatus();
  const fs::path fresh = path.string() + "_tmp";
  unlink(fresh.c_str());
  if (symlink(target.c_str(), fresh.c_str()) != 0)
    return Failed("make link", fresh);
  if (rename(fresh.c_str(), path.c_str()) != 0)
    return Failed("put in place", path);
  return absl::OkStatus();
}

// All but the links that are wanted and what they lead to.
void RemoveOld(const fs::path& root, const std::set<fs::path>& wanted) {
  std::error_code ignored;
  std::vector<fs::path> old;
  for (const auto& entry : fs::directory_iterator(root, ignored)) {
    if (!wanted.contains(entry.path().filename())) old.push_back(entry.path());
  }
  for (const fs::path& path : old) fs::remove_all(path, ignored);
}

}  // namespace

absl::Status WriteAtomically(const std::string& path, const Payload& payload,
                             std::optional<gid_t> group, absl::Time now) {
  const fs::path root = path;
  std::error_code none;
  fs::path current = fs::read_symlink(root / kData, none);
  if (current.empty() || !Holds(root / current, payload, group)) {
    current = StrCat("..", absl::FormatTime("%Y_%m_%d_%H_%M_%E9S", now,
                                            absl::UTCTimeZone()));
    std::error_code ignored;
    fs::remove_all(root / current, ignored);
    const absl::Status written = WriteAll(root / current, payload, group);
    if (!written.ok()) {
      fs::remove_all(root / current, ignored);
      return written;
    }
    FL_RETURN_IF_ERROR(Link(current, root / kData));
  }
  std::set<fs::path> wanted = {kData, current};
  for (const auto& [name, content] : payload) {
    const fs::path first = *fs::path(name).begin();
    if (!wanted.insert(first).second) continue;
    FL_RETURN_IF_ERROR(Link(fs::path(kData) / first, root / first));
  }
  RemoveOld(root, wanted);
  return absl::OkStatus();
}

}  // namespace fairlead::kubelet
