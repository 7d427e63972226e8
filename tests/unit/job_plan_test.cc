// SPDX-License-Identifier: Apache-2.0
// A Job's plans, carried out on objects in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "control/controllers/job.h"
#include "tests/unit/fake_cluster.h"
#include "userspace/kube/control_resources.h"

namespace fairlead::controllers {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class JobTest : public testing::Test {
 protected:
  void AddJob(Json spec) {
    spec["template"] = {
        {"metadata", {{"labels", {{"app", "x"}}}}},
        {"spec",
         {{"containers", Json::array({{{"name", "c"}, {"image", "a"}}})},
          {"restartPolicy", "Never"}}}};
    cluster_.Put(kube::Jobs(),
                 {{"metadata", {{"namespace", "default"}, {"name", "j"}}},
                  {"spec", std::move(spec)}});
  }
  Object Job() { return cluster_.Get(kube::Jobs(), "default/j"); }
  const Json Status() { return (*Job())["status"]; }

  Plan MakePlan() {
    return PlanJob({Job(), cluster_.List(kube::Pods())}, cluster_.now);
  }

  std::vector<Object> Active() {
    std::vector<Object> active;
    for (const Object& pod : cluster_.List(kube::Pods())) {
      if (IsPodActive(*pod)) active.push_back(pod);
    }
    return active;
  }

  void End(const Json& pod, const char* phase, int exit_code = 1) {
    Json ended = pod;
    Json how = {{"finishedAt", Timestamp(cluster_.now)},
                {"exitCode",
                 std::string_view(phase) == "Failed" ? exit_code : 0}};
    ended["status"] = {
        {"phase", phase},
        {"containerStatuses",
         Json::array({{{"name", "c"}, {"state", {{"terminated", how}}}}})}};
    cluster_.Put(kube::Pods(), ended);
  }

  void Set(const char* field, Json value) {
    Json job = *Job();
    job["spec"][field] = std::move(value);
    cluster_.Put(kube::Jobs(), job);
  }

  // "index: failures before" of the pods that run.
  std::map<std::string, std::string> ActiveIndexes() {
    std::map<std::string, std::string> indexes;
    for (const Object& pod : Active()) {
      indexes[std::string(Annotation(
          *pod, "batch.kubernetes.io/job-completion-index"))] =
          Annotation(*pod, "batch.kubernetes.io/job-index-failure-count");
    }
    return indexes;
  }

  std::string Why(const char* condition) {
    Object job = Job();
    const Json* c = Condition(*job, condition);
    return c == nullptr ? "" : StrCat(Text(*c, {"reason"}), ": ",
                                      Text(*c, {"message"}));
  }

  void Settle() {
    for (int i = 0; i < 20 && cluster_.Apply(MakePlan()) > 0; ++i) {
    }
  }

