// SPDX-License-Identifier: Apache-2.0
// Rules that recorded answers of a kube-apiserver 1.36 show, over the served
// kinds: requests and expectations are from the recordings.
#include <gmock/gmock.h>

#include "control/api/http.h"
#include "control/api/json_access.h"
#include "control/api/kinds.h"
#include "tests/unit/api_fixture.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr const char* kDeployments = "/apis/apps/v1/namespaces/default/"
                                     "deployments";
constexpr const char* kSlices =
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

class RecordedAnswersTest : public ApiServerTest {
 protected:
  RecordedAnswersTest() {
    Stop();
    kinds_ = MakeKindTable();
    Start();
  }

  Answer Post(const std::string& target, const char* body) {
    return Do("POST", target, body, {{"Content-Type", "application/json"}});
  }
  static std::string Header(const Answer& answer, const char* name) {
    return std::string(FindHeader(answer.headers, name));
  }
};

// kubectl-1.32/annotate-change-cause and kubectl-1.32/label-add.
TEST_F(RecordedAnswersTest, ADeploymentsAnnotationsRaiseItsGeneration) {
  ASSERT_EQ(Post(kDeployments, R"({"metadata":{"name":"web"},"spec":{
      "selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{
      "labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":
      "registry.example/web:1"}]}}}})").status, 201);
  const std::string web = StrCat(kDeployments, "/web");
  auto generation = [&](const std::string& path, const char* body) {
    Answer answer = Patch(path, "merge-patch", body);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return Int(Get(answer.json(), {"metadata", "generation"}));
  };
  EXPECT_EQ(generation(web, R"({"metadata":{"labels":{"tier":"front"}}})"),
            1);
  const char* cause =
      R"({"metadata":{"annotations":{"kubernetes.io/change-cause":"x"}}})";
  EXPECT_EQ(generation(web, cause), 2);
  EXPECT_EQ(generation(web, cause), 2);
  // The controller writes its annotation by way of the status.
  EXPECT_EQ(generation(web + "/status", R"({"metadata":{"annotations":{
      "deployment.kubernetes.io/revision":"1"}}})"), 2);
  // And no other kind's.
  EXPECT_EQ(Post(kSlices, R"({"metadata":{"name":"e"},"addressType":"IPv4",
      "endpoints":[{"addresses":["10.0.0.1"]}]})").status, 201);
  EXPECT_EQ(generation(StrCat(kSlices, "/e"), cause), 1);
}

// errors/warnings, tables/endpoints, errors/put-creates.
TEST_F(RecordedAnswersTest, EveryAnswerAboutEndpointsSaysThatTheyAreOld) {
  const std::string text =
      "299 - \"v1 Endpoints is deprecated in v1.33+; use "
      "discovery.k8s.io/v1 EndpointSlice\"";
  const std::string all = "/api/v1/namespaces/default/endpoints";
  Answer made = Do("PUT", all + "/old", R"({"metadata":{"name":"old"}})",
                   {{"Content-Type", "application/json"}});
  EXPECT_EQ(made.status, 201) << made.body;
  int warnings = 0;
  for (const auto& [name, value] : made.headers) warnings += name == "Warning";
  EXPECT_EQ(warnings, 1);
  EXPECT_EQ(Header(made, "Warning"), text);
  const std::string table = "application/json;as=Table;v=v1;g=meta.k8s.io";
  for (const char* accept : {"application/json", table.c_str(),
                             "application/vnd.kubernetes.protobuf"}) {
    for (const char* at : {"", "/old", "/nope"}) {
      Answer read = Do("GET", all + at, "", {{"Accept", accept}});
      EXPECT_EQ(Header(read, "Warning"), text) << accept << at;
    }
  }
  EXPECT_EQ(Header(Do("DELETE", all + "/old"), "Warning"), text);
  EXPECT_EQ(Header(Do("GET", "/api/v1/namespaces/default/services"),
                   "Warning"), "");
}

// kubectl/label-invalid: an update's labels are checked three times.
TEST_F(RecordedAnswersTest, CausesAreAsManyAsTheRecordedOnes) {
  const std::string maps = "/api/v1/namespaces/default/configmaps";
  auto causes = [](const Answer& answer) {
    return answer.json()["details"].value("causes", Json::array()).size();
  };
  EXPECT_EQ(causes(Post(maps, R"({"metadata":{"name":"l",
                                  "labels":{"bad key":"1"}}})")), 1u);
  ASSERT_EQ(Post(maps, R"({"metadata":{"name":"l"}})").status, 201);
  EXPECT_EQ(causes(Patch(maps + "/l", "merge-patch",
                         R"({"metadata":{"labels":{"bad key":"1"}}})")), 3u);
}

