// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "control/controllers/deployment.h"
#include "control/controllers/replica_set.h"
#include "control/controllers/rollout.h"
#include "tests/unit/fake_cluster.h"

namespace fairlead::controllers {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Json WebDeployment(int replicas, const std::string& image) {
  return {{"apiVersion", "apps/v1"},
          {"kind", "Deployment"},
          {"metadata", {{"name", "web"}, {"namespace", "default"}}},
          {"spec",
           {{"replicas", replicas},
            {"selector", {{"matchLabels", {{"app", "web"}}}}},
            {"template",
             {{"metadata", {{"labels", {{"app", "web"}}}}},
              {"spec",
               {{"containers",
                 Json::array({{{"name", "c"}, {"image", image}}})}}}}}}}};
}

// --- arithmetic

struct SpecRow {
  int replicas;
  Json surge, unavailable;
  int want_surge, want_unavailable;
};

class SpecTest : public testing::TestWithParam<SpecRow> {};

TEST_P(SpecTest, Rounds) {
  const SpecRow& row = GetParam();
  Json d = WebDeployment(row.replicas, "a");
  d["spec"]["strategy"] = {{"type", "RollingUpdate"},
                           {"rollingUpdate",
                            {{"maxSurge", row.surge},
                             {"maxUnavailable", row.unavailable}}}};
  RolloutSpec spec = RolloutSpecOf(d);
  EXPECT_EQ(spec.max_surge, row.want_surge);
  EXPECT_EQ(spec.max_unavailable, row.want_unavailable);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, SpecTest,
    testing::Values(SpecRow{1, "25%", "25%", 1, 0},
                    SpecRow{3, "25%", "25%", 1, 0},
                    SpecRow{4, "25%", "25%", 1, 1},
                    SpecRow{10, "25%", "25%", 3, 2},
                    SpecRow{10, "30%", "0%", 3, 0},
                    SpecRow{10, 0, 0, 0, 1},      // would never move
                    SpecRow{10, "0%", "5%", 0, 1},  // likewise
                    SpecRow{2, 1, 5, 1, 2},       // not more than there are
                    SpecRow{10, "100%", "100%", 10, 10}));

struct NewRow {
  int replicas, surge, total, current, want;
};
class NewReplicasTest : public testing::TestWithParam<NewRow> {};
TEST_P(NewReplicasTest, Arithmetic) {
  const NewRow& row = GetParam();
  RolloutSpec spec{.replicas = row.replicas, .max_surge = row.surge};
  EXPECT_EQ(NewReplicas(spec, row.total, row.current), row.want);
}
INSTANTIATE_TEST_SUITE_P(Rows, NewReplicasTest,
                         testing::Values(NewRow{3, 1, 0, 0, 3},
                                         NewRow{3, 1, 3, 0, 1},
                                         NewRow{3, 1, 4, 1, 1},
                                         NewRow{3, 0, 3, 0, 0},
                                         NewRow{3, 0, 2, 0, 1},
                                         NewRow{10, 3, 12, 2, 3},
                                         NewRow{2, 1, 5, 4, 2}));

struct OldRow {
  int replicas, surge, unavailable;
  int current, current_available;
  std::vector<std::pair<int, int>> old;  // wanted, available
  std::vector<int> want;
};
class ScaleDownTest : public testing::TestWithParam<OldRow> {};
TEST_P(ScaleDownTest, Arithmetic) {
  const OldRow& row = GetParam();
  RolloutSpec spec{.replicas = row.replicas,
                   .max_surge = row.surge,
                   .max_unavailable = row.unavailable};
  std::vector<ReplicaSetState> old;
  for (auto [wanted, available] : row.old) {
    Json rs = {{"metadata", {{"name", StrCat("rs", old.size())}}}};
    old.push_back({std::make_shared<const Json>(rs), wanted, available});
  }
  ReplicaSetState current{.replicas = row.current,
                          .available = row.current_available};
  ScaleDownOld(spec, old, current);
  std::vector<int> got;
  for (const auto& rs : old) got.push_back(rs.replicas);
  EXPECT_EQ(got, row.want);
}
INSTANTIATE_TEST_SUITE_P(
    Rows, ScaleDownTest,
    testing::Values(
        // The new pod is not available: nothing may go.
        OldRow{3, 1, 0, 1, 0, {{3, 3}}, {3}},
        OldRow{3, 1, 0, 1, 1, {{3, 3}}, {2}},
        // The old status is behind its spec: still only what was asked.
        OldRow{3, 1, 0, 2, 1, {{2, 3}}, {2}},
        OldRow{10, 3, 2, 3, 0, {{10, 10}}, {8}},
        // Sick old pods go first and free of charge.
        OldRow{3, 1, 1, 1, 0, {{3, 0}}, {2}},
        OldRow{4, 1, 1, 1, 1, {{2, 0}, {2, 2}}, {0, 2}},
        OldRow{3, 1, 0, 3, 3, {{1, 1}}, {0}},
        OldRow{3, 1, 0, 3, 3, {{0, 0}}, {0}}));

// A scaling while a rollout is under way.
struct ShareRow {
  const char* why;
  int replicas, surge;        // wanted now
  int max_before;             // the annotation; 0: there is none
  int current;                // of the new ReplicaSet; -1: there is none
  std::vector<int> old;       // the newest first
  int want_current;
  std::vector<int> want_old;
  int available = 0;          // of the new one
  int desired_before = 0;     // its annotation
};
void PrintTo(const ShareRow& row, std::ostream* os) { *os << row.why; }

class ShareTest : public testing::TestWithParam<ShareRow> {};

ReplicaSetState Share(int number, int replicas, const ShareRow& row) {
  Json rs = {{"metadata",
              {{"name", StrCat("rs-", number)},
               {"creationTimestamp",
                Timestamp(absl::FromUnixSeconds(1000 - number))}}}};
  auto annotate = [&](const char* key, int value) {
    if (value > 0) rs["metadata"]["annotations"][key] = std::to_string(value);
  };
  annotate(kMaxReplicas, row.max_before);
  if (number == 0) annotate(kDesiredReplicas, row.desired_before);
  return {.object = std::make_shared<const Json>(rs),
          .replicas = replicas,
          .available = number == 0 ? row.available : replicas};
}

TEST_P(ShareTest, ByTheSizes) {
  const ShareRow& row = GetParam();
  RolloutSpec spec{.replicas = row.replicas, .max_surge = row.surge};
  std::vector<ReplicaSetState> old;
  int total = std::max(row.current, 0);
  for (int size : row.old) {
    total += size;
    old.push_back(Share(static_cast<int>(old.size()) + 1, size, row));
  }
  ReplicaSetState current = Share(0, row.current, row);
  bool changed = ScaleProportionally(spec, total, old,
                                     row.current < 0 ? nullptr : &current);
  EXPECT_EQ(current.replicas, row.want_current);
  std::vector<int> sizes;
  for (const auto& rs : old) sizes.push_back(rs.replicas);
  EXPECT_EQ(sizes, row.want_old);
  EXPECT_EQ(changed,
            row.current != row.want_current || row.old != row.want_old);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, ShareTest,
    testing::Values(
        ShareRow{"one alone grows", 12, 0, 10, 10, {}, 12, {}},
        ShareRow{"one alone shrinks", 5, 0, 10, 10, {0}, 5, {0}},
        ShareRow{"an old one alone", 7, 2, 6, 0, {5, 0}, 0, {7, 0}},
        ShareRow{"of none the newest", 3, 1, 6, -1, {0, 0}, -1, {3, 0}},
        ShareRow{"twice as many", 10, 0, 5, 2, {3}, 4, {6}},
        ShareRow{"fewer", 3, 0, 5, 2, {3}, 1, {2}},
        ShareRow{"the small one goes", 4, 0, 9, 8, {1}, 4, {0}},
        ShareRow{"three grow", 10, 0, 7, 2, {3, 2}, 3, {4, 3}},
        ShareRow{"three shrink", 8, 0, 13, 2, {8, 3}, 1, {5, 2}},
        ShareRow{"the rounding is the biggest's", 8, 0, 7, 2, {3, 2}, 2,
                 {4, 2}},
        ShareRow{"of equals the newer grows", 5, 0, 4, 2, {2}, 3, {2}},
        ShareRow{"of equals the older shrinks", 3, 0, 4, 2, {2}, 2, {1}},
        ShareRow{"with a surge", 20, 2, 12, 6, {6}, 11, {11}},
        ShareRow{"by what there might be, not by what there is", 20, 0, 20, 4,
                 {6}, 4, {16}},
        ShareRow{"another surge, too", 50, 6, 13, 5, {8}, 22, {34}},
        ShareRow{"without a new one", 14, 0, 10, -1, {7, 3}, -1, {10, 4}},
        ShareRow{"without the annotation by the status", 20, 5, 0, 5, {8}, 10,
                 {15}},
        ShareRow{"to nothing", 0, 3, 13, 5, {8}, 0, {0}},
        ShareRow{"all that may be is there", 2, 1, 3, 2, {1}, 2, {1}},
        ShareRow{"the new ones are all there", 4, 1, 5, 4, {1}, 4, {0}, 4, 4},
        ShareRow{"as many as are wanted now, by chance", 4, 1, 5, 4, {1}, 4,
                 {1}, 4, 9}));

TEST(TemplateHash, IsStableAndCollisionsChangeIt) {
  Json a = {{"spec", {{"x", 1}, {"y", 2}}}};
  Json b = Json::parse(R"({"spec":{"y":2,"x":1}})");
  EXPECT_EQ(TemplateHash(a, 0), TemplateHash(b, 0));
  EXPECT_NE(TemplateHash(a, 0), TemplateHash(a, 1));
  EXPECT_EQ(TemplateHash(a, 0).find_first_not_of("bcdfghjklmnpqrstvwxz2456789"),
            std::string::npos);
}

// --- whole plans, carried out on objects in memory

class RolloutTest : public testing::Test {
 protected:
  void Deploy(Json deployment) {
    Object before = cluster_.Get(kube::Deployments(), kKey);
    if (before != nullptr) {
      Json merged = *before;
      merged["spec"] = deployment["spec"];
      merged["metadata"]["generation"] = Generation(*before) + 1;
      deployment = merged;
    }
    cluster_.Put(kube::Deployments(), deployment);
  }

