// SPDX-License-Identifier: Apache-2.0
#include "tests/golden/golden_main.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/golden/runner.h"

namespace fairlead::reconcile {
namespace {

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

class GoldenCase : public ::testing::Test {
 public:
  using NewMaps = std::function<std::unique_ptr<CaseMaps>()>;
  GoldenCase(std::filesystem::path path, bool update, NewMaps new_maps)
      : path_(std::move(path)),
        update_(update),
        new_maps_(std::move(new_maps)) {}

  void TestBody() override {
    const std::string want = ReadFile(path_);
    const std::unique_ptr<CaseMaps> maps = new_maps_();
    const absl::StatusOr<std::string> got =
        RunCase(want, [&maps] { return maps->Open(); });
    ASSERT_TRUE(got.ok()) << got.status();
    if (update_) {
      std::ofstream(path_) << *got;
    } else {
      EXPECT_EQ(*got, want) << "run with --update and read the diff";
    }
  }

 private:
  std::filesystem::path path_;
  bool update_;
  NewMaps new_maps_;
};

}  // namespace

int GoldenMain(int argc, char** argv,
               std::function<std::unique_ptr<CaseMaps>()> new_maps) {
  ::testing::InitGoogleTest(&argc, argv);
  std::string directory = FAIRLEAD_SOURCE_DIR "/tests/golden/cases";
  bool update = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--update") == 0) update = true;
    if (std::strncmp(argv[i], "--cases=", 8) == 0) directory = argv[i] + 8;
  }
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() == ".txt") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const std::filesystem::path& path : paths) {
    ::testing::RegisterTest(
        "Golden", path.stem().c_str(), nullptr, nullptr, __FILE__, __LINE__,
        [path, update, new_maps]() -> ::testing::Test* {
          return new GoldenCase(path, update, new_maps);
        });
  }
  // An empty directory is a mistake, not a pass.
  if (paths.empty()) return 1;
  return RUN_ALL_TESTS();
}

}  // namespace fairlead::reconcile
