// SPDX-License-Identifier: Apache-2.0
// metrics.k8s.io as the API server makes it of what kubelets say: real sockets,
// kubelets that say what the test wants.
#include <gmock/gmock.h>

#include "control/api/kinds.h"
#include "control/api/usage_metrics.h"
#include "tests/unit/api_fixture.h"
#include "tests/unit/loopback_server.h"

namespace fairlead::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Json UsageJson(int64_t nano_cores, int64_t bytes) {
  return {{"cpu", {{"time", "2026-01-01T00:00:00Z"},
                   {"usageNanoCores", nano_cores}}},
          {"memory", {{"workingSetBytes", bytes}}}};
}

Json ContainerJson(const std::string& name, int64_t nano_cores,
                   int64_t bytes) {
  Json container = UsageJson(nano_cores, bytes);
  container["name"] = name;
  return container;
}

// A node and two pods, of which one has two containers.
Json SummaryJson(const std::string& node) {
  Json out = {{"node", UsageJson(1'500'000'000, int64_t{2} << 30)},
              {"pods", Json::array()}};
  out["node"]["nodeName"] = node;
  out["pods"].push_back(
      {{"podRef", {{"name", "a"}, {"namespace", "x"}, {"uid", "1"}}},
       {"containers",
        {ContainerJson("c", 5'000'000, 10 << 20),
         ContainerJson("d", 0, 4096)}}});
  out["pods"].push_back(
      {{"podRef", {{"name", "b"}, {"namespace", "y"}, {"uid", "2"}}},
       {"containers", {ContainerJson("c", 7, 1023)}}});
  return out;
}

TEST(UsageMetrics, OfASummary) {
  const auto usage = ParseSummary(SummaryJson("n").dump());
  ASSERT_TRUE(usage.ok()) << usage.status();
  ASSERT_TRUE(usage->node.has_value());
  const Json object = {{"metadata",
                        {{"name", "n"},
                         {"uid", "u"},
                         {"labels", {{"zone", "z"}}}}}};
  EXPECT_EQ(NodeMetricsOf(object, *usage->node),
            Json::parse(R"({
    "metadata": {"name": "n", "labels": {"zone": "z"},
                 "creationTimestamp": "2026-01-01T00:00:00Z"},
    "timestamp": "2026-01-01T00:00:00Z", "window": "10s",
    "usage": {"cpu": "1500000000n", "memory": "2097152Ki"}})"));
  ASSERT_EQ(usage->pods.size(), 2u);
  EXPECT_EQ(usage->pods[0].uid, "1");
  EXPECT_EQ(PodMetricsOf({{"metadata", {{"name", "a"}, {"namespace", "x"}}}},
                         usage->pods[0]),
            Json::parse(R"({
    "metadata": {"name": "a", "namespace": "x",
                 "creationTimestamp": "2026-01-01T00:00:00Z"},
    "timestamp": "2026-01-01T00:00:00Z", "window": "10s",
    "containers": [
      {"name": "c", "usage": {"cpu": "5000000n", "memory": "10240Ki"}},
      {"name": "d", "usage": {"cpu": "0", "memory": "4Ki"}}]})"));
}

TEST(UsageMetrics, WhatIsNotKnownYetIsLeftOut) {
  Json summary = SummaryJson("n");
  summary["node"]["cpu"].erase("usageNanoCores");
  summary["pods"][0]["containers"][1]["cpu"].erase("usageNanoCores");
  summary["pods"].push_back(
      {{"podRef", {{"name", "c"}, {"namespace", "x"}, {"uid", "3"}}},
       {"containers", Json::array()}});
  const auto usage = ParseSummary(summary.dump());
  ASSERT_TRUE(usage.ok());
  EXPECT_FALSE(usage->node.has_value());
  ASSERT_EQ(usage->pods.size(), 1u);
  EXPECT_EQ(usage->pods[0].name, "b");
}

TEST(UsageMetrics, HostileSummaries) {
  for (const char* text :
       {"", "{", "[]", "7", "{\"node\": 7}", "{\"pods\": []}", "\xff"}) {
    EXPECT_FALSE(ParseSummary(text).ok()) << text;
  }
  const auto odd = ParseSummary(R"({
    "node": {"nodeName": 7, "cpu": [], "memory": "x"},
    "pods": [7, {"podRef": 7}, {"containers": [7]}, {"containers": {}},
             {"containers": [{"name": "c", "cpu": {"usageNanoCores": -1},
                              "memory": {"workingSetBytes": 1e300}}]}]})");
  ASSERT_TRUE(odd.ok());
  EXPECT_FALSE(odd->node.has_value());
  EXPECT_TRUE(odd->pods.empty());
}

class MetricsTest : public ApiServerTest {
 protected:
  MetricsTest() {
    kinds_ = MakeKindTable();
    Start();
  }

  // A kubelet that answers `body`.
  class Kubelet {
   public:
    explicit Kubelet(std::string body, int status = 200)
        : server_([this, body = std::move(body), status](
                      int fd, const std::string& request) {
            if (request.find("GET /stats/summary HTTP/1.1") != 0) return false;
            ++asked;
            const std::string answer =
                StrCat("HTTP/1.1 ", status, " X\r\nContent-Length: ",
                       body.size(), "\r\n\r\n", body);
            return send(fd, answer.data(), answer.size(), MSG_NOSIGNAL) > 0;
          }) {}
    int port() const {
      const std::string url = server_.url();
      return std::stoi(url.substr(url.rfind(':') + 1));
    }
    std::atomic<int> asked = 0;

   private:
    kube::LoopbackServer server_;
  };

  void AddNode(const std::string& name, int port) {
    const Json status = {
        {"addresses",
         Json::array({{{"type", "InternalIP"}, {"address", "127.0.0.1"}}})},
        {"daemonEndpoints", {{"kubeletEndpoint", {{"Port", port}}}}}};
    const Json node = {{"metadata", {{"name", name},
                                     {"labels", {{"node", name}}}}},
                       {"status", status}};
    ASSERT_EQ(Do("POST", "/api/v1/nodes", node.dump(),
                 {{"Content-Type", "application/json"}}).status, 201);
  }
  // Its uid.
  std::string AddPod(const std::string& ns, const std::string& name,
                     const std::string& node) {
    Do("POST", "/api/v1/namespaces",
       Json({{"metadata", {{"name", ns}}}}).dump());
    const Json pod = {
        {"metadata", {{"name", name}, {"labels", {{"app", name}}}}},
        {"spec",
         {{"nodeName", node},
          {"containers", Json::array({{{"name", "c"}, {"image", "i"}}})}}}};
    const Answer made = Do("POST", StrCat("/api/v1/namespaces/", ns, "/pods"),
                           pod.dump());
    EXPECT_EQ(made.status, 201) << made.body;
    return made.json()["metadata"]["uid"];
  }
  std::vector<std::string> Names(const std::string& path) {
    const Answer answer = Do("GET", kBase + path);
    EXPECT_EQ(answer.status, 200) << answer.body;
    const Json list = answer.json();
    std::vector<std::string> names;
    for (const Json& item : list["items"])
      names.push_back(item["metadata"]["name"]);
    return names;
  }

  const std::string kBase = "/apis/metrics.k8s.io/v1beta1";
};

TEST_F(MetricsTest, ListsGetsAndSelects) {
  const std::string a = AddPod("x", "a", "n1"), b = AddPod("y", "b", "n1");
  Json summary = SummaryJson("n1");
  summary["pods"][0]["podRef"]["uid"] = a;
  summary["pods"][1]["podRef"]["uid"] = b;
  Kubelet kubelet(summary.dump());
  AddNode("n1", kubelet.port());
  EXPECT_THAT(Names("/nodes"), ElementsAre("n1"));
  EXPECT_THAT(Names("/pods"), ElementsAre("a", "b"));
  EXPECT_THAT(Names("/namespaces/y/pods"), ElementsAre("b"));
  EXPECT_THAT(Names("/pods?labelSelector=app%3Da"), ElementsAre("a"));
  EXPECT_THAT(Names("/pods?fieldSelector=metadata.name%3Db"),
              ElementsAre("b"));
  EXPECT_THAT(Names("/nodes?labelSelector=node%3Dother"), ElementsAre());
  const Json list = Do("GET", kBase + "/pods").json();
  EXPECT_EQ(list["kind"], "PodMetricsList");
  EXPECT_EQ(list["apiVersion"], "metrics.k8s.io/v1beta1");
  const Json one = Do("GET", kBase + "/namespaces/x/pods/a").json();
  EXPECT_EQ(one["kind"], "PodMetrics");
  EXPECT_EQ(one["containers"].size(), 2u);
  EXPECT_EQ(one["metadata"]["labels"]["app"], "a");
  EXPECT_EQ(Do("GET", kBase + "/nodes/n1").json()["usage"]["cpu"],
            "1500000000n");
  const Json table =
      Do("GET", kBase + "/pods", "",
         {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}}).json();
  EXPECT_EQ(table["rows"][0]["cells"],
            Json({"a", "5m", "10244Ki", "10s"}));
  // One look serves them all.
  EXPECT_EQ(kubelet.asked, 1);
}

