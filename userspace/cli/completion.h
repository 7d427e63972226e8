// SPDX-License-Identifier: Apache-2.0
// Shell completion, made from the command tree itself. Threads: pure.
#ifndef FAIRLEAD_USERSPACE_CLI_COMPLETION_H_
#define FAIRLEAD_USERSPACE_CLI_COMPLETION_H_

#include <CLI/App.hpp>
#include <string>

#include "absl/status/statusor.h"

namespace fairlead::cli {

// A script for `shell` ("bash", "zsh" or "fish") that completes `app`'s
// sub-commands and flags.
[[nodiscard]] absl::StatusOr<std::string> CompletionScript(
    const CLI::App& app, const std::string& shell);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_COMPLETION_H_
