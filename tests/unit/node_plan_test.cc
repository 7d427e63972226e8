// SPDX-License-Identifier: Apache-2.0
// Plans about nodes and about what is left behind: node lifecycle, pod CIDRs,
// garbage, namespaces, clean-up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/controllers/cleanup.h"
#include "control/controllers/garbage.h"
#include "control/controllers/namespace.h"
#include "control/controllers/node_ipam.h"
#include "control/controllers/node_lifecycle.h"
#include "control/controllers/node_ttl.h"
#include "control/controllers/root_ca.h"
#include "tests/unit/fake_cluster.h"

namespace fairlead::controllers {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

Object Share(Json json) {
  return std::make_shared<const Json>(std::move(json));
}

std::vector<std::string> Log(const Plan& plan) {
  std::vector<std::string> log;
  for (const Write& w : plan.writes) log.push_back(Describe(w));
  return log;
}

Json NodeOf(const char* ready) {
  Json node = Json::parse(R"({"metadata": {"name": "n1", "uid": "u1",
      "resourceVersion": "1"}, "spec": {}, "status": {}})");
  node["status"]["conditions"] =
      Json::array({{{"type", "Ready"}, {"status", ready}}});
  return node;
}

Json PodOn(const char* name, bool ready, int64_t toleration_seconds = 300) {
  Json pod = {{"metadata",
               {{"namespace", "default"},
                {"name", name},
                {"uid", StrCat("uid-", name)}}},
              {"spec", {{"nodeName", "n1"}}},
              {"status",
               {{"phase", "Running"},
                {"conditions",
                 Json::array({{{"type", "Ready"},
                               {"status", ready ? "True" : "False"}}})}}}};
  if (toleration_seconds >= 0) {
    for (const char* key : {"not-ready", "unreachable"}) {
      pod["spec"]["tolerations"].push_back(
          {{"key", StrCat("node.kubernetes.io/", key)},
           {"operator", "Exists"},
           {"effect", "NoExecute"},
           {"tolerationSeconds", toleration_seconds}});
    }
  }
  return pod;
}

Json Taint(const char* key, const char* effect, absl::Duration age) {
  Json taint = {{"key", StrCat("node.kubernetes.io/", key)},
                {"effect", effect}};
  if (std::string_view(effect) == "NoExecute") {
    taint["timeAdded"] = Timestamp(kNow - age);
  }
  return taint;
}

TEST(NodeLifecycle, AHealthyNodeIsLookedAtAgainWhenItsGraceEnds) {
  Plan plan = PlanNodeLifecycle({.node = Share(NodeOf("True")),
                                 .pods = {Share(PodOn("a", true))},
                                 .silent_for = absl::Seconds(15)},
                                {}, kNow);
  EXPECT_THAT(Log(plan), IsEmpty());
  EXPECT_EQ(plan.again, absl::Seconds(25));
}

TEST(NodeLifecycle, ASilentNodeIsUnknownAndItsPodsNotReadyAtOnce) {
  Plan plan = PlanNodeLifecycle(
      {.node = Share(NodeOf("True")),
       .pods = {Share(PodOn("a", true)), Share(PodOn("b", false))},
       .silent_for = absl::Seconds(40)},
      {}, kNow);
  EXPECT_THAT(Log(plan), ElementsAre("update-status nodes n1",
                                     "update-status pods default/a"));
  EXPECT_EQ(Text(*Condition(plan.writes[0].body, "Ready"), {"status"}),
            "Unknown");
  EXPECT_FALSE(IsPodReady(plan.writes[1].body));
}

// In the recorded words; said once for each node.
TEST(Heartbeats, OnlyNewStampsAreSignsOfLife) {
  Heartbeats heartbeats(absl::Seconds(10));
  auto at = [](int seconds) { return absl::Seconds(seconds); };
  EXPECT_EQ(heartbeats.SilentFor("n", at(0)), std::nullopt);
  heartbeats.Posted("n", "p1", at(0));
  heartbeats.Renewed("n", "l1", at(5));
  heartbeats.Renewed("n", "l1", at(9));
  EXPECT_EQ(heartbeats.SilentFor("n", at(12)), at(7));
  EXPECT_TRUE(heartbeats.IsNew("n"));
  EXPECT_FALSE(heartbeats.IsNew("n"));
  heartbeats.Forget("n");
  EXPECT_EQ(heartbeats.SilentFor("n", at(12)), std::nullopt);
}