  FakeCluster cluster_;
};

TEST_F(JobTest, RunsUntilEnoughHaveSucceeded) {
  AddJob({{"parallelism", 2}, {"completions", 3}, {"backoffLimit", 6}});
  Settle();
  EXPECT_THAT(Active(), SizeIs(2));
  EXPECT_EQ(Status()["active"], 2);
  for (const Object& pod : Active()) End(*pod, "Succeeded");
  Settle();
  EXPECT_THAT(Active(), SizeIs(1));
  EXPECT_EQ(Status()["succeeded"], 2);
  End(*Active()[0], "Succeeded");
  Settle();
  EXPECT_EQ(Status()["succeeded"], 3);
  EXPECT_TRUE(IsConditionTrue(*Job(), "Complete"));
  EXPECT_TRUE(Status().contains("completionTime"));
  EXPECT_THAT(Active(), IsEmpty());
  EXPECT_THAT(cluster_.announced, Contains("Created pod: %s"));
  for (const Object& pod : cluster_.List(kube::Pods())) {
    EXPECT_EQ(Get(*pod, {"metadata", "finalizers"}), Json::array());
  }
}

// Whatever part of a plan is carried out before the process dies, every pod
// is counted once.
TEST_F(JobTest, CountsEachPodOnceThroughCrashes) {
  for (size_t survive = 0; survive < 6; ++survive) {
    cluster_ = FakeCluster();
    AddJob({{"parallelism", 3}, {"completions", 3}, {"backoffLimit", 6}});
    Settle();
    for (const Object& pod : Active()) End(*pod, "Succeeded");
    for (int i = 0; i < 3; ++i) {
      Plan plan = MakePlan();
      std::stable_sort(
          plan.writes.begin(), plan.writes.end(),
          [](const Write& a, const Write& b) { return a.stage < b.stage; });
      plan.writes.resize(std::min(plan.writes.size(), survive));
      cluster_.Apply(std::move(plan));
      // Finished pods may go as soon as nothing holds them.
      for (const Object& pod : cluster_.List(kube::Pods())) {
        if (Get(*pod, {"metadata", "finalizers"}).empty()) {
          cluster_.Erase(kube::Pods(), kube::KeyOf(*pod));
        }
      }
    }
    Settle();
    EXPECT_EQ(Status()["succeeded"], 3) << survive;
    EXPECT_TRUE(IsConditionTrue(*Job(), "Complete")) << survive;
    EXPECT_EQ(Status()["uncountedTerminatedPods"], Json::object());
  }
}

TEST_F(JobTest, FailuresAreTriedAgainLaterAndAtLastGivenUp) {
  AddJob({{"parallelism", 1}, {"completions", 1}, {"backoffLimit", 2}});
  for (int i = 0; i < 3; ++i) {
    Settle();
    ASSERT_THAT(Active(), SizeIs(1)) << i;
    End(*Active()[0], "Failed");
    cluster_.Apply(MakePlan());
    if (i == 2) break;
    cluster_.Apply(MakePlan());
    EXPECT_THAT(Active(), IsEmpty()) << "no pause";
    EXPECT_EQ(MakePlan().again, absl::Seconds(10) * (1 << i));
    cluster_.now += absl::Seconds(10) * (1 << i);
  }
  Settle();
  EXPECT_EQ(Status()["failed"], 3);
  EXPECT_TRUE(IsConditionTrue(*Job(), "Failed"));
  EXPECT_EQ(Text(*Condition(*Job(), "Failed"), {"reason"}),
            "BackoffLimitExceeded");
  EXPECT_THAT(Active(), IsEmpty());
}

TEST_F(JobTest, AnIndexedJobRunsEachIndexOnce) {
  AddJob({{"parallelism", 2},
          {"completions", 4},
          {"backoffLimit", 6},
          {"completionMode", "Indexed"}});
  std::multiset<std::string> indexes;
  for (int i = 0; i < 4; ++i) {
    Settle();
    // One ends while another goes on.
    ASSERT_FALSE(Active().empty());
    Object pod = Active().back();
    indexes.emplace(
        Annotation(*pod, "batch.kubernetes.io/job-completion-index"));
    End(*pod, "Succeeded");
    Settle();
  }
  EXPECT_THAT(indexes, ElementsAre("0", "1", "2", "3"));
  EXPECT_EQ(Status()["completedIndexes"], "0-3");
  EXPECT_TRUE(IsConditionTrue(*Job(), "Complete"));
}

TEST_F(JobTest, SuspensionEndsItsPodsAndTheDeadlineEndsTheJob) {
  AddJob({{"parallelism", 1},
          {"completions", 1},
          {"activeDeadlineSeconds", 30},
          {"suspend", true}});
  Settle();
  EXPECT_THAT(Active(), IsEmpty());
  EXPECT_TRUE(IsConditionTrue(*Job(), "Suspended"));
  Json job = *Job();
  job["spec"]["suspend"] = false;
  cluster_.Put(kube::Jobs(), job);
  Settle();
  EXPECT_FALSE(IsConditionTrue(*Job(), "Suspended"));
  EXPECT_THAT(Active(), SizeIs(1));
  EXPECT_EQ(MakePlan().again, absl::Seconds(30));
  cluster_.now += absl::Seconds(30);
  Settle();
  EXPECT_THAT(Active(), IsEmpty());
  ASSERT_TRUE(IsConditionTrue(*Job(), "Failed"));
  EXPECT_EQ(Text(*Condition(*Job(), "Failed"), {"reason"}),
            "DeadlineExceeded");
}

TEST_F(JobTest, PodsThatAreTooManyAreNoFailures) {
  AddJob({{"parallelism", 3}, {"completions", 3}, {"backoffLimit", 0}});
  Settle();
  ASSERT_THAT(Active(), SizeIs(3));
  // Placed, so that their end takes its time.
  for (const Object& pod : Active()) {
    Json placed = *pod;
    placed["spec"]["nodeName"] = "n1";
    cluster_.Put(kube::Pods(), placed);
  }
  Set("parallelism", 1);
  Settle();
  EXPECT_THAT(Active(), SizeIs(1));
  Set("suspend", true);
  Settle();
  EXPECT_THAT(Active(), IsEmpty());
  EXPECT_EQ(Status()["terminating"], 3);
  // The kubelet has ended them by a signal.
  for (const Object& pod : cluster_.List(kube::Pods())) {
    End(*pod, "Failed", 137);
  }
  Settle();
  EXPECT_FALSE(Status().contains("failed")) << Status();
  Set("suspend", false);
  Settle();
  EXPECT_FALSE(IsConditionTrue(*Job(), "FailureTarget"));
  EXPECT_THAT(Active(), SizeIs(1));
}

// A pod that somebody else deletes has failed.
TEST_F(JobTest, ADeletedPodIsAFailure) {
  for (bool waits : {false, true}) {
    cluster_ = FakeCluster();
    AddJob({{"parallelism", 1},
            {"completions", 1},
            {"backoffLimit", 6},
            {"podReplacementPolicy", waits ? "Failed" : "TerminatingOrFailed"}});
    Settle();
    Json pod = *Active()[0];
    pod["metadata"]["deletionTimestamp"] =
        Timestamp(cluster_.now + absl::Seconds(30));
    cluster_.Put(kube::Pods(), pod);
    Settle();
    EXPECT_THAT(Active(), SizeIs(waits ? 0 : 1));
    EXPECT_EQ(Status()["terminating"], 1);
    if (waits) {
      EXPECT_EQ(MakePlan().again, absl::Seconds(30));
    }
    // Its node doesn't answer: not for ever.
    cluster_.now += absl::Seconds(30);
    Settle();
    EXPECT_EQ(Status()["failed"], 1);
    cluster_.Erase(kube::Pods(), kube::KeyOf(pod));
    Settle();
    EXPECT_THAT(Active(), SizeIs(1));
  }
}

TEST_F(JobTest, AnIgnoredFailureIsNone) {
  AddJob({{"parallelism", 1},
          {"completions", 1},
          {"backoffLimit", 0},
          {"podFailurePolicy",
           {{"rules",
             Json::array({{{"action", "Ignore"},
                           {"onPodConditions",
                            Json::array({{{"type", "DisruptionTarget"},
                                          {"status", "True"}}})}}})}}}});
  Settle();
  Object pod = Active()[0];
  End(*pod, "Failed");
  Json ended = *cluster_.Get(kube::Pods(), kube::KeyOf(*pod));
  ended["status"]["conditions"] = Json::array(
      {{{"type", "DisruptionTarget"}, {"status", "True"}}});
  cluster_.Put(kube::Pods(), ended);
  Settle();
  cluster_.now += absl::Seconds(10);
  Settle();
  EXPECT_FALSE(Status().contains("failed"));
  ASSERT_THAT(Active(), SizeIs(1));
  End(*Active()[0], "Failed");
  Settle();
  EXPECT_EQ(Status()["failed"], 1);
  EXPECT_EQ(Why("Failed"),
            "BackoffLimitExceeded: Job has reached the specified backoff "
            "limit");
}

TEST_F(JobTest, AnExitCodeMayFailTheJobAtOnce) {
  Json rules = Json::array(
      {{{"action", "Count"},
        {"onExitCodes", {{"operator", "In"}, {"values", {1, 2}}}}},
       {{"action", "FailJob"},
        {"onExitCodes",
         {{"operator", "NotIn"}, {"values", {3}}, {"containerName", "c"}}}}});
  AddJob({{"parallelism", 2},
          {"completions", 2},
          {"backoffLimit", 6},
          {"podFailurePolicy", {{"rules", rules}}}});
  Settle();
  for (int code : {1, 3}) {  // by the first rule; by none
    End(*Active()[0], "Failed", code);
    Settle();
    EXPECT_EQ(Why("FailureTarget"), "") << code;
    cluster_.now += absl::Minutes(1);
    Settle();
  }
  ASSERT_THAT(Active(), SizeIs(2));
  std::string name(Name(*Active()[0]));
  End(*Active()[0], "Failed", 42);
  Settle();
  EXPECT_EQ(Why("FailureTarget"),
            StrCat("PodFailurePolicy: Container c for pod default/", name,
                   " failed with exit code 42 matching FailJob rule at index "
                   "1"));
  EXPECT_THAT(Active(), IsEmpty());
  for (const Object& pod : cluster_.List(kube::Pods())) {
    if (IsTerminating(*pod)) cluster_.Erase(kube::Pods(), kube::KeyOf(*pod));
  }
  Settle();
  EXPECT_EQ(Why("Failed"), Why("FailureTarget"));
}

TEST_F(JobTest, AnIndexHasItsOwnLimit) {
  AddJob({{"parallelism", 2},
          {"completions", 2},
          {"completionMode", "Indexed"},
          {"backoffLimit", 1000},
          {"backoffLimitPerIndex", 1}});
  Settle();
  using Indexes = std::map<std::string, std::string>;
  EXPECT_EQ(ActiveIndexes(), (Indexes{{"0", "0"}, {"1", "0"}}));
  auto fail_first = [&] {
    for (const Object& pod : Active()) {
      if (Annotation(*pod, "batch.kubernetes.io/job-completion-index") == "0") {
        End(*pod, "Failed");
      }
    }
    Settle();
  };
  fail_first();
  EXPECT_EQ(ActiveIndexes(), (Indexes{{"1", "0"}})) << "no pause";
  EXPECT_EQ(MakePlan().again, absl::Seconds(10));
  // Somebody tidies up: how often it has failed is not forgotten.
  for (const Object& pod : cluster_.List(kube::Pods())) {
    if (Get(*pod, {"metadata", "finalizers"}).empty()) {
      cluster_.Erase(kube::Pods(), kube::KeyOf(*pod));
    }
  }
  cluster_.now += absl::Seconds(10);
  Settle();
  EXPECT_EQ(ActiveIndexes(), (Indexes{{"0", "1"}, {"1", "0"}}));
  EXPECT_EQ(Status()["failed"], 1);
  fail_first();
  cluster_.now += absl::Hours(1);
  Settle();
  EXPECT_EQ(ActiveIndexes(), (Indexes{{"1", "0"}})) << "given up";
  EXPECT_EQ(Status()["failedIndexes"], "0");
  EXPECT_FALSE(IsConditionTrue(*Job(), "Failed")) << "the other goes on";
  End(*Active()[0], "Succeeded");
  Settle();
  EXPECT_EQ(Status()["completedIndexes"], "1");
  EXPECT_EQ(Status()["failed"], 2);
  EXPECT_EQ(Why("Failed"), "FailedIndexes: Job has failed indexes");
}

TEST_F(JobTest, NoMoreIndexesMayFailThanItSays) {
  AddJob({{"parallelism", 3},
          {"completions", 3},
          {"completionMode", "Indexed"},
          {"backoffLimit", 1000},
          {"backoffLimitPerIndex", 5},
          {"maxFailedIndexes", 1},
          {"podFailurePolicy",
           {{"rules",
             Json::array({{{"action", "FailIndex"},
                           {"onExitCodes",
                            {{"operator", "In"}, {"values", {9}}}}}})}}}});
  Settle();
  End(*Active()[0], "Failed", 9);
  Settle();
  EXPECT_EQ(Status()["failedIndexes"], "0");
  EXPECT_THAT(Active(), SizeIs(2));
  End(*Active()[0], "Failed", 9);
  Settle();
  EXPECT_THAT(Active(), IsEmpty());
  EXPECT_EQ(Why("FailureTarget"),
            "MaxFailedIndexesExceeded: Job has exceeded the specified maximal "
            "number of failed indexes");
}

TEST_F(JobTest, TheLeaderMayBeEnough) {
  AddJob({{"parallelism", 3},
          {"completions", 3},
          {"completionMode", "Indexed"},
          {"backoffLimit", 6},
          {"successPolicy",
           {{"rules", Json::array({{{"succeededIndexes", "0"}}})}}}});
  Settle();
  for (const Object& pod : Active()) {
    if (Annotation(*pod, "batch.kubernetes.io/job-completion-index") == "1") {
      End(*pod, "Succeeded");
    }
  }
  Settle();
  EXPECT_EQ(Why("SuccessCriteriaMet"), "");
  for (const Object& pod : Active()) {
    if (Annotation(*pod, "batch.kubernetes.io/job-completion-index") == "0") {
      End(*pod, "Succeeded");
    }
  }
  Settle();
  EXPECT_EQ(Why("SuccessCriteriaMet"),
            "SuccessPolicy: Matched rules at index 0");
  EXPECT_THAT(Active(), IsEmpty());
  Settle();
  EXPECT_EQ(Why("Complete"), "SuccessPolicy: Matched rules at index 0");
  EXPECT_FALSE(Status().contains("failed"));
}

TEST_F(JobTest, SomebodyElsesIsLeftAlone) {
  AddJob({{"parallelism", 1}, {"managedBy", "example.com/queue"}});
  EXPECT_THAT(MakePlan().writes, IsEmpty());
}

TEST_F(JobTest, AFinishedOneExpires) {
  AddJob({{"parallelism", 1},
          {"completions", 1},
          {"ttlSecondsAfterFinished", 60}});
  Settle();
  End(*Active()[0], "Succeeded");
  Settle();
  EXPECT_EQ(MakePlan().again, absl::Seconds(60));
  cluster_.now += absl::Seconds(60);
  cluster_.Apply(MakePlan());
  EXPECT_EQ(Job(), nullptr);
}

TEST_F(JobTest, RestartsInPlaceCountWhereThePodIsKept) {
  AddJob({{"parallelism", 1}, {"completions", 1}, {"backoffLimit", 2}});
  Json job = *Job();
  job["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure";
  cluster_.Put(kube::Jobs(), job);
  Settle();
  for (int restarts : {1, 2}) {
    Json pod = *Active()[0];
    pod["status"] = {{"phase", "Running"},
                     {"containerStatuses",
                      Json::array({{{"restartCount", restarts}}})}};
    cluster_.Put(kube::Pods(), pod);
    Settle();
    EXPECT_EQ(IsConditionTrue(*Job(), "FailureTarget"), restarts == 2);
  }
}

TEST(JobIndexes, AreWrittenAsRanges) {
  EXPECT_EQ(FormatIndexes({0, 1, 2, 5, 7, 8}), "0-2,5,7,8");
  EXPECT_THAT(ParseIndexes("0-2,5,7,8,x"), ElementsAre(0, 1, 2, 5, 7, 8));
  EXPECT_THAT(ParseIndexes("3-1"), IsEmpty());
}

}  // namespace
}  // namespace fairlead::controllers
