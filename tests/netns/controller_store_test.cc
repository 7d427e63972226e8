// SPDX-License-Identifier: Apache-2.0
// What a controller does about its store's file: backups, damage, a full disk.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/netns/controller_process.h"
#include "tests/netns/fake_nodes.h"
#include "tests/netns/http_socket.h"
#include "userspace/kube/control_resources.h"

namespace fairlead {
namespace {

using testing::HasSubstr;

Json ConfigMap(const std::string& name, const std::string& value) {
  return {{"apiVersion", "v1"},
          {"kind", "ConfigMap"},
          {"metadata", {{"namespace", "default"}, {"name", name}}},
          {"data", {{"k", value}}}};
}

class ControllerStoreTest : public testing::Test {
 protected:
  void Start() {
    controller_.Start();
    cluster_ = std::make_unique<FakeCluster>(controller_.url());
    ASSERT_TRUE(Until([&] {
      return cluster_->Get(kube::Namespaces(), "default", "").ok();
    }));
  }
  void Stop() {
    cluster_.reset();
    controller_.Kill();
  }
  absl::Status Create(const std::string& name, const std::string& value = "v") {
    return cluster_->Create(kube::ConfigMaps(), ConfigMap(name, value))
        .status();
  }
  absl::Status Get(const std::string& name) {
    return cluster_->Get(kube::ConfigMaps(), name).status();
  }
  std::string store() const { return controller_.disk() + "/store.db"; }

  // The only backup, when it is there.
  std::string Backup() {
    std::string path;
    EXPECT_EQ(kill(controller_.pid(), SIGUSR1), 0);
    EXPECT_TRUE(Until([&] {
      std::error_code ignored;
      for (const auto& entry : std::filesystem::directory_iterator(
               store() + ".backups", ignored)) {
        if (entry.path().extension() == ".db") path = entry.path().string();
      }
      return !path.empty();
    }));
    return path;
  }

  ControllerProcess controller_;
  std::unique_ptr<FakeCluster> cluster_;
};

TEST_F(ControllerStoreTest, ADamagedStoreNamesItsBackupWhichBringsItBack) {
  Start();
  ASSERT_TRUE(Create("before").ok());
  const std::string backup = Backup();
  ASSERT_TRUE(Create("after").ok());
  const std::string restore =
      absl::StrCat("--store ", store(), " --restore ", backup);
  auto [in_use, refusal] = RunController(restore);
  EXPECT_EQ(in_use, 1);
  EXPECT_THAT(refusal, HasSubstr("another process"));
  const Json seen = *cluster_->Get(kube::ConfigMaps(), "after");
  Stop();

  std::filesystem::remove(store() + "-wal");
  std::ofstream(store()) << std::string(1 << 16, 'x');
  auto [refused, why] =
      RunController("--listen 127.0.0.1:0 --store " + store());
  EXPECT_EQ(refused, 1);
  EXPECT_THAT(why, HasSubstr(store()));
  EXPECT_THAT(why, HasSubstr("--restore " + backup));

  auto [restored, said] = RunController(restore);
  EXPECT_EQ(restored, 0) << said;
  Start();
  EXPECT_TRUE(Get("before").ok());
  EXPECT_TRUE(absl::IsNotFound(Get("after")));
  // Whoever has seen what was lost is not served as if nothing had happened.
  ASSERT_TRUE(Create("again").ok());
  const Json again = *cluster_->Get(kube::ConfigMaps(), "again");
  auto version = [](const Json& object) {
    return std::stoll(
        object["metadata"]["resourceVersion"].get<std::string>());
  };
  EXPECT_GT(version(again), version(seen));
}

// Puts `after` in the place of `before`, which is as long: the first time, or
// everywhere in the file (SQLite leaves old copies in what is free).
void Replace(const std::string& path, const std::string& before,
             const std::string& after, bool everywhere) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const std::string all(std::istreambuf_iterator<char>(file), {});
  file.clear();
  size_t at = all.find(before);
  ASSERT_NE(at, std::string::npos) << before << " is not in " << path;
  do {
    file.seekp(static_cast<std::streamoff>(at));
    file << after;
    at = all.find(before, at + 1);
  } while (everywhere && at != std::string::npos);
}

// What was flipped stays JSON, and would be served.
TEST_F(ControllerStoreTest, AFlippedByteIsNotServed) {
  Start();
  ASSERT_TRUE(Create("one", "flipped-in-a-page").ok());
  const std::string backup = Backup();
  Stop();
  auto expect_refused = [&](const std::string& what) {
    auto [code, why] =
        RunController("--listen 127.0.0.1:0 --store " + store());
    EXPECT_EQ(code, 1) << what;
    EXPECT_THAT(why, HasSubstr(what));
    EXPECT_THAT(why, HasSubstr("--restore " + backup));
  };
  // In the log, in front of what was acknowledged later.
  Start();
  ASSERT_TRUE(Create("two", "flipped-in-the-log").ok());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(Create(absl::StrCat("later-", i)).ok());
  }
  Stop();
  Replace(store() + "-wal", "flipped-in-the-log", "flipped-in-the-lof", false);
  expect_refused("store.db-wal is damaged in front of");
  Replace(store() + "-wal", "flipped-in-the-lof", "flipped-in-the-log", false);
  Start();
  EXPECT_TRUE(Get("later-4").ok());
  cluster_.reset();
  controller_.Terminate();
  Replace(store(), "flipped-in-a-page", "flipped-in-a-pagd", true);
  expect_refused("configmaps/default/one is damaged");
}