TEST_F(MetricsTest, WhatIsNotThere) {
  EXPECT_THAT(Names("/nodes"), ElementsAre());
  const Answer pod = Do("GET", kBase + "/namespaces/x/pods/none");
  EXPECT_EQ(pod.status, 404);
  EXPECT_EQ(pod.json()["message"],
            "podmetrics.metrics.k8s.io \"x/none\" not found");
  EXPECT_EQ(Do("GET", kBase + "/nodes/none").json()["message"],
            "nodemetrics.metrics.k8s.io \"none\" not found");
  for (const char* method : {"POST", "PUT", "PATCH", "DELETE"}) {
    EXPECT_EQ(Do(method, kBase + "/nodes", "{}").status, 405) << method;
    EXPECT_EQ(Do(method, kBase + "/nodes/n", "{}").status, 405) << method;
  }
  EXPECT_EQ(Do("GET", kBase + "/nodes?watch=1").status, 405);
  EXPECT_EQ(Do("GET", kBase + "/nodes/n/status").status, 404);
}

// A node may speak for its own pods, as they are now.
TEST_F(MetricsTest, AKubeletIsBelievedAboutItsOwnPods) {
  AddPod("x", "a", "n1");
  const std::string b = AddPod("y", "b", "n2");
  Json summary = SummaryJson("n1");  // a with a uid that it doesn't have
  summary["pods"][1]["podRef"]["uid"] = b;
  Kubelet kubelet(summary.dump());
  AddNode("n1", kubelet.port());
  EXPECT_THAT(Names("/pods"), ElementsAre());
  EXPECT_THAT(Names("/nodes"), ElementsAre("n1"));
}

