// SPDX-License-Identifier: Apache-2.0
// Limits on memory, processor and processes, as the kernel of this machine
// enforces them: by cgroup v2 or, where v2 lacks the controllers, by v1.
#include "absl/time/clock.h"
#include "tests/netns/kubelet_fixture.h"
#include "userspace/base/mounts.h"

namespace fairlead {
namespace {

class KubeletLimitsTest : public KubeletTest {
 protected:
  void SetUp() override {
    const std::string v2 = *harness::CgroupMount();
    const std::string offered = ReadText(v2 + "/cgroup.controllers");
    v1_ = CgroupV1Mounts();
    for (const char* controller : {"cpu", "memory", "pids"}) {
      if (offered.find(controller) == std::string::npos &&
          !v1_.contains(controller)) {
        GTEST_SKIP() << "no controller for " << controller;
      }
    }
    KubeletTest::SetUp();
  }
  void TearDown() override {
    if (!cgroup_) return;  // skipped
    KubeletTest::TearDown();
    for (const auto& [controller, mount] : v1_)
      EXPECT_FALSE(fs::exists(mount + "/" + Name())) << "left behind";
  }
  // Of the test's own cgroup, in every hierarchy.
  std::string Name() const {
    return fs::path(cgroup_->path()).filename().string();
  }
  std::map<std::string, std::string> v1_;
};

// Doubles what it holds, and stops by itself when nobody else stops it.
constexpr char kEatsMemory[] =
    "x=x; while [ ${#x} -lt 100000000 ]; do x=$x$x; done";

TEST_F(KubeletLimitsTest, OutOfMemory) {
  StartKubelet();
  Json pod = Pod("greedy", {"/bin/sh", "-c", kEatsMemory},
                 {{"resources", {{"limits", {{"memory", "32Mi"}}}}}});
  pod["spec"]["restartPolicy"] = "Never";
  Create(pod);
  ASSERT_TRUE(Await("greedy", [](const Json& p) {
    return p["status"]["phase"] == "Failed";
  })) << Get("greedy").dump(1);
  const Json end = Container(Get("greedy"))["state"]["terminated"];
  EXPECT_EQ(end["reason"], "OOMKilled");
  EXPECT_EQ(end["exitCode"], 137);
  // A second run counts anew.
  pod = Pod("again",
            {"/bin/sh", "-c",
             StrCat("test -e ", Path("ran"), " && exit 3; echo x > ",
                    Path("ran"), "; ", kEatsMemory)},
            {{"resources", {{"limits", {{"memory", "32Mi"}}}}}});
  Create(pod);
  ASSERT_TRUE(Await("again", [](const Json& p) {
    const Json c = Container(p);
    return c.value("restartCount", 0) >= 1 &&
           c.value(Json::json_pointer("/lastState/terminated/exitCode"), 0) ==
               3;
  })) << Get("again").dump(1);
  EXPECT_EQ(Container(Get("again"))["lastState"]["terminated"]["reason"],
            "Error");
  EXPECT_THAT(ReadText(Path("kubelet.log")),
              ::testing::Not(HasSubstr("recorded, not enforced")));
}

// What runs beside the container's processes is bounded with them.
TEST_F(KubeletLimitsTest, AProbeCommandIsBoundedToo) {
  StartKubelet();
  Create(Pod("probed", {"/bin/sleep", "1000"},
             {{"resources", {{"limits", {{"memory", "32Mi"}}}}},
              {"readinessProbe",
               {{"exec", {{"command", {"/bin/sh", "-c", kEatsMemory}}}},
                {"periodSeconds", 60},
                {"timeoutSeconds", 60}}}}));
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("probed", "Unhealthy", "Readiness probe failed");
  }, absl::Seconds(20)));
}

TEST_F(KubeletLimitsTest, ProcessorTime) {
  StartKubelet();
  Json pod = Pod("busy", {"/bin/sh", "-c", "while :; do :; done"},
                 {{"resources", {{"limits", {{"cpu", "50m"}}}}}});
  pod["spec"]["terminationGracePeriodSeconds"] = 0;
  Create(pod);
  ASSERT_TRUE(AwaitReady("busy"));
  const auto used = [&] {
    std::istringstream stat(ReadText(CgroupOf(Get("busy")) + "/cpu.stat"));
    std::string name;
    int64_t value = 0;
    while (stat >> name >> value) {
      if (name == "usage_usec") return absl::Microseconds(value);
    }
    return absl::ZeroDuration();
  };
  const absl::Duration before = used();
  absl::SleepFor(absl::Seconds(3));
  const absl::Duration spent = used() - before;
  // A twentieth of the time; without a limit it has all that others leave.
  EXPECT_GT(spent, absl::Milliseconds(10));
  EXPECT_LT(spent, absl::Milliseconds(400));
}

TEST_F(KubeletLimitsTest, Processes) {
  extra_flags_ = {"--pod-max-pids", "10"};
  StartKubelet();
  Json pod = Pod("forks",
                 {"/bin/sh", "-c",
                  "for i in $(seq 30); do sleep 100 & done; sleep 1000"});
  pod["spec"]["terminationGracePeriodSeconds"] = 0;
  Create(pod);
  ASSERT_TRUE(Eventually([&] {
    return Logs().find("Cannot fork") != std::string::npos ||
           Logs().find("annot fork") != std::string::npos;
  })) << Logs();
  EXPECT_LE(Pids(Get("forks")).size(), 10u);
}

}  // namespace
}  // namespace fairlead
