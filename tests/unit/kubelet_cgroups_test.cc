// SPDX-License-Identifier: Apache-2.0
// Which cgroups a container's processes are put in, and what is written there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/harness/scopes.h"
#include "userspace/base/mounts.h"
#include "userspace/kubelet/resources.h"
#include "userspace/kubelet/runtime/files.h"
#include "userspace/kubelet/runtime/pod_cgroups.h"

namespace fairlead::kubelet {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

// Folders that look like cgroup hierarchies; the kernel makes no files here.
class PodCgroupsTest : public ::testing::Test {
 protected:
  PodCgroupsTest() : dir_(*harness::TempDirScope::Create()) {
    fs::create_directories(Path("v2/node/pods"));
    fs::create_directories(Path("memory"));
    fs::create_directories(Path("cpu"));
  }
  std::string Path(const std::string& name) const {
    return absl::StrCat(dir_.path(), "/", name);
  }
  void Offer(const std::string& controllers) {
    std::ofstream(Path("v2/node/cgroup.controllers")) << controllers;
    std::ofstream(Path("v2/node/cgroup.subtree_control")) << "";
    std::ofstream(Path("v2/node/pods/cgroup.subtree_control")) << "";
  }
  PodCgroups Open(std::map<std::string, std::string> v1 = {}) {
    PodCgroups cgroups(Path("v2/node"), Path("v2"), std::move(v1));
    EXPECT_TRUE(cgroups.Prepare().ok());
    return cgroups;
  }
  harness::TempDirScope dir_;
  const ContainerLimits limits_{.cpu_request_milli = 250,
                                .cpu_limit_milli = 1500,
                                .memory_limit = 64 << 20};
};

TEST_F(PodCgroupsTest, WhatCgroupV2Offers) {
  Offer("cpuset cpu memory pids\n");
  const PodCgroups cgroups = Open();
  EXPECT_THAT(cgroups.Missing(), IsEmpty());
  // The last of three writes, each from the start of a file that, unlike the
  // kernel's, keeps what was longer.
  EXPECT_EQ(*ReadFile(Path("v2/node/pods/cgroup.subtree_control")),
            "+pidsry");
  const CgroupPlan plan = cgroups.Plan(
      "uid", {.cpu_request_milli = 1000, .pids = 50}, "c", limits_);
  const std::string pod = Path("v2/node/pods/uid"), own = pod + "/c";
  EXPECT_EQ(plan.cgroup, own);
  EXPECT_EQ(plan.memory, own);
  EXPECT_THAT(plan.joined, ElementsAre(own));
  EXPECT_THAT(plan.fresh, ElementsAre(own));
  EXPECT_THAT(
      plan.settings,
      ElementsAre(Pair(pod + "/cgroup.subtree_control", "+cpu"),
                  Pair(pod + "/cgroup.subtree_control", "+memory"),
                  Pair(pod + "/cgroup.subtree_control", "+pids"),
                  Pair(pod + "/cpu.weight", "39"),
                  Pair(own + "/cpu.weight", "10"),
                  Pair(own + "/cpu.max", "150000 100000"),
                  Pair(own + "/memory.max", "67108864"),
                  Pair(own + "/memory.oom.group", "1"),
                  Pair(pod + "/pids.max", "50")));
  const CgroupPlan none = cgroups.Plan("uid", {}, "c", {});
  EXPECT_THAT(none.settings, Contains(Pair(own + "/cpu.weight", "1")));
  for (const char* file : {"/cpu.max", "/memory.max", "/memory.oom.group"})
    EXPECT_THAT(none.settings, Not(Contains(Pair(own + file, testing::_))));
}

TEST_F(PodCgroupsTest, CgroupV1WhereV2OffersNothing) {
  Offer("hugetlb\n");
  const PodCgroups cgroups = Open({{"memory", Path("memory")},
                                   {"cpu", Path("cpu")},
                                   {"freezer", Path("freezer")},
                                   {"rw", Path("cpu")}});
  EXPECT_THAT(cgroups.Missing(), ElementsAre("pids"));
  EXPECT_EQ(*ReadFile(Path("v2/node/cgroup.subtree_control")), "");
  const CgroupPlan plan =
      cgroups.Plan("uid", {.cpu_request_milli = 250, .pids = 50}, "c",
                   limits_);
  const std::string own = Path("cpu/node/pods/uid/c"),
                    memory = Path("memory/node/pods/uid/c");
  EXPECT_THAT(plan.joined,
              ElementsAre(Path("v2/node/pods/uid/c"), own, memory));
  EXPECT_THAT(plan.fresh, plan.joined);
  EXPECT_EQ(plan.memory, memory);
  EXPECT_THAT(
      plan.settings,
      ElementsAre(Pair(own + "/cpu.cfs_period_us", "100000"),
                  Pair(own + "/cpu.cfs_quota_us", "150000"),
                  Pair(memory + "/memory.limit_in_bytes", "67108864")));
  // Who has no limit is left where it is.
  const CgroupPlan none = cgroups.Plan("uid", {.cpu_request_milli = 250}, "c",
                                       {.cpu_request_milli = 250});
  EXPECT_THAT(none.joined, ElementsAre(Path("v2/node/pods/uid/c")));
  EXPECT_THAT(none.settings, IsEmpty());
  EXPECT_EQ(none.memory, none.cgroup);
}

TEST_F(PodCgroupsTest, NothingOfEither) {
  const PodCgroups cgroups = Open();
  EXPECT_THAT(cgroups.Missing(), ElementsAre("cpu", "memory", "pids"));
  EXPECT_THAT(cgroups.Plan("uid", {.pids = 5}, "c", limits_).settings,
              IsEmpty());
}

// Not below the mount of cgroup v2: the same name elsewhere means nothing.
TEST_F(PodCgroupsTest, ARootOutsideOfTheMountHasNoV1) {
  const PodCgroups cgroups(Path("v2/node"), Path("other"),
                           {{"memory", Path("memory")}});
  EXPECT_THAT(cgroups.Missing(), Contains("memory"));
}

TEST_F(PodCgroupsTest, RemovedWithWhatWasMadeForThem) {
  const PodCgroups cgroups = Open({{"memory", Path("memory")}});
  for (const char* folder : {"v2/node/pods/a/c", "memory/node/pods/a/c",
                             "memory/node/pods/b/c"}) {
    fs::create_directories(Path(folder));
  }
  EXPECT_THAT(cgroups.List(), ElementsAre("a", "b"));
  EXPECT_TRUE(cgroups.Remove("a").ok());
  EXPECT_THAT(cgroups.List(), ElementsAre("b"));
  EXPECT_TRUE(cgroups.Remove("b").ok());
  EXPECT_THAT(cgroups.List(), IsEmpty());
  EXPECT_TRUE(fs::is_empty(Path("memory")));
  EXPECT_TRUE(fs::exists(Path("v2/node/pods")));
}

TEST(LimitsTest, ALimitAloneIsAlsoARequest) {
  const auto limits = [](const char* text) {
    return LimitsOf(DecodeResources(nlohmann::json::parse(text)));
  };
  const ContainerLimits one = limits(
      R"({"limits": {"cpu": "500m", "memory": "1Gi"}})");
  EXPECT_EQ(one.cpu_request_milli, 500);
  EXPECT_EQ(one.cpu_limit_milli, 500);
  EXPECT_EQ(one.memory_limit, 1 << 30);
  const ContainerLimits two = limits(
      R"({"limits": {"cpu": 2}, "requests": {"cpu": "100m"}})");
  EXPECT_EQ(two.cpu_request_milli, 100);
  EXPECT_EQ(two.cpu_limit_milli, 2000);
  EXPECT_EQ(two.memory_limit, 0);
}

}  // namespace
}  // namespace fairlead::kubelet
