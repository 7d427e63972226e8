// SPDX-License-Identifier: Apache-2.0
// Writing a small file whole or not at all. Threads: any.
#ifndef FAIRLEAD_USERSPACE_BASE_WRITE_FILE_H_
#define FAIRLEAD_USERSPACE_BASE_WRITE_FILE_H_

#include <sys/types.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace fairlead {

// Through PATH.new, which is on disk before it takes the name: a reader sees
// the file of before or the new one, and never with another mode than `mode`.
[[nodiscard]] absl::Status WriteFile(const std::string& path,
                                     std::string_view text, mode_t mode);

}  // namespace fairlead

#endif  // FAIRLEAD_USERSPACE_BASE_WRITE_FILE_H_