  Object Get() { return cluster_.Get(kube::Deployments(), kKey); }

  int SyncDeployment() {
    DeploymentFacts facts{.deployment = Get(),
                          .replica_sets = cluster_.List(kube::ReplicaSets()),
                          .pods = cluster_.List(kube::Pods())};
    return cluster_.Apply(PlanDeployment(facts, cluster_.now));
  }

  int SyncReplicaSet(const Object& rs) {
    ReplicaSetFacts facts{.replica_set = rs};
    for (const Object& pod : cluster_.List(kube::Pods())) {
      if (ControllerUid(*pod) == Uid(*rs)) facts.pods.push_back(pod);
    }
    facts.related = cluster_.List(kube::Pods());
    return cluster_.Apply(PlanReplicaSet(facts, cluster_.now));
  }

  int SyncReplicaSets() {
    int writes = 0;
    for (const Object& rs : cluster_.List(kube::ReplicaSets())) {
      writes += SyncReplicaSet(rs);
    }
    return writes;
  }

  // The kubelet's part for one pod.
  void Run(const Object& pod, bool ready) {
    Json running = *pod;
    running["spec"]["nodeName"] = "n1";
    running["status"] = {
        {"phase", "Running"},
        {"conditions",
         Json::array({{{"type", "Ready"},
                       {"status", ready ? "True" : "False"},
                       {"lastTransitionTime", Timestamp(cluster_.now)}}})}};
    cluster_.Put(kube::Pods(), running);
  }

