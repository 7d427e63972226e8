// SPDX-License-Identifier: Apache-2.0
// What a pod needs next, and how long a crashing container waits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "userspace/kubelet/crash_backoff.h"
#include "userspace/kubelet/pod_plan.h"

namespace fairlead::kubelet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

class PlanTest : public ::testing::Test {
 protected:
  PlanTest() {
    spec_.containers = {{.name = "a"}, {.name = "b"}};
    view_.sandbox_ready = true;
  }
  void Runs(const std::string& name) {
    view_.containers[name].run =
        ContainerRun{.state = ContainerRun::State::kRunning};
  }
  void Exits(const std::string& name, int code,
             absl::Duration wait = absl::ZeroDuration()) {
    view_.containers[name].run = ContainerRun{
        .state = ContainerRun::State::kExited, .exit_code = code};
    view_.containers[name].restart_at = kNow + wait;
  }
  PodPlan Plan() { return PlanPod(spec_, view_, kNow); }

  PodSpec spec_;
  PodView view_;
};

TEST_F(PlanTest, SandboxBeforeContainers) {
  view_.sandbox_ready = false;
  EXPECT_TRUE(Plan().create_sandbox);
  EXPECT_THAT(Plan().start, IsEmpty());
  view_.sandbox_ready = true;
  EXPECT_FALSE(Plan().create_sandbox);
  EXPECT_THAT(Plan().start, ElementsAre("a", "b"));
}

TEST_F(PlanTest, NothingToDoWhileAllRun) {
  Runs("a");
  Runs("b");
  const PodPlan plan = Plan();
  EXPECT_THAT(plan.start, IsEmpty());
  EXPECT_FALSE(plan.finished);
  EXPECT_EQ(plan.wake, absl::InfiniteFuture());
}

TEST_F(PlanTest, RestartWaitsForTheBackoff) {
  Runs("a");
  Exits("b", 1, absl::Seconds(10));
  EXPECT_THAT(Plan().start, IsEmpty());
  EXPECT_EQ(Plan().wake, kNow + absl::Seconds(10));
  Exits("b", 1);
  EXPECT_THAT(Plan().start, ElementsAre("b"));
}

TEST_F(PlanTest, RestartPolicies) {
  struct Case {
    RestartPolicy policy;
    int code;
    bool restarted;
  };
  for (const Case& c : {Case{RestartPolicy::kAlways, 0, true},
                        Case{RestartPolicy::kAlways, 1, true},
                        Case{RestartPolicy::kOnFailure, 0, false},
                        Case{RestartPolicy::kOnFailure, 1, true},
                        Case{RestartPolicy::kNever, 0, false},
                        Case{RestartPolicy::kNever, 1, false}}) {
    spec_.restart_policy = c.policy;
    Exits("a", c.code);
    Exits("b", c.code);
    EXPECT_EQ(!Plan().start.empty(), c.restarted);
    EXPECT_EQ(Plan().finished, !c.restarted);
  }
}

TEST_F(PlanTest, InitContainersComeOneAfterTheOther) {
  spec_.init_containers = {
      {.name = "i1", .role = ContainerRole::kInit},
      {.name = "i2", .role = ContainerRole::kInit}};
  EXPECT_THAT(Plan().start, ElementsAre("i1"));
  Runs("i1");
  EXPECT_THAT(Plan().start, IsEmpty());
  Exits("i1", 0);
  EXPECT_THAT(Plan().start, ElementsAre("i2"));
  Exits("i2", 1);
  EXPECT_THAT(Plan().start, ElementsAre("i2")) << "Always: again";
  Exits("i2", 0);
  EXPECT_THAT(Plan().start, ElementsAre("a", "b"));
}

TEST_F(PlanTest, FailedInitContainerEndsAPodThatIsNotRestarted) {
  spec_.init_containers = {{.name = "i", .role = ContainerRole::kInit}};
  spec_.restart_policy = RestartPolicy::kNever;
  Exits("i", 1);
  EXPECT_TRUE(Plan().finished);
  EXPECT_THAT(Plan().start, IsEmpty());
}

TEST_F(PlanTest, SidecarsAreStartedFirstKeptRunningAndStoppedLast) {
  spec_.init_containers = {{.name = "s1", .role = ContainerRole::kSidecar},
                           {.name = "s2", .role = ContainerRole::kSidecar}};
  spec_.restart_policy = RestartPolicy::kNever;
  EXPECT_THAT(Plan().start, ElementsAre("s1"));
  Runs("s1");
  EXPECT_THAT(Plan().start, IsEmpty()) << "not before it has started";
  view_.containers["s1"].started = true;
  EXPECT_THAT(Plan().start, ElementsAre("s2"));
  Runs("s2");
  view_.containers["s2"].started = true;
  EXPECT_THAT(Plan().start, ElementsAre("a", "b"));
  Runs("a");
  Runs("b");
  Exits("s1", 0);
  EXPECT_THAT(Plan().start, ElementsAre("s1")) << "whatever the pod's policy";
  Runs("s1");
  Exits("a", 0);
  EXPECT_THAT(Plan().stop, IsEmpty());
  Exits("b", 1);
  EXPECT_THAT(Plan().stop, ElementsAre("s2"));
  EXPECT_FALSE(Plan().finished);
  Exits("s2", 137);
  EXPECT_THAT(Plan().start, IsEmpty());
  EXPECT_THAT(Plan().stop, ElementsAre("s1"));
  Exits("s1", 143);
  EXPECT_TRUE(Plan().finished);
}

TEST_F(PlanTest, AStoppingPodStartsNothing) {
  view_.stopping = true;
  Runs("a");
  EXPECT_THAT(Plan().start, IsEmpty());
  EXPECT_FALSE(Plan().finished);
  Exits("a", 143);
  EXPECT_TRUE(Plan().finished);
}

TEST(CrashBackoffTest, DoublesUpToTheMaximum) {
  CrashBackoff backoff;
  std::vector<double> seconds;
  for (int i = 0; i < 8; ++i) {
    seconds.push_back(
        absl::ToDoubleSeconds(backoff.OnExit(absl::Seconds(1))));
  }
  EXPECT_THAT(seconds, ElementsAre(0, 10, 20, 40, 80, 160, 300, 300));
}

TEST(CrashBackoffTest, ForgetsAfterALongRun) {
  CrashBackoff backoff;
  for (int i = 0; i < 5; ++i) (void)backoff.OnExit(absl::Seconds(1));
  EXPECT_EQ(backoff.OnExit(absl::Minutes(9)), absl::Seconds(160));
  EXPECT_EQ(backoff.OnExit(absl::Minutes(10)), absl::ZeroDuration());
  EXPECT_EQ(backoff.OnExit(absl::Seconds(1)), absl::Seconds(10));
}

}  // namespace
}  // namespace fairlead::kubelet