// kubectl/get-daemonsets: a Table is made without this annotation.
TEST_F(RecordedAnswersTest, ARowHasNoneOfItsVersionsAnnotations) {
  const std::string sets = "/apis/apps/v1/namespaces/default/daemonsets";
  Answer made = Post(sets, R"({"metadata":{"name":"d"},"spec":{
      "selector":{"matchLabels":{"a":"b"}},"template":{
      "metadata":{"labels":{"a":"b"}},"spec":{"containers":[
      {"name":"c","image":"registry.example/c:1"}]}}}})");
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_TRUE(made.json()["metadata"].contains("annotations"));
  Json table = Do("GET", sets, "",
                  {{"Accept", "application/json;as=Table;v=v1;"
                              "g=meta.k8s.io"}})
                   .json();
  EXPECT_FALSE(table["rows"][0]["object"]["metadata"].contains("annotations"));
}

// errors/eviction and errors/resource-version-too-large.
TEST_F(RecordedAnswersTest, RetryAfterIsWhatTheDetailsSay) {
  const std::string pods = "/api/v1/namespaces/default/pods";
  ASSERT_EQ(Post(pods, R"({"metadata":{"name":"p","labels":{"app":"ev"}},
      "spec":{"containers":[{"name":"c","image":"registry.example/c:1"}]}})")
                .status, 201);
  Patch(pods + "/p/status", "merge-patch",
        R"({"status":{"phase":"Running","conditions":[
            {"type":"Ready","status":"True"}]}})");
  const char* budgets = "/apis/policy/v1/namespaces/default/"
                        "poddisruptionbudgets";
  ASSERT_EQ(Post(budgets, R"({"metadata":{"name":"ev"},"spec":{
      "minAvailable":1,"selector":{"matchLabels":{"app":"ev"}}}})").status,
            201);
  Patch(StrCat(budgets, "/ev/status"), "merge-patch",
        R"({"status":{"observedGeneration":1,"disruptionsAllowed":0,
            "currentHealthy":1,"desiredHealthy":1,"expectedPods":1}})");
  Answer refused = Post(pods + "/p/eviction",
                        R"({"apiVersion":"policy/v1","kind":"Eviction",
                            "metadata":{"name":"p"}})");
  EXPECT_EQ(refused.status, 429) << refused.body;
  EXPECT_EQ(Header(refused, "Retry-After"), "");
  Answer later = Do("GET", pods + "?resourceVersion=999999999");
  EXPECT_EQ(later.status, 504);
  EXPECT_EQ(Header(later, "Retry-After"), "1");
}

// A Job's podFailurePolicy may go by it.
TEST_F(RecordedAnswersTest, AnEvictedPodIsTheTargetOfADisruption) {
  const std::string pods = "/api/v1/namespaces/default/pods";
  Json made = Post(pods, R"({"metadata":{"name":"p"},"spec":{"nodeName":"n",
      "containers":[{"name":"c","image":"registry.example/c:1"}]}})").json();
  auto evict = [&](const std::string& uid) {
    return Post(pods + "/p/eviction",
                StrCat(R"({"apiVersion":"policy/v1","kind":"Eviction",
                    "metadata":{"name":"p"},"deleteOptions":{
                    "preconditions":{"uid":")", uid, "\"}}}")
                    .c_str())
        .status;
  };
  auto target = [&] {
    Json pod = Do("GET", pods + "/p").json();
    for (const Json& c : List(pod, {"status", "conditions"})) {
      if (Text(c, "type") == "DisruptionTarget") return c;
    }
    return Json();
  };
  EXPECT_EQ(evict("another"), 409);
  EXPECT_TRUE(target().is_null());
  EXPECT_EQ(evict(std::string(Text(made, {"metadata", "uid"}))), 201);
  EXPECT_EQ(Text(target(), "status"), "True") << target();
  EXPECT_EQ(Text(target(), "reason"), "EvictionByEvictionAPI");
}

// errors/immutable-field: kept as null, owned as it was sent.
TEST_F(RecordedAnswersTest, AnEmptyListIsOwned) {
  Json made = Post(kSlices, R"({"apiVersion":"discovery.k8s.io/v1",
      "kind":"EndpointSlice","metadata":{"name":"e"},"addressType":"IPv4",
      "endpoints":[],"ports":[]})").json();
  EXPECT_EQ(Get(List(made, {"metadata", "managedFields"})[0], "fieldsV1"),
            Json::parse(R"({"f:addressType":{},"f:endpoints":{},
                            "f:ports":{}})"));
  EXPECT_TRUE(made.contains("endpoints") && made["endpoints"].is_null());
}

