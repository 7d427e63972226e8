// SPDX-License-Identifier: Apache-2.0
// Plans of DaemonSets, disruption budgets, Endpoints, and of what every
// cluster has.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "control/controllers/daemon_set.h"
#include "control/controllers/disruption.h"
#include "control/controllers/endpoints.h"
#include "control/controllers/essentials.h"
#include "control/controllers/role_aggregation.h"
#include "tests/unit/fake_cluster.h"
#include "userspace/kube/control_resources.h"

namespace fairlead::controllers {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Json Template(const std::string& image) {
  return {{"metadata", {{"labels", {{"app", "x"}}}}},
          {"spec",
           {{"containers",
             Json::array({{{"name", "c"}, {"image", image}}})}}}};
}

Json ReadyCondition(bool ready, absl::Time now) {
  return Json::array({{{"type", "Ready"},
                       {"status", ready ? "True" : "False"},
                       {"lastTransitionTime", Timestamp(now)}}});
}

// --- DaemonSets

class DaemonSetTest : public testing::Test {
 protected:
  void AddNode(const std::string& name, Json taints = Json::array()) {
    Json node = {{"metadata", {{"name", name}}}, {"spec", Json::object()}};
    if (!taints.empty()) node["spec"]["taints"] = taints;
    if (Object before = cluster_.Get(kube::Nodes(), name)) {
      node["metadata"]["uid"] = Uid(*before);
    }
    cluster_.Put(kube::Nodes(), node);
  }

  void AddDaemonSet(const Json& strategy) {
    cluster_.Put(kube::DaemonSets(),
                 {{"metadata", {{"namespace", "default"}, {"name", "ds"}}},
                  {"spec",
                   {{"selector", {{"matchLabels", {{"app", "x"}}}}},
                    {"template", Template("a")},
                    {"revisionHistoryLimit", 2},
                    {"updateStrategy", strategy}}}});
  }

  Object DaemonSet() { return cluster_.Get(kube::DaemonSets(), "default/ds"); }

  void SetImage(const std::string& image) {
    Json ds = *DaemonSet();
    ds["spec"]["template"] = Template(image);
    ds["metadata"]["generation"] = Generation(ds) + 1;
    cluster_.Put(kube::DaemonSets(), ds);
  }

  Plan MakePlan() {
    return PlanDaemonSet({.daemon_set = DaemonSet(),
                          .nodes = cluster_.List(kube::Nodes()),
                          .pods = cluster_.List(kube::Pods()),
                          .revisions =
                              cluster_.List(kube::ControllerRevisions())},
                         cluster_.now);
  }

  // Scheduler and kubelet: binds by the pod's affinity, `ready` or not, and
  // ends what terminates.
  void RunPods(bool ready = true) {
    for (const Object& pod : cluster_.List(kube::Pods())) {
      if (IsTerminating(*pod)) {
        cluster_.Erase(kube::Pods(), kube::KeyOf(*pod));
        continue;
      }
      if (!Text(*pod, {"spec", "nodeName"}).empty()) continue;
      Json bound = *pod;
      bound["spec"]["nodeName"] =
          bound["spec"]["affinity"]["nodeAffinity"]
               ["requiredDuringSchedulingIgnoredDuringExecution"]
               ["nodeSelectorTerms"][0]["matchFields"][0]["values"][0];
      bound["status"] = {{"phase", "Running"},
                         {"conditions", ReadyCondition(ready, cluster_.now)}};
      cluster_.Put(kube::Pods(), bound);
    }
  }

  void Settle() {
    for (int i = 0; i < 50; ++i) {
      int writes = cluster_.Apply(MakePlan());
      RunPods();
      if (writes == 0 && MakePlan().writes.empty()) return;
    }
    FAIL() << "the plan does not settle";
  }

  std::set<std::string> NodesWithPods() {
    std::set<std::string> nodes;
    for (const Object& pod : cluster_.List(kube::Pods())) {
      nodes.emplace(Text(*pod, {"spec", "nodeName"}));
    }
    return nodes;
  }