TEST_F(MetricsTest, NodesThatDontAnswerHaveNone) {
  Kubelet good(SummaryJson("n1").dump()), refuses("Forbidden", 403),
      odd("<html>");
  AddNode("n1", good.port());
  AddNode("n2", refuses.port());
  AddNode("n3", odd.port());
  AddNode("n4", 1);  // nobody listens
  EXPECT_THAT(Names("/nodes"), ElementsAre("n1"));
}

TEST_F(MetricsTest, DiscoveryAndRights) {
  const Json list = Do("GET", kBase).json();
  EXPECT_EQ(list["resources"], Json::parse(R"([
    {"name": "nodes", "singularName": "", "namespaced": false,
     "kind": "NodeMetrics", "verbs": ["get", "list"]},
    {"name": "pods", "singularName": "", "namespaced": true,
     "kind": "PodMetrics", "verbs": ["get", "list"]}])"));
  EXPECT_THAT(
      Do("GET", "/apis", "",
         {{"Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as="
                     "APIGroupDiscoveryList"}}).body,
      HasSubstr("\"responseKind\":{\"group\":\"\",\"kind\":\"PodMetrics\""));
  const kube::Headers ann = {{"Impersonate-User", "ann"}};
  EXPECT_EQ(Do("GET", kBase + "/namespaces/x/pods", "", ann).status, 403);
  const Json binding = {
      {"metadata", {{"name", "ann"}}},
      {"roleRef", {{"apiGroup", "rbac.authorization.k8s.io"},
                   {"kind", "ClusterRole"},
                   {"name", "view"}}},
      {"subjects", Json::array({{{"kind", "User"},
                                 {"apiGroup", "rbac.authorization.k8s.io"},
                                 {"name", "ann"}}})}};
  EXPECT_EQ(Do("POST",
               "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
               binding.dump()).status, 201);
  EXPECT_EQ(Do("GET", kBase + "/namespaces/x/pods", "", ann).status, 200);
  EXPECT_EQ(Do("GET", kBase + "/nodes", "", ann).status, 200);
}

}  // namespace
}  // namespace fairlead::api