// Stopped, or on a machine that was: nobody could be heard meanwhile.
TEST(Heartbeats, TimeThatThisProcessStoodStillIsNobodysSilence) {
  Heartbeats heartbeats(absl::Seconds(10));
  auto at = [](int seconds) { return absl::Seconds(seconds); };
  heartbeats.Breathe(at(0));
  heartbeats.Posted("n", "p1", at(0));
  heartbeats.Breathe(at(10));
  heartbeats.Breathe(at(30));  // late, but no more
  EXPECT_EQ(heartbeats.SilentFor("n", at(30)), at(30));
  heartbeats.Breathe(at(1000));
  EXPECT_EQ(heartbeats.SilentFor("n", at(1000)), at(30));
  heartbeats.Breathe(at(1010));
  EXPECT_EQ(heartbeats.SilentFor("n", at(1010)), at(40));
}

TEST(NodeLifecycle, ANewNodeIsAnnounced) {
  NodeFacts facts{.node = Share(NodeOf("True")), .is_new = true};
  Plan plan = PlanNodeLifecycle(facts, {}, kNow);
  ASSERT_EQ(plan.announcements.size(), 1u);
  EXPECT_EQ(plan.announcements[0].reason, "RegisteredNode");
  EXPECT_EQ(plan.announcements[0].message,
            "Node n1 event: Registered Node n1 in Controller");
  facts.is_new = false;
  EXPECT_THAT(PlanNodeLifecycle(facts, {}, kNow).announcements, IsEmpty());
}

std::string TaintsAfter(const Json& node, absl::Duration silent) {
  Plan plan = PlanNodeLifecycle(
      {.node = Share(node), .silent_for = silent}, {}, kNow);
  std::string text;
  for (const Write& w : plan.writes) {
    if (w.verb != Verb::kMergePatch) continue;
    const Json& taints = Get(w.body, {"spec", "taints"});
    if (taints.is_null()) text += "none";
    for (const Json& t : taints) {
      // Recorded: of both effects.
      EXPECT_EQ(t.contains("timeAdded"), Text(t, {"key"}) != "dedicated");
      StrAppend(&text, Text(t, {"key"}), ":", Text(t, {"effect"}), " ");
    }
  }
  return text;
}

TEST(NodeLifecycle, TaintsFollowTheConditions) {
  Json unknown = NodeOf("Unknown");
  for (const char* type : {"MemoryPressure", "DiskPressure", "PIDPressure"}) {
    unknown["status"]["conditions"].push_back(
        {{"type", type}, {"status", "Unknown"}});
  }
  EXPECT_EQ(TaintsAfter(unknown, absl::Seconds(60)),
            "node.kubernetes.io/unreachable:NoSchedule "
            "node.kubernetes.io/unreachable:NoExecute ");
  EXPECT_EQ(TaintsAfter(NodeOf("False"), absl::ZeroDuration()),
            "node.kubernetes.io/not-ready:NoSchedule "
            "node.kubernetes.io/not-ready:NoExecute ");
  EXPECT_EQ(TaintsAfter(NodeOf("True"), absl::ZeroDuration()), "");
  Json back = NodeOf("True");
  back["spec"]["taints"] = {Taint("unreachable", "NoSchedule", {}),
                            Taint("unreachable", "NoExecute", {})};
  EXPECT_EQ(TaintsAfter(back, absl::ZeroDuration()), "none");
  back["spec"]["taints"].push_back(
      {{"key", "dedicated"}, {"effect", "NoSchedule"}});
  EXPECT_EQ(TaintsAfter(back, absl::ZeroDuration()), "dedicated:NoSchedule ");
  Json cordoned = NodeOf("True");
  cordoned["spec"]["unschedulable"] = true;
  EXPECT_EQ(TaintsAfter(cordoned, absl::ZeroDuration()),
            "node.kubernetes.io/unschedulable:NoSchedule ");
}

struct EvictRow {
  int64_t toleration_seconds;  // -1: does not tolerate
  absl::Duration tainted_for;
  std::optional<absl::Duration> timeout;
  bool gone;
  absl::Duration again;
};
class EvictTest : public testing::TestWithParam<EvictRow> {};