  int Available() {
    int count = 0;
    for (const Object& pod : cluster_.List(kube::Pods())) {
      count += !IsTerminating(*pod) && IsPodReady(*pod);
    }
    return count;
  }

  FakeCluster cluster_;
};

const Json kRolling = {{"type", "RollingUpdate"},
                       {"rollingUpdate",
                        {{"maxUnavailable", 1}, {"maxSurge", 0}}}};

TEST_F(DaemonSetTest, RunsOnePodOnEachNodeThatAdmitsIt) {
  AddNode("n1");
  AddNode("n2", Json::array({{{"key", "node.kubernetes.io/unschedulable"},
                              {"effect", "NoSchedule"}}}));
  AddNode("n3",
          Json::array({{{"key", "dedicated"}, {"effect", "NoSchedule"}}}));
  AddDaemonSet(kRolling);
  Settle();
  EXPECT_THAT(NodesWithPods(), ElementsAre("n1", "n2"));
  EXPECT_THAT(cluster_.List(kube::Pods()), SizeIs(2));
  const Json& status = (*DaemonSet())["status"];
  EXPECT_EQ(status["desiredNumberScheduled"], 2);
  EXPECT_EQ(status["numberAvailable"], 2);
  EXPECT_EQ(status["updatedNumberScheduled"], 2);
  EXPECT_EQ(status["numberMisscheduled"], 0);
}

TEST_F(DaemonSetTest, APodStaysForNoScheduleAndGoesForNoExecute) {
  AddNode("n1");
  AddNode("n2");
  AddDaemonSet(kRolling);
  Settle();
  AddNode("n1", Json::array({{{"key", "a"}, {"effect", "NoSchedule"}}}));
  AddNode("n2", Json::array({{{"key", "a"}, {"effect", "NoExecute"}}}));
  Settle();
  EXPECT_THAT(NodesWithPods(), ElementsAre("n1"));
  EXPECT_EQ((*DaemonSet())["status"]["numberMisscheduled"], 1);
  EXPECT_EQ((*DaemonSet())["status"]["desiredNumberScheduled"], 0);
}

TEST_F(DaemonSetTest, NodesJoinAndLeave) {
  AddNode("n1");
  AddDaemonSet(kRolling);
  Settle();
  AddNode("n2");
  Settle();
  EXPECT_THAT(NodesWithPods(), ElementsAre("n1", "n2"));
  EXPECT_EQ((*DaemonSet())["status"]["numberReady"], 2);
  // Its pods are the pod collector's to remove; they count no more.
  cluster_.Erase(kube::Nodes(), "n1");
  Settle();
  const Json& status = (*DaemonSet())["status"];
  EXPECT_EQ(status["desiredNumberScheduled"], 1);
  EXPECT_EQ(status["currentNumberScheduled"], 1);
  EXPECT_EQ(status["numberReady"], 1);
  EXPECT_EQ(status["numberMisscheduled"], 0);
}

TEST_F(DaemonSetTest, OnDeleteOnlyReplacesWhatIsDeleted) {
  AddNode("n1");
  AddNode("n2");
  AddDaemonSet({{"type", "OnDelete"}});
  Settle();
  auto before = cluster_.List(kube::Pods());
  SetImage("b");
  Settle();
  EXPECT_EQ(Number(*DaemonSet(), {"status", "updatedNumberScheduled"}), 0);
  for (const Object& pod : before) {
    EXPECT_NE(cluster_.Get(kube::Pods(), kube::KeyOf(*pod)), nullptr);
  }
  cluster_.Erase(kube::Pods(), kube::KeyOf(*before[0]));
  Settle();
  EXPECT_THAT(cluster_.List(kube::Pods()), SizeIs(2));
  EXPECT_EQ((*DaemonSet())["status"]["updatedNumberScheduled"], 1);
  EXPECT_EQ(Available(), 2);
}

TEST_F(DaemonSetTest, AFailedPodIsReplacedButNotAtOnce) {
  AddNode("n1");
  AddDaemonSet(kRolling);
  Settle();
  Json failed = *cluster_.List(kube::Pods())[0];
  failed["status"] = {{"phase", "Failed"}};
  cluster_.Put(kube::Pods(), failed);
  EXPECT_EQ(MakePlan().again, absl::Seconds(1));
  cluster_.now += absl::Seconds(1);
  Settle();
  EXPECT_THAT(cluster_.List(kube::Pods()), SizeIs(1));
  EXPECT_NE(Name(*cluster_.List(kube::Pods())[0]), Name(failed));
  EXPECT_EQ(Available(), 1);
}

TEST_F(DaemonSetTest, AnUpdateTakesAwayNoMoreThanItMay) {
  for (const char* node : {"n1", "n2", "n3", "n4"}) AddNode(node);
  Json strategy = kRolling;
  strategy["rollingUpdate"]["maxUnavailable"] = 2;
  AddDaemonSet(strategy);
  Settle();
  SetImage("b");
  int least = 4;
  for (int i = 0; i < 20; ++i) {
    cluster_.Apply(MakePlan());
    least = std::min(least, Available());
    RunPods();
  }
  EXPECT_EQ(least, 2);
  EXPECT_EQ(Available(), 4);
  EXPECT_EQ((*DaemonSet())["status"]["updatedNumberScheduled"], 4);
}

TEST_F(DaemonSetTest, AnUpdateThatIsNeverReadyStopsAtTheFirstNodes) {
  for (const char* node : {"n1", "n2", "n3"}) AddNode(node);
  AddDaemonSet(kRolling);
  Settle();
  SetImage("bad");
  for (int i = 0; i < 10; ++i) {
    cluster_.Apply(MakePlan());
    RunPods(/*ready=*/false);
  }
  EXPECT_EQ(Available(), 2);
  EXPECT_EQ((*DaemonSet())["status"]["numberUnavailable"], 1);
}

TEST_F(DaemonSetTest, ASurgeBringsTheNewPodUpBeforeTheOldOneGoes) {
  for (const char* node : {"n1", "n2", "n3"}) AddNode(node);
  Json strategy = kRolling;
  strategy["rollingUpdate"] = {{"maxUnavailable", 0}, {"maxSurge", 1}};
  AddDaemonSet(strategy);
  Settle();
  SetImage("b");
  size_t most = 0;
  for (int i = 0; i < 30; ++i) {
    cluster_.Apply(MakePlan());
    EXPECT_GE(Available(), 3);
    size_t alive = 0;
    for (const Object& pod : cluster_.List(kube::Pods())) {
      alive += IsPodActive(*pod);
    }
    most = std::max(most, alive);
    RunPods();
  }
  EXPECT_EQ(most, 4u);
  EXPECT_EQ((*DaemonSet())["status"]["updatedNumberScheduled"], 3);
}

TEST_F(DaemonSetTest, HistoryIsKeptAndGoingBackRenumbersIt) {
  AddNode("n1");
  AddDaemonSet(kRolling);
  Settle();
  SetImage("b");
  Settle();
  EXPECT_THAT(cluster_.List(kube::ControllerRevisions()), SizeIs(2));
  SetImage("a");
  Settle();
  std::map<int64_t, std::string> history;
  for (const Object& r : cluster_.List(kube::ControllerRevisions())) {
    history[Number(*r, {"revision"})] =
        (*r)["data"]["spec"]["template"]["spec"]["containers"][0]["image"];
    EXPECT_EQ((*r)["data"]["spec"]["template"]["$patch"], "replace");
  }
  EXPECT_EQ(history, (std::map<int64_t, std::string>{{2, "b"}, {3, "a"}}));
  for (const char* image : {"c", "d", "e"}) {
    SetImage(image);
    Settle();
  }
  // The present one, and two that no pod is of.
  EXPECT_THAT(cluster_.List(kube::ControllerRevisions()), SizeIs(3));
}

// --- disruption budgets

struct BudgetRow {
  const char* spec;
  int scale, ready, not_ready;
  int expected, desired, allowed;
};

TEST(Disruption, AllowsWhatTheBudgetLeaves) {
  absl::Time now = absl::FromUnixSeconds(1'800'000'000);
  const BudgetRow rows[] = {
      {R"({"minAvailable": 1})", 3, 3, 0, 3, 1, 2},
      {R"({"minAvailable": 3})", 3, 3, 0, 3, 3, 0},
      {R"({"minAvailable": "50%"})", 5, 4, 1, 5, 3, 1},
      {R"({"maxUnavailable": 1})", 3, 3, 0, 3, 2, 1},
      {R"({"maxUnavailable": 1})", 3, 2, 1, 3, 2, 0},
      // Pods that are still to be made count as missing.
      {R"({"maxUnavailable": 1})", 4, 3, 0, 4, 3, 0},
      {R"({"maxUnavailable": "10%"})", 5, 5, 0, 5, 4, 1},
      {R"({"minAvailable": 1})", 0, 0, 0, 0, 1, 0},
  };
  for (const BudgetRow& row : rows) {
    Json budget = {{"metadata",
                    {{"namespace", "d"}, {"name", "b"}, {"generation", 1}}},
                   {"spec", Json::parse(row.spec)}};
    DisruptionFacts facts{.budget = std::make_shared<const Json>(budget)};
    for (int i = 0; i < row.ready + row.not_ready; ++i) {
      facts.pods.push_back(std::make_shared<const Json>(Json{
          {"metadata",
           {{"name", StrCat("p", i)},
            {"ownerReferences",
             Json::array({{{"uid", "rs"}, {"controller", true}}})}}},
          {"status", {{"conditions", ReadyCondition(i < row.ready, now)}}}}));
    }
    facts.scale_of["rs"] = "deploy";
    facts.scales["deploy"] = row.scale;
    Plan plan = PlanDisruption(facts, now);
    ASSERT_THAT(plan.writes, SizeIs(1));
    const Json& status = plan.writes[0].body["status"];
    EXPECT_EQ(status["expectedPods"], row.expected) << row.spec;
    EXPECT_EQ(status["desiredHealthy"], row.desired) << row.spec;
    EXPECT_EQ(status["disruptionsAllowed"], row.allowed) << row.spec;
    EXPECT_EQ(status["conditions"][0]["status"],
              row.allowed > 0 ? "True" : "False");
  }
}

TEST(Disruption, AnEvictedPodCountsAsGoneUntilItsDeletionShows) {
  absl::Time now = absl::FromUnixSeconds(1'800'000'000);
  Json budget = {{"metadata", {{"namespace", "d"}, {"name", "b"}}},
                 {"spec", {{"minAvailable", 1}}},
                 {"status", {{"disruptedPods", {{"p0", Timestamp(now)}}}}}};
  DisruptionFacts facts{.budget = std::make_shared<const Json>(budget)};
  for (const char* name : {"p0", "p1"}) {
    facts.pods.push_back(std::make_shared<const Json>(
        Json{{"metadata", {{"name", name}}},
             {"status", {{"conditions", ReadyCondition(true, now)}}}}));
  }
  Plan plan = PlanDisruption(facts, now);
  EXPECT_EQ(plan.writes.at(0).body["status"]["disruptionsAllowed"], 0);
  EXPECT_EQ(plan.again, absl::Minutes(2));
  plan = PlanDisruption(facts, now + absl::Minutes(2));
  EXPECT_EQ(plan.writes.at(0).body["status"]["disruptionsAllowed"], 1);
  EXPECT_FALSE(plan.writes[0].body["status"].contains("disruptedPods"));
}

// --- Endpoints

TEST(Endpoints, AreTheSlicesInTheOtherForm) {
  FakeCluster cluster;
  Object service = cluster.Put(
      kube::Services(),
      {{"metadata", {{"namespace", "d"}, {"name", "s"}}},
       {"spec",
        {{"selector", {{"app", "x"}}}, {"ipFamilies", {"IPv4"}}}}});
  auto endpoint = [](const char* ip, bool ready, bool terminating) {
    return Json{{"addresses", {ip}},
                {"conditions",
                 {{"ready", ready}, {"terminating", terminating}}},
                {"nodeName", "n1"}};
  };
  const std::string trigger = "endpoints.kubernetes.io/"
                              "last-change-trigger-time";
  Json slice = {{"metadata",
                 {{"annotations", {{trigger, "2026-11-22T15:18:51Z"}}}}},
                {"addressType", "IPv4"},
                {"ports", Json::array({{{"name", "http"}, {"port", 80}}})},
                {"endpoints",
                 Json::array({endpoint("10.0.0.1", true, false),
                              endpoint("10.0.0.2", false, false),
                              endpoint("10.0.0.3", false, true)})}};
  Json six = slice;
  six["addressType"] = "IPv6";
  std::vector<Object> slices = {std::make_shared<const Json>(slice),
                                std::make_shared<const Json>(six)};
  Json fresh = *service;
  fresh["metadata"]["creationTimestamp"] = "2026-11-22T15:18:49Z";
  // Recorded: new ones have the time of their Service.
  EXPECT_EQ(Annotation(PlanEndpoints({std::make_shared<const Json>(fresh), {},
                                      nullptr})
                           .writes.at(0)
                           .body,
                       trigger.c_str()),
            "2026-11-22T15:18:49Z");
  auto plan = [&](const Object& s) {
    return PlanEndpoints({s, slices, cluster.Get(kube::Endpoints(), "d/s")});
  };
  EXPECT_EQ(cluster.Apply(plan(service)), 1);
  Object made = cluster.Get(kube::Endpoints(), "d/s");
  ASSERT_NE(made, nullptr);
  EXPECT_EQ((*made)["subsets"],
            Json::parse(R"([{"addresses": [{"ip": "10.0.0.1",
                "nodeName": "n1"}], "notReadyAddresses": [{"ip": "10.0.0.2",
                "nodeName": "n1"}], "ports": [{"name": "http",
                "port": 80}]}])"));
  // Recorded: with the trigger of their slices.
  EXPECT_EQ(Annotation(*made, trigger.c_str()), "2026-11-22T15:18:51Z");
  EXPECT_THAT(plan(service).writes, IsEmpty());
  // Recorded: none for a name elsewhere.
  Json external = *service;
  external["spec"]["type"] = "ExternalName";
  Plan gone = plan(std::make_shared<const Json>(external));
  ASSERT_EQ(gone.writes.size(), 1u);
  EXPECT_EQ(gone.writes[0].verb, Verb::kDelete);
  EXPECT_EQ(cluster.Apply(plan(nullptr)), 1);
  EXPECT_EQ(cluster.Get(kube::Endpoints(), "d/s"), nullptr);
}