  int KubeletStep(bool (*healthy)(const Json&) = nullptr) {
    int steps = 0;
    for (const Object& pod : cluster_.List(kube::Pods())) {
      if (IsTerminating(*pod)) {
        cluster_.Erase(kube::Pods(), kube::KeyOf(*pod));
        ++steps;
      } else if (!IsPodReady(*pod) && (!healthy || healthy(*pod))) {
        Run(pod, true);
        ++steps;
      }
    }
    return steps;
  }

  void Settle() {
    for (int i = 0; i < 500; ++i) {
      int work = SyncDeployment() + SyncReplicaSets() + KubeletStep();
      if (work == 0) return;
    }
    FAIL() << "does not settle: " << testing::PrintToString(cluster_.log);
  }

  std::map<std::string, int> PodsByImage(bool ready_only) {
    std::map<std::string, int> counts;
    for (const Object& pod : cluster_.List(kube::Pods())) {
      if (!IsPodActive(*pod) || (ready_only && !IsPodReady(*pod))) continue;
      ++counts[std::string(
          Text((*pod)["spec"]["containers"][0], {"image"}))];
    }
    return counts;
  }

  int Active(bool ready_only) {
    int total = 0;
    for (auto [image, count] : PodsByImage(ready_only)) total += count;
    return total;
  }

