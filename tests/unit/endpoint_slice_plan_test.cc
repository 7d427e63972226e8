// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/controllers/endpoint_slice.h"
#include "tests/unit/fake_cluster.h"

namespace fairlead::controllers {
namespace {

using ::testing::ElementsAre;

class SlicesTest : public testing::Test {
 protected:
  SlicesTest() {
    cluster_.Put(kube::Services(), Json::parse(R"({"metadata":
        {"namespace": "default", "name": "web", "uid": "svc"},
        "spec": {"selector": {"app": "web"}, "ipFamilies": ["IPv4"],
                 "clusterIP": "10.96.0.10",
                 "ports": [{"name": "http", "port": 80, "protocol": "TCP",
                            "targetPort": "http"}]}})"));
    cluster_.Put(kube::Nodes(), Json::parse(R"({"metadata": {"name": "n1",
        "labels": {"topology.kubernetes.io/zone": "zone-a"}}})"));
  }

  void SetService(const char* overrides) {
    Json service = *cluster_.Get(kube::Services(), "default/web");
    service.merge_patch(Json::parse(overrides));
    cluster_.Put(kube::Services(), service);
  }

  void AddPod(int i, const char* overrides = "{}") {
    Json pod = Json::parse(R"({"metadata": {"namespace": "default",
        "labels": {"app": "web"}}, "spec": {"nodeName": "n1", "containers":
        [{"ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}]}})");
    pod["metadata"]["name"] = StrCat("web-", i);
    pod["metadata"]["uid"] = StrCat("uid-", i);
    std::string v4 = StrCat("10.244.", i / 250, ".", i % 250 + 1);
    pod["status"]["podIPs"] = Json::array(
        {{{"ip", v4}}, {{"ip", StrCat("fd00:10:244::", i + 1)}}});
    pod.merge_patch(Json::parse(overrides));
    cluster_.Put(kube::Pods(), pod);
  }

  Plan Make() {
    EndpointSliceFacts facts{
        .service = cluster_.Get(kube::Services(), "default/web"),
        .pods = cluster_.List(kube::Pods()),
        .slices = cluster_.List(kube::EndpointSlices()),
        .trigger = cluster_.now};
    facts.nodes["n1"] = cluster_.Get(kube::Nodes(), "n1");
    return PlanEndpointSlices(facts);
  }

  std::vector<std::string> Sync() {
    Plan plan = Make();
    std::vector<std::string> verbs;
    for (const Write& w : plan.writes) {
      std::string text = Describe(w);
      verbs.push_back(text.substr(0, text.find(' ')));
    }
    cluster_.Apply(std::move(plan));
    return verbs;
  }

  std::vector<size_t> Sizes() {
    std::vector<size_t> sizes;
    for (const Object& slice : cluster_.List(kube::EndpointSlices())) {
      sizes.push_back((*slice)["endpoints"].size());
    }
    std::sort(sizes.begin(), sizes.end());
    return sizes;
  }

  Json Only() {
    auto slices = cluster_.List(kube::EndpointSlices());
    return slices.size() == 1 ? *slices[0] : Json();
  }

  FakeCluster cluster_;
};

TEST_F(SlicesTest, DescribesAPod) {
  AddPod(0);
  EXPECT_THAT(Sync(), ElementsAre("create"));
  Json slice = Only();
  EXPECT_EQ(slice["addressType"], "IPv4");
  EXPECT_EQ(slice["ports"], Json::parse(
      R"([{"name": "http", "port": 8080, "protocol": "TCP"}])"));
  EXPECT_EQ(slice["endpoints"], Json::parse(R"([{
      "addresses": ["10.244.0.1"], "nodeName": "n1", "zone": "zone-a",
      "conditions": {"ready": true, "serving": true, "terminating": false},
      "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-0",
                    "uid": "uid-0"}}])"));
  EXPECT_EQ(Label(slice, "kubernetes.io/service-name"), "web");
  EXPECT_EQ(Label(slice, "endpointslice.kubernetes.io/managed-by"),
            "endpointslice-controller.k8s.io");
  EXPECT_EQ(ControllerUid(slice), "svc");
  EXPECT_EQ(Annotation(slice, "endpoints.kubernetes.io/"
                              "last-change-trigger-time"),
            "2027-01-15T08:00:00.000000000Z");
  EXPECT_THAT(Sync(), ElementsAre());
}

// Recorded: a slice written for another reason than a new Service or a pod's
// readiness has no trigger time, and loses the one that it had.
TEST_F(SlicesTest, TheTriggerTimeGoesWithTheNextChange) {
  AddPod(0);
  Sync();
  SetService(R"({"metadata": {"labels": {"app": "other"}}})");
  EndpointSliceFacts facts{
      .service = cluster_.Get(kube::Services(), "default/web"),
      .pods = cluster_.List(kube::Pods()),
      .slices = cluster_.List(kube::EndpointSlices())};
  facts.nodes["n1"] = cluster_.Get(kube::Nodes(), "n1");
  Plan plan = PlanEndpointSlices(facts);
  ASSERT_EQ(plan.writes.size(), 1u);
  EXPECT_EQ(Annotation(plan.writes[0].body, "endpoints.kubernetes.io/"
                                            "last-change-trigger-time"),
            "");

  auto pod = [](const char* status) {
    return std::make_shared<const Json>(
        Json{{"status", Json::parse(status)}});
  };
  Object fresh = pod("{}");
  Object started = pod(R"({"phase": "Pending", "podIP": "10.244.0.9"})");
  Object ready = pod(R"({"conditions": [{"type": "Ready", "status": "True",
      "lastTransitionTime": "2026-11-22T15:18:49Z"}]})");
  Object probed = pod(R"({"podIP": "10.244.0.9", "conditions": [
      {"type": "Ready", "status": "True",
       "lastTransitionTime": "2026-11-22T15:18:49Z"}]})");
  EXPECT_FALSE(ReadinessChanged(nullptr, fresh));
  EXPECT_FALSE(ReadinessChanged(fresh, started));
  EXPECT_TRUE(ReadinessChanged(started, ready));
  EXPECT_FALSE(ReadinessChanged(ready, probed));
  EXPECT_TRUE(ReadinessChanged(nullptr, ready));
}

