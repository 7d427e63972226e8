// SPDX-License-Identifier: Apache-2.0
// fairlead-controller as a process on loopback, with nodes that are played
// through the API.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/netns/controller_process.h"
#include "tests/netns/fake_nodes.h"
#include "tests/netns/http_socket.h"
#include "userspace/kube/control_resources.h"

namespace fairlead {
namespace {

Json WebDeployment(int replicas, const std::string& image = "a") {
  return {{"apiVersion", "apps/v1"},
          {"kind", "Deployment"},
          {"metadata", {{"namespace", "default"}, {"name", "web"}}},
          {"spec",
           {{"replicas", replicas},
            {"selector", {{"matchLabels", {{"app", "web"}}}}},
            {"template",
             {{"metadata", {{"labels", {{"app", "web"}}}}},
              {"spec",
               {{"terminationGracePeriodSeconds", 1},
                {"containers",
                 Json::array({{{"name", "c"}, {"image", image}}})}}}}}}}};
}

Json ImagePatch(const std::string& image) {
  return {{"spec",
           {{"template",
             {{"spec",
               {{"containers",
                 Json::array({{{"name", "c"}, {"image", image}}})}}}}}}}};
}

class ControllerTest : public testing::Test {
 protected:
  void Start(std::vector<std::string> flags = {}) {
    controller_.Start(std::move(flags));
    cluster_ = std::make_unique<FakeCluster>(controller_.url());
    cluster_->AddNode("n1");
    cluster_->AddNode("n2");
  }

  void TearDown() override {
    if (HasFailure()) std::fprintf(stderr, "%s\n", controller_.Log().c_str());
    cluster_.reset();
  }

  Json Status() {
    auto d = cluster_->Get(kube::Deployments(), "web");
    return d.ok() ? (*d)["status"] : Json();
  }

  std::string ConditionText(const char* type) {
    Json status = Status();
    for (const Json& c : status.value("conditions", Json::array())) {
      if (c["type"] == type) {
        return absl::StrCat(c["status"].get<std::string>(), " ",
                            c["reason"].get<std::string>());
      }
    }
    return "none";
  }

  // What `kubectl rollout status` waits for, and all old pods gone.
  bool IsRolledOut(int replicas) {
    auto d = cluster_->Get(kube::Deployments(), "web");
    if (!d.ok() || !d->contains("status")) return false;
    const Json& status = (*d)["status"];
    auto number = [&](const char* field) { return status.value(field, 0); };
    return status.value("observedGeneration", 0) ==
               (*d)["metadata"].value("generation", -1) &&
           number("replicas") == replicas &&
           number("updatedReplicas") == replicas &&
           number("availableReplicas") == replicas;
  }

  std::map<std::string, int> PodsByNode() {
    std::map<std::string, int> counts;
    for (const Json& pod : cluster_->List(kube::Pods())) {
      if (pod["metadata"].contains("deletionTimestamp")) continue;
      ++counts[pod["spec"].value("nodeName", "")];
    }
    return counts;
  }

  // Addresses in the service's slices whose conditions.ready is true.
  size_t ReadyEndpoints() {
    size_t count = 0;
    for (const Json& slice : cluster_->List(kube::EndpointSlices())) {
      for (const Json& e : slice.value("endpoints", Json::array())) {
        count += e["conditions"].value("ready", false);
      }
    }
    return count;
  }

  void CreateWeb(int replicas) {
    ASSERT_TRUE(
        cluster_->Create(kube::Deployments(), WebDeployment(replicas)).ok());
    Json service = {{"apiVersion", "v1"},
                    {"kind", "Service"},
                    {"metadata", {{"namespace", "default"}, {"name", "web"}}},
                    {"spec",
                     {{"selector", {{"app", "web"}}},
                      {"ports", Json::array({{{"port", 80},
                                              {"targetPort", 8080}}})}}}};
    ASSERT_TRUE(cluster_->Create(kube::Services(), service).ok());
    ASSERT_TRUE(Until([&] { return IsRolledOut(replicas); })) << Status();
  }

