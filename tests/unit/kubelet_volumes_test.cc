// SPDX-License-Identifier: Apache-2.0
// What volumes are made of: decoding, projections, the atomic directory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/harness/scopes.h"
#include "userspace/kubelet/runtime/files.h"
#include "userspace/kubelet/volumes/atomic_dir.h"
#include "userspace/kubelet/volumes/projection.h"

namespace fairlead::kubelet {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using ::testing::UnorderedElementsAre;

TEST(VolumeTest, Kinds) {
  const Volume ram = DecodeVolume(Json::parse(
      R"({"name": "v", "emptyDir": {"medium": "Memory",
                                    "sizeLimit": "1Mi"}})"));
  EXPECT_EQ(ram.kind, Volume::Kind::kEmptyDir);
  EXPECT_TRUE(ram.in_memory);
  EXPECT_EQ(ram.size_limit, 1 << 20);
  const Volume secret = DecodeVolume(Json::parse(
      R"({"name": "v", "secret": {"secretName": "s", "defaultMode": 256}})"));
  EXPECT_EQ(secret.mode, 0400u);
  ASSERT_EQ(secret.projections.size(), 1u);
  EXPECT_EQ(secret.projections[0].object, "s");
  const Volume disk = DecodeVolume(
      Json::parse(R"({"name": "v", "nfs": {"server": "x"}})"));
  EXPECT_EQ(disk.kind, Volume::Kind::kUnsupported);
  EXPECT_EQ(disk.unsupported, "nfs");
}

TEST(ProjectionTest, KeysModesAndWhatIsMissing) {
  const ObjectData object{.text = {{"a", "1"}, {"b", "2"}},
                          .binary = {{"c", "3"}}};
  Projection all;
  Payload payload;
  ASSERT_TRUE(ProjectObject(all, object, 0644, &payload).ok());
  EXPECT_EQ(payload.size(), 3u);
  EXPECT_EQ(payload["c"].data, "3");
  Projection some;
  some.files.push_back({.path = "x/y", .mode = 0400, .key = "b", .field = "",
                        .resource = {}});
  payload.clear();
  ASSERT_TRUE(ProjectObject(some, object, 0644, &payload).ok());
  EXPECT_EQ(payload.at("x/y").mode, 0400u);
  some.files[0].key = "z";
  EXPECT_EQ(ProjectObject(some, object, 0644, &payload).message(),
            "configmap references non-existent config key: z");
  some.optional = true;
  EXPECT_TRUE(ProjectObject(some, object, 0644, &payload).ok());
  some.files[0] = {.path = "../x", .mode = {}, .key = "a", .field = "",
                   .resource = {}};
  EXPECT_EQ(ProjectObject(some, object, 0644, &payload).message(),
            "invalid path: ../x");
}

TEST(ProjectionTest, UsablePaths) {
  for (const char* good : {"a", "a/b", "a..b", ".a/..b"})
    EXPECT_TRUE(IsUsablePath(good)) << good;
  for (const char* bad : {"", "/a", "..", "a/..", "a/../b", "..data"})
    EXPECT_FALSE(IsUsablePath(bad)) << bad;
}

TEST(ResourceTest, ReferencesAreDividedAndRoundedUp) {
  const Resources of = DecodeResources(Json::parse(
      R"({"limits": {"cpu": "1500m"}, "requests": {"memory": "100Mi"}})"));
  const ResourceAmounts node = {
      {"memory", *kube::Quantity::Parse("2Gi")}};
  const auto value = [&](const char* resource, const char* divisor) {
    return *ResourceFieldValue(
        DecodeResourceRef({{"resource", resource}, {"divisor", divisor}}), of,
        node);
  };
  EXPECT_EQ(value("limits.cpu", "1"), "2");
  EXPECT_EQ(value("limits.cpu", "1m"), "1500");
  EXPECT_EQ(value("requests.memory", "1Gi"), "1");
  EXPECT_EQ(value("limits.memory", "1Mi"), "2048") << "the node's";
  EXPECT_EQ(value("requests.cpu", "0"), "0");
  EXPECT_EQ(ResourceFieldValue({.container = "", .resource = "limits.gpu",
                                .divisor = {}}, of, node)
                .status().message(),
            "Unsupported container resource : limits.gpu");
}

class AtomicDirTest : public ::testing::Test {
 protected:
  void SetUp() override { dir_.emplace(*harness::TempDirScope::Create()); }
  absl::Status Write(const Payload& payload) {
    return WriteAtomically(dir_->path(), payload, std::nullopt,
                           absl::FromUnixSeconds(++now_));
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir_->path())) {
      std::string name = entry.path().filename().string();
      names.push_back(name.starts_with("..1970") ? "..TIME" : name);
    }
    return names;
  }
  std::string Read(const std::string& name) const {
    return ReadFile(dir_->path() + "/" + name).value_or("nothing");
  }
  std::optional<harness::TempDirScope> dir_;
  int now_ = 0;
};

TEST_F(AtomicDirTest, ReplacesAllAtOnce) {
  ASSERT_TRUE(Write({{"a", {"1", 0640, {}}}, {"d/b", {"2", 0644, {}}}}).ok());
  EXPECT_THAT(Names(),
              UnorderedElementsAre("..data", "..TIME", "a", "d"));
  EXPECT_EQ(Read("d/b"), "2");
  struct stat file{};
  ASSERT_EQ(stat((dir_->path() + "/a").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0640u);
  const fs::path before = fs::read_symlink(dir_->path() + "/..data");
  ASSERT_TRUE(Write({{"a", {"1", 0640, {}}}, {"d/b", {"2", 0644, {}}}}).ok());
  EXPECT_EQ(fs::read_symlink(dir_->path() + "/..data"), before)
      << "nothing is new";
  ASSERT_TRUE(Write({{"a", {"3", 0640, {}}}}).ok());
  EXPECT_THAT(Names(), UnorderedElementsAre("..data", "..TIME", "a"));
  EXPECT_EQ(Read("a"), "3");
  EXPECT_NE(fs::read_symlink(dir_->path() + "/..data"), before);
}

TEST_F(AtomicDirTest, WhatACrashLeftIsCleared) {
  ASSERT_TRUE(Write({{"a", {"1", 0644, {}}}}).ok());
  fs::create_directories(dir_->path() + "/..1970_half");
  std::ofstream(dir_->path() + "/..1970_half/a") << "half";
  fs::create_symlink("..1970_half", dir_->path() + "/..data_tmp");
  ASSERT_TRUE(Write({{"a", {"2", 0644, {}}}}).ok());
  EXPECT_EQ(Read("a"), "2");
  EXPECT_THAT(Names(), UnorderedElementsAre("..data", "..TIME", "a"));
}

}  // namespace
}  // namespace fairlead::kubelet