// kubectl-1.32/create-misc.
TEST_F(RecordedAnswersTest, ADaemonSetsTemplateGenerationIsItsMakers) {
  Json made = Post("/apis/apps/v1/namespaces/default/daemonsets", R"({
      "metadata":{"name":"ds"},"spec":{"selector":{"matchLabels":{"app":"ds"}},
      "template":{"metadata":{"labels":{"app":"ds"}},"spec":{"containers":[
      {"name":"c","image":"registry.example/c:1"}]}}}})").json();
  const char* annotation = "deprecated.daemonset.template.generation";
  EXPECT_EQ(Text(made, {"metadata", "annotations", annotation}), "1");
  EXPECT_EQ(Get(List(made, {"metadata", "managedFields"})[0],
                {"fieldsV1", "f:metadata", "f:annotations"}),
            Json::parse(R"({".":{},
                "f:deprecated.daemonset.template.generation":{}})"));
}

// errors/defaults-created-objects, tables/events.k8s.io.
TEST_F(RecordedAnswersTest, AnEventHasTwoNames) {
  const std::string newer = "/apis/events.k8s.io/v1/namespaces/err/events";
  const std::string core = "/api/v1/namespaces/err/events";
  ASSERT_EQ(Post("/api/v1/namespaces", R"({"metadata":{"name":"err"}})")
                .status, 201);
  Answer made = Post(newer, R"({"apiVersion":"events.k8s.io/v1",
      "kind":"Event","metadata":{"name":"def"},
      "eventTime":"2026-01-01T00:00:00.000000Z",
      "reportingController":"example.com/x","reportingInstance":"x-1",
      "action":"Do","reason":"Why","type":"Normal","note":"text",
      "regarding":{"kind":"Pod","namespace":"err","name":"p"}})");
  ASSERT_EQ(made.status, 201) << made.body;
  Json event = made.json();
  event.erase("metadata");
  EXPECT_EQ(event, Json::parse(R"({"kind":"Event",
      "apiVersion":"events.k8s.io/v1",
      "eventTime":"2026-01-01T00:00:00.000000Z",
      "reportingController":"example.com/x","reportingInstance":"x-1",
      "action":"Do","reason":"Why",
      "regarding":{"kind":"Pod","namespace":"err","name":"p"},"note":"text",
      "type":"Normal","deprecatedSource":{},"deprecatedFirstTimestamp":null,
      "deprecatedLastTimestamp":null})"));
  Json old = Do("GET", core + "/def").json();
  EXPECT_EQ(Text(old, "apiVersion"), "v1");
  EXPECT_EQ(Text(old, "message"), "text");
  EXPECT_EQ(Text(old, {"involvedObject", "name"}), "p");
  EXPECT_EQ(Get(old, "source"), Json::object());
  // A repeat, as the agent's and the scheduler's recorder write it.
  Json again = Patch(newer + "/def", "merge-patch",
                     R"({"note":"more","series":{"count":2,
                         "lastObservedTime":"2026-01-01T00:00:01.000000Z"}})")
                   .json();
  EXPECT_EQ(Text(again, "note"), "more");
  EXPECT_EQ(Int(Get(Do("GET", core + "/def").json(), {"series", "count"})), 2);
  Json list = Do("GET", newer).json();
  EXPECT_EQ(Text(list, "apiVersion"), "events.k8s.io/v1");
  ASSERT_EQ(List(list, "items").size(), 1u);
  EXPECT_EQ(Text(List(list, "items")[0], "note"), "more");
  Json table = Do("GET", newer + "?includeObject=Object", "",
                  {{"Accept", "application/json;as=Table;v=v1;"
                              "g=meta.k8s.io"}}).json();
  EXPECT_EQ(List(table, "rows")[0]["cells"][6], "more");
  EXPECT_EQ(Text(List(table, "rows")[0], {"object", "apiVersion"}),
            "events.k8s.io/v1");
  Answer proto = Do("GET", newer + "/def", "",
                    {{"Accept", "application/vnd.kubernetes.protobuf"}});
  EXPECT_EQ(Header(proto, "Content-Type"),
            "application/vnd.kubernetes.protobuf");
  EXPECT_THAT(proto.body, testing::HasSubstr("events.k8s.io/v1"));
  EXPECT_EQ(Text(Do("GET", newer + "/nope").json(), "message"),
            "events.events.k8s.io \"nope\" not found");
  Answer bad = Post(newer, R"({"metadata":{"name":"x"}})");
  EXPECT_EQ(bad.status, 422);
  EXPECT_EQ(List(bad.json(), {"details", "causes"}).size(), 5u) << bad.body;
  EXPECT_EQ(Do("DELETE", newer + "/def").status, 200);
  EXPECT_EQ(Do("GET", core + "/def").status, 404);
}