struct ConditionRow {
  const char* pod;
  const char* service;
  // "" when the pod has no endpoint at all; else ready, serving, terminating.
  const char* want;
};
class ConditionsTest : public SlicesTest,
                       public testing::WithParamInterface<ConditionRow> {};

TEST_P(ConditionsTest, AreThePods) {
  SetService(GetParam().service);
  AddPod(0, GetParam().pod);
  Sync();
  std::string got;
  Json slice = Only();
  for (const Json& endpoint : slice["endpoints"]) {
    for (const char* c : {"ready", "serving", "terminating"}) {
      got += endpoint["conditions"][c] == true ? 'T' : 'F';
    }
  }
  EXPECT_EQ(got, GetParam().want);
}

constexpr char kGoing[] =
    R"({"metadata": {"deletionTimestamp": "2027-01-15T08:00:30Z"}})";
constexpr char kSick[] = R"({"status": {"conditions": []}})";
constexpr char kSickGoing[] = R"({"status": {"conditions": []},
    "metadata": {"deletionTimestamp": "2027-01-15T08:00:30Z"}})";
constexpr char kPublish[] = R"({"spec": {"publishNotReadyAddresses": true}})";

INSTANTIATE_TEST_SUITE_P(
    Rows, ConditionsTest,
    testing::Values(
        ConditionRow{"{}", "{}", "TTF"}, ConditionRow{kSick, "{}", "FFF"},
        ConditionRow{kGoing, "{}", "FTT"},
        ConditionRow{kSickGoing, "{}", "FFT"},
        ConditionRow{kSick, kPublish, "TFF"},
        ConditionRow{kGoing, kPublish, "TTT"},
        ConditionRow{R"({"status": {"phase": "Succeeded"}})", "{}", ""},
        ConditionRow{R"({"status": {"phase": "Failed"}})", kPublish, ""},
        ConditionRow{R"({"status": {"podIPs": null}})", "{}", ""},
        ConditionRow{R"({"metadata": {"labels": {"app": "x"}}})", "{}", ""}));

TEST_F(SlicesTest, AServiceWithoutEndpointsKeepsOneSlice) {
  EXPECT_THAT(Sync(), ElementsAre("create"));
  // Recorded: without these, which are nobody's then.
  EXPECT_FALSE(Only().contains("endpoints"));
  EXPECT_FALSE(Only().contains("ports"));
  std::string name(Name(Only()));
  AddPod(0);
  EXPECT_THAT(Sync(), ElementsAre("update"));
  cluster_.Erase(kube::Pods(), "default/web-0");
  EXPECT_THAT(Sync(), ElementsAre("update"));
  EXPECT_EQ(Only()["endpoints"], Json::array());
  EXPECT_EQ(Name(Only()), name);
  EXPECT_THAT(Sync(), ElementsAre());
}