// --- what every cluster has

TEST(Essentials, AreMadeAndKeptTrue) {
  FakeCluster cluster;
  EssentialsOptions options;
  options.service_cidrs = {*IpPrefix::Parse("10.96.0.0/16")};
  options.advertise = *IpAddress::Parse("172.30.0.1");
  options.port = 6443;
  auto plan = [&] {
    return PlanEssentials(
        {true, cluster.Get(kube::Services(), "default/kubernetes"),
         cluster.Get(kube::EndpointSlices(), "default/kubernetes"),
         cluster.Get(kube::Endpoints(), "default/kubernetes"),
         cluster.Get(kube::PriorityClasses(), "system-node-critical"),
         cluster.Get(kube::PriorityClasses(), "system-cluster-critical"),
         cluster.Get(kube::ServiceCidrs(), "kubernetes")},
        options, cluster.now);
  };
  EXPECT_EQ(cluster.Apply(plan()), 6);
  EXPECT_EQ(cluster.Apply(plan()), 1);  // the ServiceCIDR's condition
  EXPECT_THAT(plan().writes, IsEmpty());
  Object service = cluster.Get(kube::Services(), "default/kubernetes");
  EXPECT_EQ((*service)["spec"]["clusterIP"], "10.96.0.1");
  EXPECT_EQ((*service)["spec"]["ports"][0]["targetPort"], 6443);
  Object slice = cluster.Get(kube::EndpointSlices(), "default/kubernetes");
  EXPECT_EQ((*slice)["endpoints"][0]["addresses"][0], "172.30.0.1");
  // It moved, and somebody removed the Service.
  options.advertise = *IpAddress::Parse("172.30.0.2");
  cluster.Erase(kube::Services(), "default/kubernetes");
  EXPECT_EQ(cluster.Apply(plan()), 3);
  slice = cluster.Get(kube::EndpointSlices(), "default/kubernetes");
  EXPECT_EQ((*slice)["endpoints"][0]["addresses"][0], "172.30.0.2");
  // Whoever reads slices finds them by this label.
  Json stripped = *slice;
  stripped["metadata"]["labels"].erase("kubernetes.io/service-name");
  cluster.Put(kube::EndpointSlices(), stripped);
  EXPECT_EQ(cluster.Apply(plan()), 1);
  slice = cluster.Get(kube::EndpointSlices(), "default/kubernetes");
  EXPECT_EQ((*slice)["metadata"]["labels"]["kubernetes.io/service-name"],
            "kubernetes");
  // On loopback alone there is no endpoint to tell.
  options.advertise.reset();
  EXPECT_EQ(cluster.Apply(plan()), 2);
  slice = cluster.Get(kube::EndpointSlices(), "default/kubernetes");
  EXPECT_THAT((*slice)["endpoints"], IsEmpty());
}