TEST_P(EvictTest, WhenItsTimeIsUp) {
  const EvictRow& row = GetParam();
  Json node = NodeOf("False");
  node["spec"]["taints"] = {Taint("not-ready", "NoSchedule", {}),
                            Taint("not-ready", "NoExecute", row.tainted_for)};
  NodeLifecycleOptions options{.grace_period = absl::InfiniteDuration(),
                               .eviction_timeout = row.timeout};
  Plan plan = PlanNodeLifecycle(
      {.node = Share(node),
       .pods = {Share(PodOn("a", false, row.toleration_seconds))}},
      options, kNow);
  EXPECT_EQ(plan.again, row.again);
  if (!row.gone) {
    EXPECT_THAT(Log(plan), ElementsAre());
    return;
  }
  ASSERT_THAT(Log(plan), ElementsAre("update-status pods default/a",
                                     "delete pods default/a"));
  EXPECT_LT(plan.writes[0].stage, plan.writes[1].stage);
  const Json* target = Condition(plan.writes[0].body, "DisruptionTarget");
  ASSERT_NE(target, nullptr);
  EXPECT_EQ(Text(*target, {"reason"}), "DeletionByTaintManager");
}

INSTANTIATE_TEST_SUITE_P(
    Rows, EvictTest,
    testing::Values(
        EvictRow{300, absl::Seconds(299), {}, false, absl::Seconds(1)},
        EvictRow{300, absl::Seconds(300), {}, true,
                 absl::InfiniteDuration()},
        EvictRow{-1, absl::ZeroDuration(), {}, true,
                 absl::InfiniteDuration()},
        EvictRow{0, absl::ZeroDuration(), {}, true, absl::InfiniteDuration()},
        EvictRow{300, absl::Seconds(3), absl::Seconds(5), false,
                 absl::Seconds(2)},
        EvictRow{300, absl::Seconds(5), absl::Seconds(5), true,
                 absl::InfiniteDuration()},
        // What somebody asked for is not the default.
        EvictRow{600, absl::Seconds(5), absl::Seconds(5), false,
                 absl::Seconds(595)}));

TEST(NodeLifecycle, APodOfALostNodeIsForcedOutWhenItsGraceIsOver) {
  Json node = NodeOf("Unknown");
  node["spec"]["taints"] = {
      Taint("unreachable", "NoSchedule", {}),
      Taint("unreachable", "NoExecute", absl::Seconds(10))};
  for (const char* type : {"MemoryPressure", "DiskPressure", "PIDPressure"}) {
    node["status"]["conditions"].push_back(
        {{"type", type}, {"status", "Unknown"}});
  }
  Json over = PodOn("over", false), still = PodOn("still", false);
  over["metadata"]["deletionTimestamp"] = Timestamp(kNow - absl::Seconds(1));
  still["metadata"]["deletionTimestamp"] = Timestamp(kNow + absl::Seconds(7));
  Plan plan = PlanNodeLifecycle({.node = Share(node),
                                 .pods = {Share(over), Share(still)},
                                 .silent_for = absl::Minutes(1)},
                                {}, kNow);
  ASSERT_THAT(Log(plan), ElementsAre("delete pods default/over"));
  EXPECT_EQ(plan.writes[0].grace_period_seconds, 0);
  EXPECT_EQ(plan.again, absl::Seconds(7));
}

// --- pod CIDRs

std::string CidrsGiven(const std::vector<std::vector<std::string>>& taken,
                       const std::vector<std::string>& cluster) {
  std::vector<Object> nodes;
  for (const auto& cidrs : taken) {
    nodes.push_back(Share({{"metadata", {{"name", StrCat("n", nodes.size())}}},
                           {"spec", {{"podCIDRs", cidrs}}}}));
  }
  nodes.push_back(Share(NodeOf("True")));
  std::vector<IpPrefix> prefixes;
  for (const auto& text : cluster) {
    prefixes.push_back(*IpPrefix::Parse(text));
  }
  Plan plan = PlanPodCidrs(nodes.back(), nodes, prefixes);
  if (plan.writes.empty()) return "";
  return Get(plan.writes[0].body, {"spec", "podCIDRs"}).dump();
}

TEST(PodCidrs, LowestFreeOfEachFamily) {
  EXPECT_EQ(CidrsGiven({}, {"10.244.0.0/16", "fd00:10:244::/48"}),
            R"(["10.244.0.0/24","fd00:10:244::/64"])");
  EXPECT_EQ(CidrsGiven({{"10.244.0.0/24", "fd00:10:244::/64"},
                        {"10.244.2.0/24", "fd00:10:244:2::/64"}},
                       {"10.244.0.0/16", "fd00:10:244::/48"}),
            R"(["10.244.1.0/24","fd00:10:244:1::/64"])");
  // A bigger range that somebody set by hand is kept clear of.
  EXPECT_EQ(CidrsGiven({{"10.244.0.0/23"}}, {"10.244.0.0/16"}),
            R"(["10.244.2.0/24"])");
  EXPECT_EQ(CidrsGiven({{"10.244.254.0/24"}}, {"10.244.254.0/23"}),
            R"(["10.244.255.0/24"])");
  EXPECT_EQ(CidrsGiven({{"10.244.0.0/24"}}, {"10.244.0.0/24"}), "");
  EXPECT_EQ(CidrsGiven({}, {}), "");
}