  ControllerProcess controller_;
  std::unique_ptr<FakeCluster> cluster_;
};

TEST_F(ControllerTest, RunsADeploymentFromItsFirstPodToItsLast) {
  Start();
  CreateWeb(4);
  EXPECT_EQ(PodsByNode(), (std::map<std::string, int>{{"n1", 2}, {"n2", 2}}));
  EXPECT_TRUE(Until([&] { return ReadyEndpoints() == 4; }));
  EXPECT_EQ(ConditionText("Available"), "True MinimumReplicasAvailable");
  EXPECT_EQ(ConditionText("Progressing"), "True NewReplicaSetAvailable");

  // Scaling up and down.
  for (int replicas : {6, 2, 4}) {
    Json patch = {{"spec", {{"replicas", replicas}}}};
    ASSERT_TRUE(cluster_->Patch(kube::Deployments(), "web", patch).ok());
    ASSERT_TRUE(Until([&] { return IsRolledOut(replicas); })) << Status();
    EXPECT_TRUE(Until([&] {
      return ReadyEndpoints() == static_cast<size_t>(replicas);
    }));
  }

  // A pod that dies is replaced.
  Json victim = cluster_->List(kube::Pods())[0];
  ASSERT_TRUE(
      cluster_->Delete(kube::Pods(), victim["metadata"]["name"]).ok());
  EXPECT_TRUE(Until([&] {
    auto pods = cluster_->List(kube::Pods());
    return IsRolledOut(4) && pods.size() == 4 &&
           std::none_of(pods.begin(), pods.end(), [&](const Json& pod) {
             return pod["metadata"]["uid"] == victim["metadata"]["uid"];
           });
  }));

  // And with the deployment, everything that it owns goes.
  ASSERT_TRUE(cluster_->Delete(kube::Deployments(), "web").ok());
  EXPECT_TRUE(Until([&] {
    return cluster_->List(kube::ReplicaSets()).empty() &&
           cluster_->List(kube::Pods()).empty() && ReadyEndpoints() == 0;
  }));
}

TEST_F(ControllerTest, RollingUpdateKeepsWithinItsBounds) {
  Start();
  CreateWeb(4);
  cluster_->StartRecording("web");
  for (const char* image : {"b", "c"}) {
    ASSERT_TRUE(
        cluster_->Patch(kube::Deployments(), "web", ImagePatch(image)).ok());
    ASSERT_TRUE(Until([&] { return IsRolledOut(4); })) << Status();
  }
  // In the middle of one rollout comes the next.
  ASSERT_TRUE(
      cluster_->Patch(kube::Deployments(), "web", ImagePatch("d")).ok());
  ASSERT_TRUE(Until([&] {
    auto pods = cluster_->List(kube::Pods());
    return std::any_of(pods.begin(), pods.end(), [](const Json& pod) {
      return pod["spec"]["containers"][0]["image"] == "d";
    });
  }));
  ASSERT_TRUE(
      cluster_->Patch(kube::Deployments(), "web", ImagePatch("e")).ok());
  ASSERT_TRUE(Until([&] { return IsRolledOut(4); })) << Status();
  FakeCluster::Extremes extremes = cluster_->StopRecording();
  // 25% of four: one may be missing, one more may be there.
  EXPECT_GE(extremes.min_ready, 3);
  EXPECT_LE(extremes.max_alive, 5);
  for (const Json& pod : cluster_->List(kube::Pods())) {
    if (!pod["metadata"].contains("deletionTimestamp")) {
      EXPECT_EQ(pod["spec"]["containers"][0]["image"], "e");
    }
  }
}

TEST_F(ControllerTest, DeletionInTheForegroundAndOfOrphans) {
  Start();
  CreateWeb(3);
  ASSERT_TRUE(
      cluster_->Delete(kube::Deployments(), "web", "Orphan").ok());
  ASSERT_TRUE(Until([&] {
    auto sets = cluster_->List(kube::ReplicaSets());
    return absl::IsNotFound(
               cluster_->Get(kube::Deployments(), "web").status()) &&
           sets.size() == 1 && !sets[0]["metadata"].contains("ownerReferences");
  }));
  EXPECT_EQ(cluster_->List(kube::Pods()).size(), 3u);
  // The same deployment again takes over what is there.
  ASSERT_TRUE(cluster_->Create(kube::Deployments(), WebDeployment(3)).ok());
  ASSERT_TRUE(Until([&] { return IsRolledOut(3); }));
  EXPECT_EQ(cluster_->List(kube::ReplicaSets()).size(), 1u);
  ASSERT_TRUE(
      cluster_->Delete(kube::Deployments(), "web", "Foreground").ok());
  EXPECT_TRUE(Until([&] {
    return absl::IsNotFound(
        cluster_->Get(kube::Deployments(), "web").status());
  }));
  EXPECT_TRUE(cluster_->List(kube::ReplicaSets()).empty());
  EXPECT_TRUE(cluster_->List(kube::Pods()).empty());
}

TEST_F(ControllerTest, ALostNodesPodsAreReplaced) {
  Start({"--node-monitor-grace-period", "3s", "--pod-eviction-timeout", "1s"});
  CreateWeb(4);
  ASSERT_TRUE(Until([&] { return ReadyEndpoints() == 4; }));
  cluster_->Silence("n1");
  // Out of service first ...
  ASSERT_TRUE(Until([&] { return ReadyEndpoints() <= 2; }));
  auto node = cluster_->Get(kube::Nodes(), "n1");
  ASSERT_TRUE(node.ok());
  // ... then replaced elsewhere, and not waited for.
  EXPECT_TRUE(Until([&] {
    return PodsByNode() == std::map<std::string, int>{{"n2", 4}} &&
           ReadyEndpoints() == 4 && cluster_->List(kube::Pods()).size() == 4;
  })) << Json(PodsByNode());
  EXPECT_NE((*node)["spec"].dump().find("10.244."), std::string::npos);
  cluster_->Revive("n1");
  EXPECT_TRUE(Until([&] {
    auto n = cluster_->Get(kube::Nodes(), "n1");
    return n.ok() && !(*n)["spec"].contains("taints");
  }));
}

// Nobody is there who would end them. A node that is only late has its pods.
TEST_F(ControllerTest, PodsOfANodeThatIsNotThereAreRemoved) {
  Start();
  for (const char* node : {"gone", "late", "n1"}) {
    Json pod = {{"apiVersion", "v1"},
                {"kind", "Pod"},
                {"metadata",
                 {{"namespace", "default"}, {"name", std::string("on-") + node}}},
                {"spec",
                 {{"nodeName", node},
                  {"containers",
                   Json::array({{{"name", "c"}, {"image", "i"}}})}}}};
    ASSERT_TRUE(cluster_->Create(kube::Pods(), pod).ok()) << node;
  }
  auto has = [&](const char* name) {
    return cluster_->Get(kube::Pods(), name).ok();
  };
  const absl::Time begin = absl::Now();
  ASSERT_TRUE(has("on-gone"));
  std::this_thread::sleep_for(std::chrono::seconds(25));
  const Json late = {{"apiVersion", "v1"},
                     {"kind", "Node"},
                     {"metadata", {{"name", "late"}}}};
  ASSERT_TRUE(cluster_->Create(kube::Nodes(), late).ok());
  EXPECT_TRUE(has("on-gone"));
  EXPECT_TRUE(Until([&] { return !has("on-gone"); }, absl::Seconds(60)));
  EXPECT_GE(absl::Now() - begin, absl::Seconds(39));
  EXPECT_TRUE(has("on-late"));
  EXPECT_TRUE(has("on-n1"));
}

TEST_F(ControllerTest, EveryClusterHasTheServiceOfItsApi) {
  Start();
  auto service = cluster_->Get(kube::Services(), "kubernetes");
  ASSERT_TRUE(Until([&] {
    service = cluster_->Get(kube::Services(), "kubernetes");
    return service.ok();
  }));
  EXPECT_EQ((*service)["spec"]["clusterIP"], "10.96.0.1");
  // It listens on loopback alone: there is no endpoint to tell of.
  ASSERT_TRUE(Until([&] {
    return cluster_->Get(kube::EndpointSlices(), "kubernetes").ok();
  }));
  EXPECT_EQ(ReadyEndpoints(), 0u);
  EXPECT_TRUE(Until([&] {
    return cluster_->Get(kube::PriorityClasses(), "system-node-critical", "")
        .ok();
  }));
  // It comes back, and with its address.
  ASSERT_TRUE(cluster_->Delete(kube::Services(), "kubernetes").ok());
  EXPECT_TRUE(Until([&] {
    auto again = cluster_->Get(kube::Services(), "kubernetes");
    return again.ok() && (*again)["metadata"]["uid"] !=
                             (*service)["metadata"]["uid"] &&
           (*again)["spec"]["clusterIP"] == "10.96.0.1";
  }));
}

// The echo of a slice that was written is not news.
TEST_F(ControllerTest, OwnWritesPlanNothingAnew) {
  constexpr int kServices = 30;
  Start();
  auto plans = [this] {
    return MetricOf(controller_.url(),
                    "fl_controller_plans_total"
                    "{controller=\"endpointslice-controller\"}");
  };
  ASSERT_TRUE(Until([&] { return plans() > 0; }));
  const int64_t before = plans();
  for (int i = 0; i < kServices; ++i) {
    ASSERT_TRUE(cluster_
                    ->Create(kube::Services(),
                             {{"metadata",
                               {{"namespace", "default"},
                                {"name", absl::StrCat("s", i)}}},
                              {"spec",
                               {{"selector", {{"app", "x"}}},
                                {"ports", Json::array({{{"port", 80}}})}}}})
                    .ok());
  }
  auto slices = [this] {
    return cluster_->List(kube::EndpointSlices(), "default",
                          "labelSelector=endpointslice.kubernetes.io%2F"
                          "managed-by%3Dendpointslice-controller.k8s.io");
  };
  ASSERT_TRUE(Until([&] { return slices().size() == kServices; }));
  EXPECT_GE(plans() - before, kServices);
  EXPECT_LT(plans() - before, kServices * 3 / 2);
  // What somebody else does to one is undone.
  Json slice = slices()[0];
  ASSERT_TRUE(cluster_
                  ->Patch(kube::EndpointSlices(), slice["metadata"]["name"],
                          {{"ports", Json::array({{{"port", 1}}})}})
                  .ok());
  EXPECT_TRUE(Until([&] { return slices()[0]["ports"] == slice["ports"]; }));
}

TEST_F(ControllerTest, AggregatedRolesShowTheirRules) {
  Start();
  auto rules_of = [this](const char* name) {
    auto role = cluster_->Get(kube::ClusterRoles(), name, "");
    return role.ok() ? role->value("rules", Json::array()) : Json::array();
  };
  const Json custom = {{"verbs", {"get"}},
                       {"apiGroups", {"example.com"}},
                       {"resources", {"things"}}};
  auto has = [](const Json& rules, const Json& rule) {
    return std::find(rules.begin(), rules.end(), rule) != rules.end();
  };
  ASSERT_TRUE(Until([&] {
    return rules_of("view").size() > 3 &&
           rules_of("admin").size() > rules_of("edit").size() &&
           rules_of("edit").size() > rules_of("view").size();
  })) << rules_of("admin");
  ASSERT_TRUE(
      cluster_
          ->Create(kube::ClusterRoles(),
                   {{"metadata",
                     {{"name", "things"},
                      {"labels",
                       {{"rbac.authorization.k8s.io/aggregate-to-view",
                         "true"}}}}},
                    {"rules", Json::array({custom})}})
          .ok());
  EXPECT_TRUE(Until([&] { return has(rules_of("admin"), custom); }));
  ASSERT_TRUE(cluster_->Delete(kube::ClusterRoles(), "things", "Background",
                               "").ok());
  EXPECT_TRUE(Until([&] { return !has(rules_of("admin"), custom); }));
}

// Endpoints outside the cluster, as somebody writes them for a Service without
// a selector: the agent reads slices alone.
TEST_F(ControllerTest, HandMadeEndpointsAreMirroredIntoSlices) {
  Start();
  Json service = {{"metadata", {{"namespace", "default"}, {"name", "db"}}},
                  {"spec", {{"ports", Json::array({{{"port", 5432}}})}}}};
  Json endpoints = Json::parse(R"({"metadata": {"namespace": "default",
      "name": "db"}, "subsets": [{"addresses": [{"ip": "192.0.2.1"}],
      "ports": [{"port": 5432}]}]})");
  ASSERT_TRUE(cluster_->Create(kube::Services(), service).ok());
  ASSERT_TRUE(cluster_->Create(kube::Endpoints(), endpoints).ok());
  EXPECT_TRUE(Until([&] { return ReadyEndpoints() == 1; }));
  ASSERT_TRUE(
      cluster_
          ->Patch(kube::Endpoints(), "db", Json::parse(R"({"subsets": [
              {"addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}],
               "ports": [{"port": 5432}]}]})"))
          .ok());
  EXPECT_TRUE(Until([&] { return ReadyEndpoints() == 2; }));
  ASSERT_TRUE(cluster_->Delete(kube::Endpoints(), "db").ok());
  EXPECT_TRUE(Until([&] { return ReadyEndpoints() == 0; }));
}

