// SPDX-License-Identifier: Apache-2.0
// A program of the distribution's, run to its end: text in, text out.
// Threads: any.
#ifndef FAIRLEAD_USERSPACE_BASE_RUN_TOOL_H_
#define FAIRLEAD_USERSPACE_BASE_RUN_TOOL_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fairlead {

// argv[0] is looked for in PATH. Returns what it wrote to its standard output.
// kNotFound: it isn't installed; kInternal: it failed, with what it said.
[[nodiscard]] absl::StatusOr<std::string> RunTool(
    const std::vector<std::string>& argv, std::string_view input = "");

}  // namespace fairlead

#endif  // FAIRLEAD_USERSPACE_BASE_RUN_TOOL_H_