TEST(PodCidrs, RefusesRangesThatCantWork) {
  auto check = [](std::vector<const char*> texts) {
    std::vector<IpPrefix> prefixes;
    for (const char* t : texts) prefixes.push_back(*IpPrefix::Parse(t));
    return CheckClusterCidrs(prefixes).ok();
  };
  EXPECT_TRUE(check({"10.0.0.0/8", "fd00::/48"}));
  EXPECT_FALSE(check({"10.0.0.0/25"}));
  EXPECT_FALSE(check({"fd00::/80"}));
  EXPECT_FALSE(check({"10.0.0.0/16", "10.1.0.0/16"}));
}

// --- ttl

TEST(NodeTtl, StepsOverlap) {
  EXPECT_EQ(NextTtlStep(0, 0), 0u);
  EXPECT_EQ(NextTtlStep(0, 100), 0u);
  EXPECT_EQ(NextTtlStep(0, 101), 1u);
  EXPECT_EQ(NextTtlStep(1, 90), 1u);
  EXPECT_EQ(NextTtlStep(1, 89), 0u);
  EXPECT_EQ(NextTtlStep(0, 5000), 4u);
  EXPECT_EQ(NextTtlStep(4, 1800), 4u);
  EXPECT_EQ(NextTtlStep(4, 1), 0u);
}

TEST(NodeTtl, IsWrittenOnce) {
  FakeCluster cluster;
  cluster.Put(kube::Nodes(), NodeOf("True"));
  auto node = [&] { return cluster.List(kube::Nodes())[0]; };
  auto ttl = [&](size_t step) {
    cluster.Apply(PlanNodeTtl(node(), step));
    return Get(*node(), {"metadata", "annotations"}).dump();
  };
  EXPECT_EQ(ttl(0), R"({"node.alpha.kubernetes.io/ttl":"0"})");
  EXPECT_TRUE(PlanNodeTtl(node(), 0).writes.empty());
  EXPECT_EQ(ttl(4), R"({"node.alpha.kubernetes.io/ttl":"300"})");
}

// --- garbage

Json Owned(std::vector<bool> blocks) {
  Json object = {{"metadata",
                  {{"namespace", "default"}, {"name", "x"}, {"uid", "ux"}}}};
  for (size_t i = 0; i < blocks.size(); ++i) {
    object["metadata"]["ownerReferences"].push_back(
        {{"uid", StrCat("owner", i)}, {"blockOwnerDeletion", bool(blocks[i])}});
  }
  return object;
}

struct GarbageRow {
  std::vector<OwnerState> owners;
  const char* want;
};
class GarbageTest : public testing::TestWithParam<GarbageRow> {};

TEST_P(GarbageTest, Fate) {
  using enum OwnerState;
  const auto& owners = GetParam().owners;
  Plan plan = PlanGarbage(
      {.resource = &kube::Pods(),
       .object = Share(Owned(std::vector<bool>(owners.size(), true))),
       .owners = owners});
  std::string got;
  for (const Write& w : plan.writes) {
    got = w.verb == Verb::kDelete
              ? "delete"
              : StrCat("keep ",
                       Get(w.body, {"metadata", "ownerReferences"}).size());
  }
  EXPECT_EQ(got, GetParam().want);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, GarbageTest,
    testing::Values(
        GarbageRow{{}, ""}, GarbageRow{{OwnerState::kPresent}, ""},
        GarbageRow{{OwnerState::kAbsent}, "delete"},
        GarbageRow{{OwnerState::kWaiting}, ""},
        GarbageRow{{OwnerState::kAbsent, OwnerState::kAbsent}, "delete"},
        GarbageRow{{OwnerState::kAbsent, OwnerState::kPresent}, "keep 1"},
        GarbageRow{{OwnerState::kWaiting, OwnerState::kPresent}, "keep 1"},
        GarbageRow{{OwnerState::kAbsent, OwnerState::kWaiting}, ""}));