  std::string ConditionText(const char* type) {
    Object d = Get();
    const Json* c = Condition(*d, type);
    if (c == nullptr) return "none";
    return StrCat(Text(*c, {"status"}), " ", Text(*c, {"reason"}));
  }

  static constexpr char kKey[] = "default/web";
  FakeCluster cluster_;
};

TEST_F(RolloutTest, FirstRolloutCompletes) {
  Deploy(WebDeployment(3, "a"));
  SyncDeployment();
  EXPECT_EQ(ConditionText("Progressing"), "True NewReplicaSetCreated");
  Settle();
  EXPECT_EQ(PodsByImage(true), (std::map<std::string, int>{{"a", 3}}));
  Object d = Get();
  const Json& status = (*d)["status"];
  EXPECT_EQ(status["replicas"], 3);
  EXPECT_EQ(status["updatedReplicas"], 3);
  EXPECT_EQ(status["availableReplicas"], 3);
  EXPECT_EQ(status["observedGeneration"], Generation(*d));
  EXPECT_FALSE(status.contains("unavailableReplicas"));
  EXPECT_EQ(ConditionText("Available"), "True MinimumReplicasAvailable");
  EXPECT_EQ(ConditionText("Progressing"), "True NewReplicaSetAvailable");
  EXPECT_EQ(Annotation(*d, kRevision), "1");
  EXPECT_THAT(cluster_.announced,
              Contains(HasSubstr("Scaled up replica set web-")));
  EXPECT_THAT(cluster_.announced, Contains(HasSubstr(" from 0 to 3")));
}

TEST_F(RolloutTest, SettledPlansWriteNothing) {
  Deploy(WebDeployment(3, "a"));
  Settle();
  cluster_.now += absl::Hours(10);
  EXPECT_EQ(SyncDeployment(), 0);
  EXPECT_EQ(SyncReplicaSets(), 0);
}

// Each seed is another order of events; the bounds hold after every write.
TEST_F(RolloutTest, StaysWithinItsBoundsInAnyOrder) {
  for (int seed = 1; seed <= 15; ++seed) {
    SCOPED_TRACE(seed);
    cluster_ = FakeCluster();
    std::mt19937 random(seed);
    auto pick = [&](int n) {
      return static_cast<int>(random() % static_cast<unsigned>(n));
    };
    int replicas = 1 + pick(8), surge = pick(4), unavailable = pick(4);
    if (surge + unavailable == 0) surge = 1;
    Json d = WebDeployment(replicas, "a");
    d["spec"]["strategy"] = {{"rollingUpdate",
                              {{"maxSurge", surge},
                               {"maxUnavailable", unavailable}}}};
    Deploy(d);
    Settle();
    d["spec"]["template"]["spec"]["containers"][0]["image"] = "b";
    Deploy(d);
    bool again = false;
    for (int step = 0; step < 400; ++step) {
      switch (pick(4)) {
        case 0:
          SyncDeployment();
          break;
        case 1:
          if (auto sets = cluster_.List(kube::ReplicaSets()); !sets.empty()) {
            SyncReplicaSet(sets[pick(static_cast<int>(sets.size()))]);
          }
          break;
        case 2:
          if (auto pods = cluster_.List(kube::Pods()); !pods.empty()) {
            Object pod = pods[pick(static_cast<int>(pods.size()))];
            if (IsTerminating(*pod)) {
              cluster_.Erase(kube::Pods(), kube::KeyOf(*pod));
            } else if (!IsPodReady(*pod)) {
              Run(pod, true);
            }
          }
          break;
        case 3:  // a third version on top of the unfinished second
          if (!again && step > 20) {
            again = true;
            d["spec"]["template"]["spec"]["containers"][0]["image"] = "c";
            Deploy(d);
          }
          break;
      }
      ASSERT_LE(Active(false), replicas + surge);
      ASSERT_GE(Active(true), replicas - std::min(replicas, unavailable));
    }
    Settle();
    std::string last = again ? "c" : "b";
    EXPECT_EQ(PodsByImage(true),
              (std::map<std::string, int>{{last, replicas}}));
  }
}

TEST_F(RolloutTest, StopsAtABadImage) {
  Deploy(WebDeployment(4, "a"));
  Settle();
  Deploy(WebDeployment(4, "bad"));
  auto healthy = [](const Json& pod) {
    return pod["spec"]["containers"][0]["image"] != "bad";
  };
  for (int i = 0; i < 50; ++i) {
    SyncDeployment();
    SyncReplicaSets();
    KubeletStep(healthy);
  }
  // 25%: one may be missing, one more may be there.
  EXPECT_EQ(PodsByImage(true), (std::map<std::string, int>{{"a", 3}}));
  EXPECT_EQ(PodsByImage(false)["bad"], 2);
  EXPECT_EQ(ConditionText("Available"), "True MinimumReplicasAvailable");
  EXPECT_EQ(ConditionText("Progressing"), "True ReplicaSetUpdated");
  cluster_.now += absl::Seconds(602);
  SyncDeployment();
  EXPECT_EQ(ConditionText("Progressing"), "False ProgressDeadlineExceeded");
  // Back to the old template: the clock starts again, the old set is used.
  Deploy(WebDeployment(4, "a"));
  Settle();
  EXPECT_EQ(PodsByImage(true), (std::map<std::string, int>{{"a", 4}}));
  EXPECT_EQ(ConditionText("Progressing"), "True NewReplicaSetAvailable");
  EXPECT_EQ(cluster_.List(kube::ReplicaSets()).size(), 2u);
  EXPECT_EQ(Annotation(*Get(), kRevision), "3");
}

TEST_F(RolloutTest, ScalesUpAndDown) {
  Deploy(WebDeployment(3, "a"));
  Settle();
  for (int replicas : {6, 1, 0, 2}) {
    Deploy(WebDeployment(replicas, "a"));
    Settle();
    EXPECT_EQ(Active(true), replicas);
    EXPECT_EQ(Number(*Get(), {"status", "availableReplicas"}), replicas);
  }
  EXPECT_THAT(cluster_.announced, Contains(HasSubstr(" from 3 to 6")));
  EXPECT_THAT(cluster_.announced, Contains(HasSubstr(" from 6 to 1")));
}

TEST_F(RolloutTest, RecreateNeverMixesVersions) {
  Json d = WebDeployment(3, "a");
  d["spec"]["strategy"] = {{"type", "Recreate"}};
  Deploy(d);
  Settle();
  d["spec"]["template"]["spec"]["containers"][0]["image"] = "b";
  Deploy(d);
  for (int i = 0; i < 100; ++i) {
    SyncDeployment();
    SyncReplicaSets();
    // Terminating pods still run.
    std::set<std::string> images;
    for (const Object& pod : cluster_.List(kube::Pods())) {
      images.insert(
          std::string(Text((*pod)["spec"]["containers"][0], {"image"})));
    }
    ASSERT_LE(images.size(), 1u);
    if (i % 3 == 0) KubeletStep();
  }
  EXPECT_EQ(PodsByImage(true), (std::map<std::string, int>{{"b", 3}}));
}

TEST_F(RolloutTest, PausedMakesNoNewVersionButScales) {
  Deploy(WebDeployment(2, "a"));
  Settle();
  Json d = WebDeployment(4, "b");
  d["spec"]["paused"] = true;
  Deploy(d);
  Settle();
  EXPECT_EQ(PodsByImage(true), (std::map<std::string, int>{{"a", 4}}));
  EXPECT_EQ(ConditionText("Progressing"), "Unknown DeploymentPaused");
  d["spec"]["paused"] = false;
  Deploy(d);
  Settle();
  EXPECT_EQ(PodsByImage(true), (std::map<std::string, int>{{"b", 4}}));
  EXPECT_EQ(ConditionText("Progressing"), "True NewReplicaSetAvailable");
}

TEST_F(RolloutTest, KeepsAsMuchHistoryAsAsked) {
  for (const char* image : {"a", "b", "c", "d", "e"}) {
    Json d = WebDeployment(1, image);
    d["spec"]["revisionHistoryLimit"] = 2;
    Deploy(d);
    Settle();
  }
  std::vector<std::string> revisions;
  for (const Object& rs : cluster_.List(kube::ReplicaSets())) {
    revisions.emplace_back(Annotation(*rs, kRevision));
  }
  std::sort(revisions.begin(), revisions.end());
  EXPECT_THAT(revisions, ElementsAre("3", "4", "5"));
  EXPECT_EQ(Annotation(*Get(), kRevision), "5");
}

TEST_F(RolloutTest, MinReadySecondsHoldsTheRolloutBack) {
  Json d = WebDeployment(2, "a");
  d["spec"]["minReadySeconds"] = 10;
  Deploy(d);
  Settle();
  EXPECT_EQ(Number(*Get(), {"status", "readyReplicas"}), 2);
  EXPECT_EQ(Number(*Get(), {"status", "availableReplicas"}), 0);
  EXPECT_EQ(ConditionText("Available"), "False MinimumReplicasUnavailable");
  ReplicaSetFacts facts{.replica_set = cluster_.List(kube::ReplicaSets())[0],
                        .pods = cluster_.List(kube::Pods())};
  EXPECT_EQ(PlanReplicaSet(facts, cluster_.now).again, absl::Seconds(10));
  cluster_.now += absl::Seconds(10);
  Settle();
  EXPECT_EQ(Number(*Get(), {"status", "availableReplicas"}), 2);
}

TEST_F(RolloutTest, AdoptsAndReleasesReplicaSets) {
  Deploy(WebDeployment(2, "a"));
  Settle();
  Json orphan = *cluster_.List(kube::ReplicaSets())[0];
  orphan["metadata"].erase("ownerReferences");
  cluster_.Put(kube::ReplicaSets(), orphan);
  Settle();
  EXPECT_EQ(ControllerUid(*cluster_.List(kube::ReplicaSets())[0]),
            Uid(*Get()));
  EXPECT_EQ(cluster_.List(kube::ReplicaSets()).size(), 1u);
  Json stray = *cluster_.List(kube::ReplicaSets())[0];
  stray["metadata"]["labels"]["app"] = "other";
  cluster_.Put(kube::ReplicaSets(), stray);
  SyncDeployment();
  EXPECT_EQ(ControllerUid(*cluster_.Get(kube::ReplicaSets(),
                                        kube::KeyOf(stray))),
            "");
}

TEST_F(RolloutTest, ATakenNameIsACollision) {
  Deploy(WebDeployment(1, "a"));
  std::string name =
      "web-" + TemplateHash((*Get())["spec"]["template"], 0);
  cluster_.Put(kube::ReplicaSets(),
               {{"metadata", {{"name", name}, {"namespace", "default"}}},
                {"spec", {{"replicas", 0}}}});
  Settle();
  EXPECT_EQ(Active(true), 1);
  EXPECT_EQ(Number(*Get(), {"status", "collisionCount"}), 1);
}

}  // namespace
}  // namespace fairlead::controllers