// tables/other-ipaddresses-networking.k8s.io_v1.
TEST_F(RecordedAnswersTest, IpAddressesFollowTheServices) {
  const std::string services = "/api/v1/namespaces/default/services";
  const std::string addresses = "/apis/networking.k8s.io/v1/ipaddresses";
  auto make = [&](const char* name, const char* ip) {
    Json service = {{"metadata", {{"name", name}}},
                    {"spec",
                     {{"clusterIP", ip},
                      {"clusterIPs", {ip}},
                      {"ipFamilies", {*ip == 'f' ? "IPv6" : "IPv4"}},
                      {"ipFamilyPolicy", "SingleStack"},
                      {"ports", {{{"port", 80}}}}}}};
    EXPECT_EQ(Post(services, service.dump().c_str()).status, 201);
  };
  make("early", "10.96.0.7");
  EXPECT_EQ(List(Do("GET", addresses).json(), "items").size(), 1u);
  make("late", "fd00:10:96::7");
  make("headless", "None");
  Json table = Do("GET", addresses, "",
                  {{"Accept", "application/json;as=Table;v=v1;"
                              "g=meta.k8s.io"}}).json();
  const Json& rows = List(table, "rows");
  ASSERT_EQ(rows.size(), 2u) << table;
  EXPECT_EQ(rows[0]["cells"][1], "services/default/early");
  EXPECT_EQ(rows[1]["cells"][0], "fd00:10:96::7");
  Json one = Do("GET", addresses + "/fd00:10:96::7").json();
  EXPECT_EQ(Get(one, {"metadata", "labels"}), Json::parse(R"({
      "ipaddress.kubernetes.io/ip-family":"IPv6",
      "ipaddress.kubernetes.io/managed-by":"ipallocator.k8s.io"})"));
  EXPECT_EQ(Get(one, {"spec", "parentRef"}), Json::parse(R"({
      "resource":"services","namespace":"default","name":"late"})"));
  EXPECT_EQ(Do("DELETE", services + "/late").status, 200);
  EXPECT_EQ(Do("GET", addresses + "/fd00:10:96::7").status, 404);
  EXPECT_EQ(Do("DELETE", addresses + "/10.96.0.7").status, 405);
  EXPECT_EQ(Post(addresses, R"({"metadata":{"name":"10.96.0.9"}})").status,
            405);
}

// tables/pods.
TEST_F(RecordedAnswersTest, ARowOfAPodThatIsThroughSaysSo) {
  const std::string pods = "/api/v1/namespaces/default/pods";
  ASSERT_EQ(Post(pods, R"({"metadata":{"name":"p"},"spec":{"containers":[
      {"name":"c","image":"registry.example/c:1"}]}})").status, 201);
  auto conditions = [&](const char* phase) {
    Patch(pods + "/p/status", "merge-patch",
          Json{{"status", {{"phase", phase}}}}.dump());
    Json table = Do("GET", pods, "",
                    {{"Accept", "application/json;as=Table;v=v1;"
                                "g=meta.k8s.io"}}).json();
    return Get(List(table, "rows")[0], "conditions");
  };
  EXPECT_TRUE(conditions("Running").is_null());
  EXPECT_EQ(conditions("Failed"), Json::parse(R"([{"type":"Completed",
      "status":"True","reason":"Failed","message":"The pod failed."}])"));
  EXPECT_EQ(Text(conditions("Succeeded")[0], "message"),
            "The pod has completed successfully.");
}

}  // namespace
}  // namespace fairlead::api