// --- aggregated roles

TEST(RoleAggregation, WritesEachSelectedRuleOnce) {
  FakeCluster cluster;
  auto rule = [](const char* verb) {
    return Json{{"verbs", {verb}}, {"apiGroups", {""}}, {"resources", {"pods"}}};
  };
  auto put = [&](const char* name, const char* part_of, Json rules,
                 const char* takes = nullptr) {
    Json role = {{"kind", "ClusterRole"},
                 {"metadata", {{"name", name}, {"labels", {{part_of, "true"}}}}},
                 {"rules", std::move(rules)}};
    if (takes != nullptr) {
      role["aggregationRule"]["clusterRoleSelectors"] =
          Json::array({{{"matchLabels", {{takes, "true"}}}}});
    }
    cluster.Put(kube::ClusterRoles(), role);
  };
  auto plan = [&] {
    return PlanRoleAggregation(cluster.List(kube::ClusterRoles()));
  };
  auto rules = [&](const char* name) {
    return (*cluster.Get(kube::ClusterRoles(), name))["rules"];
  };
  put("b-view", "to-view", {rule("get"), rule("list")});
  put("a-view", "to-view", {rule("watch"), rule("get")});
  put("view", "to-edit", nullptr, "to-view");
  put("edit", "to-edit", nullptr, "to-edit");  // itself is no part of it
  EXPECT_EQ(cluster.Apply(plan()), 1);
  EXPECT_EQ(rules("view"),
            Json::array({rule("watch"), rule("get"), rule("list")}));
  EXPECT_EQ(cluster.Apply(plan()), 1);
  EXPECT_EQ(rules("edit"), rules("view"));
  EXPECT_THAT(plan().writes, IsEmpty());
  // A part goes away, and what only it had.
  cluster.Erase(kube::ClusterRoles(), "b-view");
  EXPECT_EQ(cluster.Apply(plan()), 1);
  EXPECT_EQ(cluster.Apply(plan()), 1);
  EXPECT_EQ(rules("edit"), Json::array({rule("watch"), rule("get")}));
}

}  // namespace
}  // namespace fairlead::controllers