TEST_F(SlicesTest, OneSliceForEachFamily) {
  SetService(R"({"spec": {"ipFamilies": ["IPv4", "IPv6"]}})");
  AddPod(0);
  EXPECT_THAT(Sync(), ElementsAre("create", "create"));
  std::set<std::string> addresses;
  for (const Object& s : cluster_.List(kube::EndpointSlices())) {
    addresses.insert(StrCat(
        Text(*s, {"addressType"}), " ",
        (*s)["endpoints"][0]["addresses"][0].get<std::string>()));
  }
  EXPECT_THAT(addresses,
              ElementsAre("IPv4 10.244.0.1", "IPv6 fd00:10:244::1"));
  SetService(R"({"spec": {"ipFamilies": ["IPv6"]}})");
  EXPECT_THAT(Sync(), ElementsAre("delete"));
  EXPECT_EQ(Only()["addressType"], "IPv6");
}

TEST_F(SlicesTest, NamedPortsMayDifferFromPodToPod) {
  AddPod(0);
  AddPod(1, R"({"spec": {"containers":
      [{"ports": [{"name": "http", "containerPort": 9090}]}]}})");
  AddPod(2, R"({"spec": {"containers": [{"ports": []}]}})");
  Sync();
  std::map<int, size_t> sizes;
  for (const Object& s : cluster_.List(kube::EndpointSlices())) {
    const Json& ports = (*s)["ports"];
    sizes[ports.empty() ? 0 : ports[0]["port"].get<int>()] =
        (*s)["endpoints"].size();
  }
  EXPECT_EQ(sizes, (std::map<int, size_t>{{0, 1}, {8080, 1}, {9090, 1}}));
}

TEST_F(SlicesTest, PackingIsStable) {
  for (int i = 0; i < 250; ++i) AddPod(i);
  EXPECT_THAT(Sync(), ElementsAre("create", "create", "create"));
  EXPECT_THAT(Sizes(), ElementsAre(50, 100, 100));
  // One pod turns unready: one slice changes.
  AddPod(7, kSick);
  EXPECT_THAT(Sync(), ElementsAre("update"));
  // One goes and another comes: its place is taken.
  cluster_.Erase(kube::Pods(), "default/web-3");
  AddPod(300);
  EXPECT_THAT(Sync(), ElementsAre("update"));
  EXPECT_THAT(Sizes(), ElementsAre(50, 100, 100));
  // One more goes where there is room.
  AddPod(301);
  EXPECT_THAT(Sync(), ElementsAre("update"));
  EXPECT_THAT(Sizes(), ElementsAre(51, 100, 100));
  EXPECT_THAT(Sync(), ElementsAre());
}

TEST_F(SlicesTest, EveryEndpointIsInExactlyOneSlice) {
  for (int i = 0; i < 320; ++i) AddPod(i);
  Sync();
  for (int i = 0; i < 320; i += 3) {
    cluster_.Erase(kube::Pods(), StrCat("default/web-", i));
  }
  for (int i = 400; i < 480; ++i) AddPod(i);
  Sync();
  std::multiset<std::string> addresses;
  for (const Object& s : cluster_.List(kube::EndpointSlices())) {
    EXPECT_LE((*s)["endpoints"].size(), 100u);
    for (const Json& e : (*s)["endpoints"]) {
      addresses.insert(e["addresses"][0].get<std::string>());
    }
  }
  EXPECT_EQ(addresses.size(), cluster_.List(kube::Pods()).size());
  EXPECT_EQ(std::set<std::string>(addresses.begin(), addresses.end()).size(),
            addresses.size());
  EXPECT_THAT(Sync(), ElementsAre());
}

TEST_F(SlicesTest, LeavesOthersSlicesAndServicesWithoutSelectorAlone) {
  AddPod(0);
  cluster_.Put(kube::EndpointSlices(), Json::parse(R"({"metadata":
      {"namespace": "default", "name": "by-hand", "labels":
       {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
      "endpoints": [], "ports": []})"));
  EXPECT_THAT(Sync(), ElementsAre("create"));
  SetService(R"({"spec": {"selector": null}})");
  EXPECT_TRUE(Make().writes.empty());
}

TEST_F(SlicesTest, ExternalNameDropsThem) {
  AddPod(0);
  Sync();
  SetService(R"({"spec": {"type": "ExternalName"}})");
  EXPECT_THAT(Sync(), ElementsAre("delete"));
}

TEST_F(SlicesTest, MarksHeadless) {
  SetService(R"({"spec": {"clusterIP": "None"},
                 "metadata": {"labels": {"team": "a"}}})");
  AddPod(0, R"({"spec": {"hostname": "h0", "subdomain": "web"}})");
  Sync();
  EXPECT_TRUE(
      Only()["metadata"]["labels"].contains("service.kubernetes.io/headless"));
  EXPECT_EQ(Label(Only(), "team"), "a");
  EXPECT_EQ(Only()["endpoints"][0]["hostname"], "h0");
}

}  // namespace
}  // namespace fairlead::controllers
