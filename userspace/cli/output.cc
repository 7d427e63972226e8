// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/output.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "userspace/base/strings.h"

namespace fairlead::cli {
namespace {

bool UseColor(int fd) {
  return isatty(fd) && std::getenv("NO_COLOR") == nullptr;
}

const char* Escape(Color color) {
  switch (color) {
    case Color::kGreen: return "\033[32m";
    case Color::kYellow: return "\033[33m";
    case Color::kRed: return "\033[31m";
    case Color::kBold: return "\033[1m";
  }
  return "";
}

}  // namespace

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk: return kOk;
    case absl::StatusCode::kInvalidArgument: return kUsage;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded: return kUnreachable;
    default: return kFailed;
  }
}

int ReportError(const absl::Status& status) {
  std::string text = StrCat("fairleadctl: ", status.message());
  if (UseColor(STDERR_FILENO))
    text = StrCat(Escape(Color::kRed), text, "\033[0m");
  std::fprintf(stderr, "%s\n", text.c_str());
  return ExitCodeOf(status);
}

std::string Colored(Color color, std::string_view text) {
  if (!UseColor(STDOUT_FILENO)) return std::string(text);
  return StrCat(Escape(color), text, "\033[0m");
}

TextTable::TextTable(std::vector<std::string> header)
    : header_(std::move(header)) {}

void TextTable::AddRow(std::vector<std::string> cells) {
  cells.resize(header_.size());
  for (std::string& cell : cells)
    if (cell.empty()) cell.assign(1, '-');
  rows_.push_back(std::move(cells));
}

std::string TextTable::ToString() const {
  std::vector<size_t> width(header_.size());
  auto measure = [&](const std::vector<std::string>& cells) {
    for (size_t i = 0; i < cells.size(); ++i)
      width[i] = std::max(width[i], cells[i].size());
  };
  measure(header_);
  for (const auto& row : rows_) measure(row);
  std::string out;
  auto print = [&](const std::vector<std::string>& cells) {
    for (size_t i = 0; i < cells.size(); ++i) {
      out += cells[i];
      // No spaces behind the last column.
      if (i + 1 < cells.size())
        out.append(width[i] + 2 - cells[i].size(), ' ');
    }
    out += '\n';
  };
  print(header_);
  for (const auto& row : rows_) print(row);
  return out;
}

void Progress::Step(std::string_view text) const {
  if (quiet_) return;
  std::fprintf(stderr, "  %.*s\n", static_cast<int>(text.size()), text.data());
}

std::string ShortDuration(int64_t seconds) {
  if (seconds < 0) seconds = 0;
  if (seconds < 120) return StrCat(seconds, "s");
  int64_t minutes = seconds / 60;
  if (minutes < 10 && seconds % 60 != 0)
    return StrCat(minutes, "m", seconds % 60, "s");
  if (minutes < 180) return StrCat(minutes, "m");
  int64_t hours = minutes / 60;
  if (hours < 8 && minutes % 60 != 0)
    return StrCat(hours, "h", minutes % 60, "m");
  if (hours < 48) return StrCat(hours, "h");
  if (hours < 192 && hours % 24 != 0)
    return StrCat(hours / 24, "d", hours % 24, "h");
  return StrCat(hours / 24, "d");
}

}  // namespace fairlead::cli
