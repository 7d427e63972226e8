// SPDX-License-Identifier: Apache-2.0
// How each long-running program of ours logs and how it ends. Main thread.
#ifndef FAIRLEAD_USERSPACE_BASE_PROGRAM_H_
#define FAIRLEAD_USERSPACE_BASE_PROGRAM_H_

#include <string>

#include "absl/status/status.h"

namespace fairlead {

inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

// From now on spdlog writes messages of `level` ("debug", "info", "warn",
// "error") and above to standard error, after time=UTC and level=. Once a
// process.
void OpenLog(const std::string& logger, const std::string& level);

// Says "PROGRAM: message" on standard error. Returns `exit_code`.
int Fail(const char* program, const absl::Status& status, int exit_code);

}  // namespace fairlead

#endif  // FAIRLEAD_USERSPACE_BASE_PROGRAM_H_
