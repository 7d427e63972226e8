// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/coverage.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "userspace/base/strings.h"

namespace fairlead::harness {

void WriteCoverage(const std::string& text) {
  static bool begun = false;
  std::printf("%s", text.c_str());
  const std::filesystem::path folder = FAIRLEAD_BINARY_DIR "/coverage";
  std::filesystem::create_directories(folder);
  std::ofstream file(
      folder / StrCat(program_invocation_short_name, ".txt"),
      begun ? std::ios::app : std::ios::trunc);
  file << text;
  EXPECT_TRUE(file.good()) << folder;
  begun = true;
}

std::string Padded(std::string text, size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

}  // namespace fairlead::harness