class FullDiskTest : public ControllerStoreTest {
 protected:
  // The store's folder is a file system of 3 MiB. Filling it is what somebody
  // else does.
  void SetUp() override {
    ASSERT_EQ(mount("tmpfs", controller_.disk().c_str(), "tmpfs", 0,
                    "size=3m"), 0);
  }
  void TearDown() override {
    Stop();
    umount2(controller_.disk().c_str(), MNT_DETACH);
  }
  std::string filler() const { return controller_.disk() + "/filler"; }
  void Fill() {
    std::ofstream file(filler());
    while (file.write(std::string(4096, 'x').data(), 4096).flush()) {
    }
  }
};

TEST_F(FullDiskTest, RefusesWritesAndRecovers) {
  Start();
  ASSERT_TRUE(Create("first").ok());
  Fill();
  std::vector<std::string> made = {"first"};
  absl::Status refused;
  for (int i = 0; i < 1000 && refused.ok(); ++i) {
    const std::string name = absl::StrCat("c", i);
    refused = Create(name, std::string(60'000, 'v'));
    if (refused.ok()) made.push_back(name);
  }
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(std::string(refused.message()), HasSubstr("disk is full"));
  for (const std::string& name : made) EXPECT_TRUE(Get(name).ok()) << name;
  EXPECT_TRUE(absl::IsNotFound(Get(absl::StrCat("c", made.size() - 1))))
      << "what was refused isn't there";

  std::filesystem::remove(filler());
  EXPECT_TRUE(Until([&] { return Create("later").ok(); }));
  made.push_back("later");
  Stop();
  Start();
  for (const std::string& name : made) EXPECT_TRUE(Get(name).ok()) << name;
}

TEST_F(FullDiskTest, AStartOnOneServesReadsAndSaysSo) {
  Start();
  ASSERT_TRUE(Create("first").ok());
  cluster_.reset();
  controller_.Terminate();
  Fill();
  Start();
  EXPECT_TRUE(Get("first").ok());
  EXPECT_FALSE(Create("refused").ok());
  auto ready = [&] { return GetPage(controller_.url(), "/readyz?verbose"); };
  EXPECT_THAT(ready(), HasSubstr("[-]store failed"));
  EXPECT_THAT(GetPage(controller_.url(), "/readyz/store"),
              HasSubstr("disk is full"));
  // Whoever restarts what isn't alive would make nothing better.
  EXPECT_THAT(GetPage(controller_.url(), "/livez?verbose"),
              HasSubstr("livez check passed"));
  std::filesystem::remove(filler());
  EXPECT_TRUE(Until([&] {
    return ready().find("[+]store ok") != std::string::npos;
  })) << ready();
  EXPECT_TRUE(Create("later").ok());
}

}  // namespace
}  // namespace fairlead
