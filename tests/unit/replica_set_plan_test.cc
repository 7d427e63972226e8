// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/controllers/replica_set.h"
#include "tests/unit/fake_cluster.h"

namespace fairlead::controllers {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

Object PodOf(const std::string& name, const std::string& overrides = "{}") {
  Json pod = Json::parse(R"({"metadata": {"namespace": "default",
      "labels": {"app": "web"}, "ownerReferences": [{"apiVersion": "apps/v1",
      "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true}]},
      "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}})");
  pod["metadata"]["name"] = name;
  pod["metadata"]["uid"] = "uid-" + name;
  pod["metadata"]["creationTimestamp"] = Timestamp(kNow - absl::Hours(1));
  pod["status"]["conditions"] = Json::array(
      {{{"type", "Ready"},
        {"status", "True"},
        {"lastTransitionTime", Timestamp(kNow - absl::Hours(1))}}});
  pod.merge_patch(Json::parse(overrides));
  return std::make_shared<const Json>(std::move(pod));
}

Object Web(int replicas) {
  Json rs = Json::parse(R"({"metadata": {"namespace": "default", "name": "web",
      "uid": "rs", "generation": 1}, "spec": {
      "selector": {"matchLabels": {"app": "web"}},
      "template": {"metadata": {"labels": {"app": "web"}},
                   "spec": {"containers": [{"name": "c"}]}}}})");
  rs["spec"]["replicas"] = replicas;
  return std::make_shared<const Json>(std::move(rs));
}

std::vector<std::string> Log(const Plan& plan) {
  std::vector<std::string> log;
  for (const Write& w : plan.writes) log.push_back(Describe(w));
  return log;
}

// Each row: the first goes before a plain pod "b", for the reason named.
struct RankRow {
  const char* reason;
  const char* first;
  const char* second = "{}";
};
class RankTest : public testing::TestWithParam<RankRow> {};

TEST_P(RankTest, GoesFirst) {
  const RankRow& row = GetParam();
  // Named so that the name alone would decide otherwise.
  std::vector<Object> pods = {PodOf("a-keep", row.second),
                              PodOf("z-first", row.first)};
  std::vector<Object> related = pods;
  related.push_back(PodOf("other", R"({"spec": {"nodeName": "crowded"}})"));
  auto ranked = RankForDeletion(pods, related, kNow);
  EXPECT_EQ(Name(*ranked[0]), "z-first") << row.reason;
}

INSTANTIATE_TEST_SUITE_P(
    Rows, RankTest,
    testing::Values(
        RankRow{"not placed", R"({"spec": {"nodeName": null}})",
                R"({"status": {"phase": "Pending"}})"},
        RankRow{"pending", R"({"status": {"phase": "Pending"}})",
                R"({"status": {"phase": "Unknown"}})"},
        RankRow{"unknown", R"({"status": {"phase": "Unknown"}})"},
        RankRow{"not ready", R"({"status": {"conditions": []}})",
                R"({"metadata": {"annotations": {
                   "controller.kubernetes.io/pod-deletion-cost": "-5"}}})"},
        RankRow{"cheap", R"({"metadata": {"annotations": {
                   "controller.kubernetes.io/pod-deletion-cost": "-5"}}})",
                R"({"spec": {"nodeName": "crowded"}})"},
        RankRow{"crowded node", R"({"spec": {"nodeName": "crowded"}})",
                R"({"status": {"containerStatuses": [{"restartCount": 9}]}})"},
        RankRow{"ready for a short time",
                R"({"status": {"conditions": [{"type": "Ready",
                   "status": "True",
                   "lastTransitionTime": "2027-01-15T07:59:50Z"}]}})",
                R"({"status": {"containerStatuses": [{"restartCount": 9}]}})"},
        RankRow{"restarts",
                R"({"status": {"containerStatuses": [{"restartCount": 2}]}})",
                R"({"metadata":
                   {"creationTimestamp": "2027-01-15T07:59:50Z"}})"},
        RankRow{"young", R"({"metadata":
                   {"creationTimestamp": "2027-01-15T07:59:50Z"}})"}));

TEST(ReplicaSetPlan, CreatesInBatchesThatDouble) {
  Plan plan = PlanReplicaSet({.replica_set = Web(10)}, kNow);
  std::map<int, int> stages;
  for (const Write& w : plan.writes) {
    if (w.verb == Verb::kCreate) ++stages[w.stage];
  }
  EXPECT_EQ(stages,
            (std::map<int, int>{{1, 1}, {2, 2}, {3, 4}, {4, 3}}));
  const Json& pod = plan.writes.back().body;
  EXPECT_EQ(Text(pod, {"metadata", "generateName"}), "web-");
  EXPECT_EQ(ControllerUid(pod), "rs");
  EXPECT_EQ(Label(pod, "app"), "web");
}

TEST(ReplicaSetPlan, CountsOnlyLivingPods) {
  ReplicaSetFacts facts{.replica_set = Web(2)};
  facts.pods = {PodOf("ok"),
                PodOf("failed", R"({"status": {"phase": "Failed"}})"),
                PodOf("going", R"({"metadata":
                    {"deletionTimestamp": "2027-01-15T08:00:30Z"}})")};
  Plan plan = PlanReplicaSet(facts, kNow);
  EXPECT_THAT(Log(plan),
              testing::ElementsAre("update-status replicasets default/web",
                                   "create pods default/web-"));
  const Json& status = plan.writes[0].body["status"];
  EXPECT_EQ(status["replicas"], 1);
  EXPECT_EQ(status["readyReplicas"], 1);
  EXPECT_EQ(status["terminatingReplicas"], 1);
}

TEST(ReplicaSetPlan, AdoptsMatchesAndReleasesStrays) {
  ReplicaSetFacts facts{.replica_set = Web(1)};
  facts.pods = {
      PodOf("orphan", R"({"metadata": {"ownerReferences": null}})"),
      PodOf("stray", R"({"metadata": {"labels": {"app": "debug"}}})"),
      PodOf("taken", R"({"metadata": {"ownerReferences":
          [{"uid": "other", "controller": true}]}})")};
  Plan plan = PlanReplicaSet(facts, kNow);
  EXPECT_THAT(Log(plan),
              testing::ElementsAre("patch pods default/orphan",
                                   "patch pods default/stray",
                                   "update-status replicasets default/web"));
  EXPECT_EQ(ControllerUid(plan.writes[0].body), "rs");
  EXPECT_EQ(ControllerUid(plan.writes[1].body), "");
}

TEST(ReplicaSetPlan, LeavesPodsAloneWhenItIsBeingDeleted) {
  Json rs = *Web(5);
  rs["metadata"]["deletionTimestamp"] = Timestamp(kNow);
  ReplicaSetFacts facts{.replica_set = std::make_shared<const Json>(rs),
                        .pods = {PodOf("a")}};
  for (const Write& w : PlanReplicaSet(facts, kNow).writes) {
    EXPECT_EQ(w.verb, Verb::kUpdateStatus);
  }
}

}  // namespace
}  // namespace fairlead::controllers