TEST(Garbage, ForegroundWaitsForItsBlockers) {
  Json owner = {{"metadata",
                 {{"namespace", "default"},
                  {"name", "web"},
                  {"uid", "owner0"},
                  {"deletionTimestamp", Timestamp(kNow)},
                  {"finalizers", {"foregroundDeletion", "mine"}}}}};
  GarbageFacts facts{.resource = &kube::ReplicaSets(), .object = Share(owner)};
  facts.dependents = {{&kube::Pods(), Share(Owned({true}))},
                      {&kube::ConfigMaps(), Share(Owned({false}))}};
  EXPECT_THAT(Log(PlanGarbage(facts)), ElementsAre("delete pods default/x"));
  facts.dependents.erase(facts.dependents.begin());
  Plan last = PlanGarbage(facts);
  ASSERT_THAT(Log(last), ElementsAre("patch replicasets default/web"));
  EXPECT_EQ(Get(last.writes[0].body, {"metadata", "finalizers"}),
            Json::array({"mine"}));
}

TEST(Garbage, OrphansLoseTheirOwnerFirst) {
  Json owner = {{"metadata",
                 {{"namespace", "default"},
                  {"name", "web"},
                  {"uid", "owner0"},
                  {"deletionTimestamp", Timestamp(kNow)},
                  {"finalizers", {"orphan"}}}}};
  GarbageFacts facts{.resource = &kube::ReplicaSets(), .object = Share(owner)};
  facts.dependents = {{&kube::Pods(), Share(Owned({true, true}))}};
  Plan plan = PlanGarbage(facts);
  ASSERT_THAT(Log(plan), ElementsAre("patch pods default/x",
                                     "patch replicasets default/web"));
  EXPECT_LT(plan.writes[0].stage, plan.writes[1].stage);
  EXPECT_EQ(
      Get(plan.writes[0].body, {"metadata", "ownerReferences"}).size(), 1u);
  EXPECT_TRUE(Get(plan.writes[1].body, {"metadata", "finalizers"}).is_null());
}

// --- namespaces

TEST(NamespacePlan, MakesTheDefaultAccountOnce) {
  NamespaceFacts facts{.object = Share({{"metadata", {{"name", "team"}}}})};
  EXPECT_THAT(Log(PlanNamespace(facts, kNow)),
              ElementsAre("create serviceaccounts team/default"));
  facts.has_default_account = true;
  EXPECT_THAT(Log(PlanNamespace(facts, kNow)), IsEmpty());
}

TEST(RootCaPlan, IsMadeAndPutRight) {
  RootCaFacts facts{.ns = Share({{"metadata", {{"name", "team"}}}})};
  Plan plan = PlanRootCa(facts, "PEM");
  EXPECT_THAT(Log(plan),
              ElementsAre("create configmaps team/kube-root-ca.crt"));
  ASSERT_EQ(plan.writes.size(), 1u);
  EXPECT_EQ(plan.writes[0].body["data"], (Json{{"ca.crt", "PEM"}}));
  facts.config_map = Share(plan.writes[0].body);
  EXPECT_THAT(Log(PlanRootCa(facts, "PEM")), IsEmpty());
  // The authority's certificate was renewed.
  plan = PlanRootCa(facts, "NEW");
  EXPECT_THAT(Log(plan),
              ElementsAre("update configmaps team/kube-root-ca.crt"));
  ASSERT_EQ(plan.writes.size(), 1u);
  EXPECT_EQ(plan.writes[0].body["data"], (Json{{"ca.crt", "NEW"}}));
}

TEST(RootCaPlan, WhatIsBeingEmptiedGetsNothing) {
  RootCaFacts facts{
      .ns = Share({{"metadata",
                    {{"name", "team"},
                     {"deletionTimestamp", "2027-01-15T08:00:00Z"}}}})};
  EXPECT_THAT(Log(PlanRootCa(facts, "PEM")), IsEmpty());
}

