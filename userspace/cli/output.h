// SPDX-License-Identifier: Apache-2.0
// What people see: aligned tables, colours only on a terminal.
// Threads: pure, but for the writes to standard output and error.
#ifndef FAIRLEAD_USERSPACE_CLI_OUTPUT_H_
#define FAIRLEAD_USERSPACE_CLI_OUTPUT_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace fairlead::cli {

// Exit codes that scripts can use.
enum ExitCode : int {
  kOk = 0,
  kFailed = 1,       // the thing asked for did not work or does not hold
  kUsage = 2,        // wrong flags or arguments
  kUnreachable = 3,  // no agent, controller or cluster to ask
};

// kUnreachable for kUnavailable, kUsage for kInvalidArgument, ...
ExitCode ExitCodeOf(const absl::Status& status);

// "fairleadctl: <message>" on standard error, red on a terminal.
// Returns the exit code for `status`.
int ReportError(const absl::Status& status);

enum class Color { kGreen, kYellow, kRed, kBold };
// `text` in colour if standard output is a terminal and NO_COLOR is unset.
std::string Colored(Color color, std::string_view text);

// Columns aligned by two spaces, as kubectl prints them. An empty cell is "-".
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header);
  void AddRow(std::vector<std::string> cells);
  size_t rows() const { return rows_.size(); }
  std::string ToString() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// One line a step on standard error: "controller ready (0.2 s)".
class Progress {
 public:
  explicit Progress(bool quiet) : quiet_(quiet) {}
  void Step(std::string_view text) const;

 private:
  bool quiet_;
};

// "3d4h", "5m", "12s": as kubectl prints ages. Negative is "0s".
std::string ShortDuration(int64_t seconds);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_OUTPUT_H_