// A stock kubectl drains a node while a budget holds its hand.
TEST_F(ControllerTest, ADrainTakesNoMoreThanTheBudgetAllows) {
  if (std::system("kubectl version --client >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "kubectl is not installed";
  }
  Start();
  CreateWeb(6);
  Json budget = {{"apiVersion", "policy/v1"},
                 {"kind", "PodDisruptionBudget"},
                 {"metadata", {{"namespace", "default"}, {"name", "web"}}},
                 {"spec",
                  {{"minAvailable", 6},
                   {"selector", {{"matchLabels", {{"app", "web"}}}}}}}};
  ASSERT_TRUE(cluster_->Create(kube::PodDisruptionBudgets(), budget).ok());
  auto allows = [&](int disruptions) {
    auto b = cluster_->Get(kube::PodDisruptionBudgets(), "web");
    return b.ok() && (*b)["status"].value("currentHealthy", 0) == 6 &&
           (*b)["status"].value("disruptionsAllowed", -1) == disruptions;
  };
  ASSERT_TRUE(Until([&] { return allows(0); }));
  auto drain = [&](const char* timeout) {
    std::string said = controller_.folder() + "/drain";
    std::string command = absl::StrCat(
        "KUBECONFIG=", controller_.Kubeconfig(), " kubectl drain n1 --timeout=",
        timeout, " >", said, " 2>&1");
    EXPECT_NE(std::system(command.c_str()), -1);
    std::ifstream file(said);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  auto before = PodsByNode();
  EXPECT_THAT(drain("1s"),
              testing::HasSubstr("Cannot evict pod as it would violate the "
                                 "pod's disruption budget."));
  EXPECT_EQ(PodsByNode(), before);
  Json one = {{"spec", {{"minAvailable", 5}}}};
  ASSERT_TRUE(
      cluster_->Patch(kube::PodDisruptionBudgets(), "web", one).ok());
  ASSERT_TRUE(Until([&] { return allows(1); }));
  cluster_->StartRecording("web");
  EXPECT_THAT(drain("120s"), testing::HasSubstr("node/n1 drained"));
  EXPECT_TRUE(Until([&] {
    return PodsByNode() == std::map<std::string, int>{{"n2", 6}} &&
           IsRolledOut(6);
  })) << Json(PodsByNode());
  EXPECT_GE(cluster_->StopRecording().min_ready, 5);
}

// What scripts/deploy has for a cluster, by a stock kubectl.
TEST_F(ControllerTest, TakesTheAgentsManifest) {
  if (std::system("kubectl version --client >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "kubectl is not installed";
  }
  Start();
  const std::string output = controller_.folder() + "/kubectl";
  auto apply = [&] {
    std::string command = absl::StrCat(
        "KUBECONFIG=", controller_.Kubeconfig(), " kubectl apply -f "
        FAIRLEAD_SOURCE_DIR "/scripts/deploy/fairlead-agent.yaml >", output,
        " 2>&1");
    EXPECT_NE(std::system(command.c_str()), -1);
    std::ifstream file(output);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  std::string first = apply(), second = apply();
  for (const char* object :
       {"configmap/fairlead-agent", "daemonset.apps/fairlead-agent",
        "serviceaccount/fairlead-agent"}) {
    EXPECT_THAT(first, testing::HasSubstr(absl::StrCat(object, " created\n")));
    EXPECT_THAT(second,
                testing::HasSubstr(absl::StrCat(object, " unchanged\n")));
  }
  // On nodes of its system only.
  Json linux = {{"metadata", {{"labels", {{"kubernetes.io/os", "linux"}}}}}};
  for (const char* node : {"n1", "n2"}) {
    ASSERT_TRUE(cluster_->Patch(kube::Nodes(), node, linux, "").ok());
  }
  EXPECT_TRUE(Until([&] {
    auto d = cluster_->Get(kube::DaemonSets(), "fairlead-agent", "kube-system");
    return d.ok() && (*d)["status"].value("numberAvailable", 0) == 2;
  }));
  for (const Json& pod : cluster_->List(kube::Pods(), "kube-system")) {
    EXPECT_EQ(pod["spec"]["hostNetwork"], true);
    EXPECT_EQ(pod["spec"]["priority"], 2000001000);
  }
}

TEST_F(ControllerTest, ADaemonSetIsOnEveryNodeAndComesBackAfterAnUpdate) {
  Start();
  Json ds = WebDeployment(1);
  ds["kind"] = "DaemonSet";
  ds["spec"].erase("replicas");
  ASSERT_TRUE(cluster_->Create(kube::DaemonSets(), ds).ok());
  auto is_done = [&](int nodes, const char* image) {
    auto d = cluster_->Get(kube::DaemonSets(), "web");
    if (!d.ok()) return false;
    const Json& status = (*d)["status"];
    bool images = true;
    for (const Json& pod : cluster_->List(kube::Pods())) {
      images &= pod["spec"]["containers"][0]["image"] == image;
    }
    return images && status.value("numberAvailable", 0) == nodes &&
           status.value("updatedNumberScheduled", 0) == nodes &&
           PodsByNode().size() == static_cast<size_t>(nodes);
  };
  EXPECT_TRUE(Until([&] { return is_done(2, "a"); }));
  cluster_->AddNode("n3");
  EXPECT_TRUE(Until([&] { return is_done(3, "a"); }));
  ASSERT_TRUE(
      cluster_->Patch(kube::DaemonSets(), "web", ImagePatch("b")).ok());
  EXPECT_TRUE(Until([&] { return is_done(3, "b"); }));
  EXPECT_EQ(cluster_->List(kube::ControllerRevisions()).size(), 2u);
  ASSERT_TRUE(cluster_->Delete(kube::DaemonSets(), "web").ok());
  EXPECT_TRUE(Until([&] {
    return cluster_->List(kube::Pods()).empty() &&
           cluster_->List(kube::ControllerRevisions()).empty();
  }));
}

TEST_F(ControllerTest, AnUnschedulablePodSaysWhyAndIsPlacedLater) {
  Start();
  Json d = WebDeployment(2);
  d["spec"]["template"]["spec"]["nodeSelector"] = {{"disk", "ssd"}};
  ASSERT_TRUE(cluster_->Create(kube::Deployments(), d).ok());
  std::string message;
  EXPECT_TRUE(Until([&] {
    for (const Json& pod : cluster_->List(kube::Pods())) {
      for (const Json& c : pod["status"].value("conditions", Json::array())) {
        if (c["type"] == "PodScheduled") message = c.value("message", "");
      }
    }
    return message ==
           "0/2 nodes are available: 2 node(s) didn't match Pod's node "
           "affinity/selector. no new claims to deallocate, preemption: 0/2 "
           "nodes are available: 2 Preemption is not helpful for scheduling.";
  })) << message;
  EXPECT_TRUE(Until([&] {
    for (const Json& event : cluster_->List(kube::Events())) {
      if (event["reason"] == "FailedScheduling") return true;
    }
    return false;
  }));
  Json labels = {{"metadata", {{"labels", {{"disk", "ssd"}}}}}};
  ASSERT_TRUE(cluster_->Patch(kube::Nodes(), "n2", labels).ok());
  EXPECT_TRUE(Until([&] { return IsRolledOut(2); })) << Status();
  EXPECT_EQ(PodsByNode(), (std::map<std::string, int>{{"n2", 2}}));
}

TEST_F(ControllerTest, ADeletedNamespaceIsEmptied) {
  Start();
  Json ns = {{"apiVersion", "v1"},
             {"kind", "Namespace"},
             {"metadata", {{"name", "team"}}}};
  ASSERT_TRUE(cluster_->Create(kube::Namespaces(), ns).ok());
  EXPECT_TRUE(Until([&] {
    return cluster_->Get(kube::ServiceAccounts(), "default", "team").ok();
  }));
  Json d = WebDeployment(2);
  d["metadata"]["namespace"] = "team";
  ASSERT_TRUE(cluster_->Create(kube::Deployments(), d).ok());
  ASSERT_TRUE(Until([&] {
    return cluster_->List(kube::Pods(), "team").size() == 2;
  }));
  ASSERT_TRUE(cluster_->Delete(kube::Namespaces(), "team").ok());
  EXPECT_TRUE(Until([&] {
    return absl::IsNotFound(
        cluster_->Get(kube::Namespaces(), "team").status());
  }));
  EXPECT_TRUE(cluster_->List(kube::Pods(), "team").empty());
  EXPECT_TRUE(cluster_->List(kube::Deployments(), "team").empty());
}

// Killed at any moment of a rollout, it goes on where it was: the bounds hold
// throughout, nothing is made twice.
TEST_F(ControllerTest, SurvivesBeingKilledAtAnyMoment) {
  Start();
  CreateWeb(4);
  cluster_->StartRecording("web");
  std::mt19937 random(7);
  for (int round = 0; round < 6; ++round) {
    SCOPED_TRACE(round);
    std::string image = absl::StrCat("v", round);
    ASSERT_TRUE(
        cluster_->Patch(kube::Deployments(), "web", ImagePatch(image)).ok());
    for (int kills = 0; kills < 3; ++kills) {
      std::this_thread::sleep_for(
          std::chrono::milliseconds(random() % 150));
      controller_.Kill();
      controller_.Start();
    }
    ASSERT_TRUE(Until([&] { return IsRolledOut(4); }, absl::Seconds(60)))
        << Status();
    size_t alive = 0;
    for (const Json& pod : cluster_->List(kube::Pods())) {
      if (pod["metadata"].contains("deletionTimestamp")) continue;
      ++alive;
      EXPECT_EQ(pod["spec"]["containers"][0]["image"], image);
    }
    EXPECT_EQ(alive, 4u);
  }
  FakeCluster::Extremes extremes = cluster_->StopRecording();
  EXPECT_GE(extremes.min_ready, 3);
  EXPECT_LE(extremes.max_alive, 5);
  // One ReplicaSet for each version, none twice.
  EXPECT_EQ(cluster_->List(kube::ReplicaSets()).size(), 7u);
  EXPECT_TRUE(Until([&] { return ReadyEndpoints() == 4; }));
}

TEST_F(ControllerTest, IsSmallWhenIdleAndStopsCleanly) {
  Start();
  std::ifstream status(absl::StrCat("/proc/", controller_.pid(), "/status"));
  std::string word;
  int64_t rss_kb = 0;
  while (status >> word) {
    if (word == "VmRSS:") status >> rss_kb;
  }
  RecordProperty("rss_kb", absl::StrCat(rss_kb));
  std::printf("controller idle RSS: %ld kB\n", static_cast<long>(rss_kb));
  EXPECT_GT(rss_kb, 0);
  EXPECT_LE(rss_kb, 40 * 1024);
  EXPECT_EQ(controller_.Terminate(), 0);
}

TEST_F(ControllerTest, SaysEverythingThatIsWrongWithItsFlags) {
  const auto [code, output] = RunController(
      "--listen nonsense --cluster-cidr 10.0.0.0/30 "
      "--node-port-range 9-1 --node-monitor-grace-period soon");
  EXPECT_EQ(code, 2);
  for (const char* flag : {"--listen", "--cluster-cidr", "--node-port-range",
                           "--node-monitor-grace-period"}) {
    EXPECT_THAT(output, testing::HasSubstr(flag));
  }
}

}  // namespace
}  // namespace fairlead
