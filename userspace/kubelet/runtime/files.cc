// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "absl/strings/numbers.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::kubelet {
namespace {

absl::Status Write(const std::string& path, const std::string& text,
                   int flags) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0640));
  if (!fd.valid()) return ErrnoStatus(errno, "open", path);
  if (write(fd.get(), text.data(), text.size()) !=
      static_cast<ssize_t>(text.size())) {
    return ErrnoStatus(errno, "write", path);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) {
    return errno == ENOENT ? absl::NotFoundError(path)
                           : ErrnoStatus(errno, "open", path);
  }
  std::string text;
  char chunk[16384];
  ssize_t n;
  while ((n = read(fd.get(), chunk, sizeof(chunk))) > 0)
    text.append(chunk, static_cast<size_t>(n));
  if (n < 0) return ErrnoStatus(errno, "read", path);
  return text;
}

absl::Status WriteFileWhole(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".tmp";
  FL_RETURN_IF_ERROR(Write(fresh, text, O_CREAT | O_TRUNC));
  if (rename(fresh.c_str(), path.c_str()) != 0)
    return ErrnoStatus(errno, "rename into place", path);
  return absl::OkStatus();
}

absl::Status WriteInto(const std::string& path, const std::string& text) {
  return Write(path, text, 0);
}

Fields ParseFields(const std::string& text) {
  Fields fields;
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find('\n', at);
    if (end == std::string::npos) end = text.size();
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    const size_t eq = line.find('=');
    if (eq != std::string::npos)
      fields[line.substr(0, eq)] = line.substr(eq + 1);
  }
  return fields;
}

std::string FormatFields(const Fields& fields) {
  std::string text;
  for (const auto& [key, value] : fields)
    StrAppend(&text, key, "=", value, "\n");
  return text;
}

int64_t NumberIn(const Fields& fields, const std::string& key) {
  const auto it = fields.find(key);
  int64_t number = 0;
  if (it == fields.end() || !absl::SimpleAtoi(it->second, &number)) return 0;
  return number;
}

std::string TextIn(const Fields& fields, const std::string& key) {
  const auto it = fields.find(key);
  return it == fields.end() ? "" : it->second;
}

}  // namespace fairlead::kubelet