TEST(NamespacePlan, IsEmptiedThenFinalized) {
  NamespaceFacts facts{
      .object = Share({{"metadata",
                        {{"name", "team"},
                         {"deletionTimestamp", Timestamp(kNow)}}},
                       {"spec", {{"finalizers", {"kubernetes"}}}}})};
  Json going = PodOn("going", true);
  going["metadata"]["deletionTimestamp"] = Timestamp(kNow);
  facts.content = {{&kube::Pods(), {PodOn("a", true), going}},
                   {&kube::ConfigMaps(), {}}};
  Plan plan = PlanNamespace(facts, kNow);
  EXPECT_THAT(Log(plan), ElementsAre("delete pods default/a"));
  EXPECT_LT(plan.again, absl::Seconds(1));
  // What is still there at the next look is told, once.
  Json held = going;
  held["metadata"]["finalizers"] = {"example.com/hold"};
  facts.content = {{&kube::Pods(), {going, held}}};
  plan = PlanNamespace(facts, kNow);
  ASSERT_THAT(Log(plan), ElementsAre("update-status namespaces team"));
  const Json told = plan.writes[0].body["status"]["conditions"];
  ASSERT_EQ(told.size(), 5u);
  EXPECT_EQ(told[3]["message"],
            "Some resources are remaining: pods. has 2 resource instances");
  EXPECT_EQ(told[4]["message"],
            "Some content in the namespace has finalizers remaining: "
            "example.com/hold in 1 resource instances");
  EXPECT_EQ(told[4]["status"], "True");
  facts.object = Share(plan.writes[0].body);
  EXPECT_THAT(Log(PlanNamespace(facts, kNow + absl::Seconds(1))), IsEmpty());
  facts.content = {{&kube::Pods(), {going}}};
  plan = PlanNamespace(facts, kNow + absl::Seconds(1));
  ASSERT_THAT(Log(plan), ElementsAre("update-status namespaces team"));
  const Json& now = plan.writes[0].body["status"]["conditions"];
  EXPECT_EQ(now[4]["status"], "False");
  EXPECT_NE(now[4]["lastTransitionTime"], told[4]["lastTransitionTime"]);
  EXPECT_EQ(now[3]["lastTransitionTime"], told[3]["lastTransitionTime"]);
  facts.content = {{&kube::Pods(), {}}};
  plan = PlanNamespace(facts, kNow);
  ASSERT_THAT(Log(plan), ElementsAre("finalize namespaces team"));
  EXPECT_EQ(Get(plan.writes[0].body, {"spec", "finalizers"}), Json::array());
}

// --- clean-up

TEST(Cleanup, PodsThatNobodyWillEnd) {
  Json unplaced = PodOn("unplaced", false);
  unplaced["spec"].erase("nodeName");
  unplaced["metadata"]["deletionTimestamp"] = Timestamp(kNow);
  Json lost = PodOn("lost", true), recent = PodOn("recent", true);
  lost["spec"]["nodeName"] = "gone";
  recent["spec"]["nodeName"] = "rebooting";
  PodCleanupFacts facts{
      .pods = {Share(PodOn("fine", true)), Share(unplaced), Share(lost),
               Share(recent)},
      .nodes = {"n1"},
      .missing_since = {{"gone", kNow - absl::Seconds(40)},
                        {"rebooting", kNow - absl::Seconds(30)}}};
  Plan plan = PlanPodCleanup(facts, {}, kNow);
  EXPECT_THAT(Log(plan),
              UnorderedElementsAre("delete pods default/unplaced",
                                   "update-status pods default/lost",
                                   "delete pods default/lost"));
  EXPECT_EQ(plan.again, absl::Seconds(10));
  for (const Write& write : plan.writes) {
    if (write.verb == Verb::kUpdateStatus) {
      EXPECT_TRUE(IsConditionTrue(write.body, "DisruptionTarget"));
    }
  }
}

TEST(Cleanup, FinishedPodsBeyondTheNumberOldestFirst) {
  PodCleanupFacts facts{.nodes = {"n1"}};
  for (int i = 0; i < 5; ++i) {
    Json pod = PodOn(StrCat("p", i).c_str(), false);
    pod["status"]["phase"] = "Succeeded";
    pod["metadata"]["creationTimestamp"] =
        Timestamp(kNow - absl::Minutes(i));
    facts.pods.push_back(Share(pod));
  }
  EXPECT_THAT(Log(PlanPodCleanup(facts, {.max_terminated_pods = 3}, kNow)),
              ElementsAre("delete pods default/p4", "delete pods default/p3"));
}

TEST(Cleanup, OldEvents) {
  auto event = [](const char* name, absl::Duration age) {
    return Json{{"metadata",
                 {{"namespace", "default"},
                  {"name", name},
                  {"creationTimestamp", Timestamp(kNow - absl::Hours(5))}}},
                {"lastTimestamp", Timestamp(kNow - age)}};
  };
  Json list = {{"items", {event("old", absl::Minutes(61)),
                          event("repeated", absl::Minutes(59))}}};
  EXPECT_THAT(Log(PlanEventCleanup(list, {}, kNow)),
              ElementsAre("delete events default/old"));
}

}  // namespace
}  // namespace fairlead::controllers
