// SPDX-License-Identifier: Apache-2.0
// Small files that are written whole, and "key=value" lines in them.
// Safe from any thread.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_FILES_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_FILES_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fairlead::kubelet {

// NotFound when there is none.
[[nodiscard]] absl::StatusOr<std::string> ReadFile(const std::string& path);
// Renames it into place: readers see the old text or the new.
[[nodiscard]] absl::Status WriteFileWhole(const std::string& path,
                                          const std::string& text);
// Writes into a file that exists, such as a sysctl's.
[[nodiscard]] absl::Status WriteInto(const std::string& path,
                                     const std::string& text);

using Fields = std::map<std::string, std::string>;
Fields ParseFields(const std::string& text);
std::string FormatFields(const Fields& fields);
// 0 when absent or not a number.
int64_t NumberIn(const Fields& fields, const std::string& key);
std::string TextIn(const Fields& fields, const std::string& key);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_FILES_H_
