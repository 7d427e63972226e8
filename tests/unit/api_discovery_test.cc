// SPDX-License-Identifier: Apache-2.0
// Discovery and OpenAPI against a stock server's, cut to the kinds served.
#include "control/api/discovery.h"

#include <algorithm>

#include "control/api/http.h"
#include "control/api/kinds.h"
#include "control/api/protobuf_object.h"
#include "gtest/gtest.h"
#include "tests/unit/api_testdata.h"

namespace fairlead::api {
namespace {

using nlohmann::json;

constexpr char kAggregated[] =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

class DiscoveryTest : public ::testing::Test {
 protected:
  std::optional<kube::Response> Serve(std::string target,
                                      kube::Headers headers = {},
                                      std::string method = "GET") {
    return ServeDiscovery({.method = std::move(method),
                           .target = std::move(target),
                           .headers = std::move(headers)},
                          kinds_);
  }
  json ServeJson(std::string target, kube::Headers headers = {}) {
    auto response = Serve(std::move(target), std::move(headers));
    EXPECT_TRUE(response.has_value());
    EXPECT_EQ(response->status, 200);
    return json::parse(response->body, nullptr, false);
  }

  KindTable kinds_ = MakeKindTable();
};

// Sub-resources besides status and scale come and go with what is served.
void DropOtherSubresources(json& document) {
  auto drop = [](json& list, const char* key) {
    json kept = json::array();
    for (const json& each : list) {
      std::string name = each[key];
      name = name.substr(name.rfind('/') + 1);
      if (name != "binding" && name != "eviction" && name != "finalize") {
        kept.push_back(each);
      }
    }
    list = kept;
  };
  if (document.contains("resources")) drop(document["resources"], "name");
  if (!document.contains("items")) return;
  for (json& item : document["items"]) {
    for (json& version : item["versions"]) {
      for (json& resource : version["resources"]) {
        if (resource.contains("subresources")) {
          drop(resource["subresources"], "subresource");
        }
      }
    }
  }
}

// The recorded documents were cut to the kinds of then: what has come since is
// left out, at every level.
void KeepRecorded(json& got, const json& want) {
  if (got.is_object() && want.is_object()) {
    for (auto& [key, value] : got.items()) {
      if (want.contains(key)) KeepRecorded(value, want[key]);
    }
    return;
  }
  if (!got.is_array() || !want.is_array() || got.empty() ||
      !got[0].is_object()) {
    return;
  }
  auto name = [](const json& each) -> json {
    for (const char* key : {"name", "resource", "subresource", "version"}) {
      if (each.contains(key)) return each[key];
    }
    return each.contains("metadata") ? each["metadata"] : json();
  };
  json kept = json::array();
  for (json& each : got) {
    for (const json& one : want) {
      if (name(one) != name(each)) continue;
      KeepRecorded(each, one);
      kept.push_back(each);
      break;
    }
  }
  got = std::move(kept);
}

void SortGroups(json& document) {
  auto by_name = [](const json& a, const json& b) {
    return a.dump() < b.dump();
  };
  for (const char* key : {"groups", "items"}) {
    if (document.contains(key)) {
      std::sort(document[key].begin(), document[key].end(), by_name);
    }
  }
}

TEST_F(DiscoveryTest, DocumentsEqualTheRecordedOnes) {
  json recorded = ReadTestdata("discovery.json");
  ASSERT_GE(recorded.size(), 9u);
  for (auto& [key, want] : recorded.items()) {
    SCOPED_TRACE(key);
    bool aggregated = key.find(' ') != std::string::npos;
    kube::Headers headers = {
        {"Accept", aggregated ? kAggregated : "application/json"}};
    json got = ServeJson(key.substr(0, key.find(' ')), headers);
    got.erase("serverAddressByClientCIDRs");
    DropOtherSubresources(got);
    KeepRecorded(got, want);
    SortGroups(got);
    SortGroups(want);
    EXPECT_EQ(got, want) << json::diff(want, got).dump(1);
  }
}

TEST_F(DiscoveryTest, ClientThatKnowsTheAggregatedListGets304) {
  auto first = Serve("/apis", {{"accept", kAggregated}});
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->Header("content-type"), kAggregated);
  std::string etag(first->Header("ETag"));
  ASSERT_FALSE(etag.empty());
  auto second =
      Serve("/apis", {{"Accept", kAggregated}, {"If-None-Match", etag}});
  EXPECT_EQ(second->status, 304);
  EXPECT_TRUE(second->body.empty());
}

// discovery/apis_events.k8s.io_v1.json: both are stored as core/v1's.
TEST_F(DiscoveryTest, EventsOfEitherNameAreStoredAsOne) {
  for (const char* path : {"/api/v1", "/apis/events.k8s.io/v1"}) {
    const json document = ServeJson(path);
    std::string hash;
    for (const json& each : document["resources"]) {
      if (each["name"] == "events") hash = each["storageVersionHash"];
    }
    EXPECT_EQ(hash, "r2yiGXH7wu8=") << path;
  }
}

TEST_F(DiscoveryTest, AcceptDecidesOnTheForm) {
  std::string v2beta1(kAggregated);
  v2beta1.replace(v2beta1.find("v=v2"), 4, "v=v2beta1");
  EXPECT_EQ(Serve("/api", {{"Accept", v2beta1}})->status, 406);
  EXPECT_EQ(Serve("/api", {{"Accept", "text/html"}})->status, 406);
  json plain =
      ServeJson("/api", {{"Accept", v2beta1 + ", application/json"}});
  EXPECT_EQ(plain["kind"], "APIVersions");
  for (const char* path : {"/api", "/apis"}) {
    auto proto = Serve(path, {{"Accept", std::string(kProtobufType)}});
    EXPECT_EQ(proto->Header("content-type"), kProtobufType);
    json decoded =
        ProtobufObjects(&kinds_).Decode(proto->body, "list").value();
    const json plain = ServeJson(path);
    for (const char* list : {"versions", "groups"}) {
      EXPECT_EQ(decoded.value(list, json()), plain.value(list, json())) << path;
    }
  }
  json kubectl = ServeJson(
      "/apis?timeout=32s",
      {{"Accept", std::string(kAggregated) + "," + v2beta1 +
                      ",application/json"}});
  EXPECT_EQ(kubectl["kind"], "APIGroupDiscoveryList");
  EXPECT_EQ(ServeJson("/apis")["kind"], "APIGroupList");
}

TEST_F(DiscoveryTest, LeavesOtherPathsAlone) {
  for (const char* path : {"/healthz", "/api/v1/pods", "/metrics",
                           "/apis/apps/v1/deployments", "/apiss"}) {
    EXPECT_FALSE(Serve(path).has_value()) << path;
  }
  // Of a group that there is, no such version.
  for (const char* path : {"/apis/apps/v2", "/api/v2"}) {
    auto response = Serve(path);
    ASSERT_TRUE(response.has_value()) << path;
    EXPECT_EQ(response->status, 404) << path;
    EXPECT_EQ(json::parse(response->body)["message"],
              "the server could not find the requested resource");
  }
  json root =
      json::parse(ListPaths(kinds_, {"/readyz", "/readyz/ping"}).body)["paths"];
  for (const char* path : {"/api/v1", "/apis/apps", "/apis/apps/v1",
                           "/openapi/v3/apis/apps/v1", "/readyz",
                           "/readyz/ping"}) {
    EXPECT_NE(std::find(root.begin(), root.end(), path), root.end()) << path;
  }
  for (const char* path : {"/apis/nope", "/apis/nope/v1", "/openapi/v1",
                           "/openapi/v3/apis/nope/v1"}) {
    auto response = Serve(path);
    ASSERT_TRUE(response.has_value()) << path;
    EXPECT_EQ(response->status, 404) << path;
    EXPECT_EQ(response->body, "404 page not found\n") << path;
  }
  EXPECT_EQ(Serve("/apis", {}, "POST")->status, 405);
}

TEST_F(DiscoveryTest, VersionIsIndented) {
  auto response = Serve("/version");
  EXPECT_EQ(response->body.substr(0, 4), "{\n  ");
  json version = json::parse(response->body);
  EXPECT_EQ(version["major"], "1");
  EXPECT_EQ(version["minor"], "36");
}

TEST_F(DiscoveryTest, OpenApiTypesEqualTheRecordedOnes) {
  json got = json::object();
  for (const char* path : {"api/v1", "apis/apps/v1", "apis/discovery.k8s.io/v1",
                           "apis/coordination.k8s.io/v1"}) {
    json document = ServeJson(std::string("/openapi/v3/") + path);
    got.update(document["components"]["schemas"]);
  }
  json recorded = ReadTestdata("openapi_types.json");
  ASSERT_GE(recorded.size(), 14u);
  for (auto& [name, want] : recorded.items()) {
    EXPECT_EQ(got[name], want) << name << json::diff(want, got[name]).dump(1);
  }
}

// Each reference must lead somewhere, or clients refuse the whole document.
void ExpectRefsResolve(const json& node, const json& schemas) {
  if (node.is_object() && node.contains("$ref")) {
    std::string ref = node["$ref"];
    std::string name = ref.substr(ref.rfind('/') + 1);
    EXPECT_TRUE(schemas.contains(name)) << ref;
    return;
  }
  if (!node.is_structured()) return;
  for (const json& child : node) ExpectRefsResolve(child, schemas);
}

TEST_F(DiscoveryTest, OpenApiIsWhole) {
  json index = ServeJson("/openapi/v3?timeout=32s");
  EXPECT_GE(index["paths"].size(), 4u);
  for (auto& [name, entry] : index["paths"].items()) {
    std::string url = entry["serverRelativeURL"];
    EXPECT_EQ(url.rfind("/openapi/v3/" + name + "?hash=", 0), 0u);
    auto response = Serve(url);
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->Header("Cache-Control"), "public, immutable");
    auto again = Serve(
        url, {{"If-None-Match", std::string(response->Header("ETag"))}});
    EXPECT_EQ(again->status, 304);
    json document = json::parse(response->body);
    ExpectRefsResolve(document, document["components"]["schemas"]);
    // A group of questions (authentication.k8s.io) has one, to post to.
    EXPECT_GE(document["paths"].size(), 1u);
  }
}

// What kubectl looks for before it sends a write.
TEST_F(DiscoveryTest, WritesOfferFieldValidation) {
  json document = ServeJson("/openapi/v3/apis/apps/v1");
  const json& path = document["paths"]["/apis/apps/v1/namespaces/{namespace}/"
                                       "deployments/{name}"];
  for (const char* method : {"put", "patch"}) {
    bool found = false;
    for (const json& parameter : path[method]["parameters"]) {
      found |= parameter["name"] == "fieldValidation";
    }
    EXPECT_TRUE(found) << method;
    EXPECT_EQ(path[method]["x-kubernetes-group-version-kind"]["kind"],
              "Deployment");
  }
  EXPECT_EQ(path["get"]["x-kubernetes-action"], "get");
  EXPECT_EQ(path["get"]["tags"], json::array({"apps_v1"}));
}

// What gnostic's openapi.v2.Document reads: field numbers and lengths by hand.
TEST_F(DiscoveryTest, Version2OfOpenApiHasNoSchemas) {
  constexpr char kAsked[] =
      "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
  std::string version = ServeJson("/version")["gitVersion"];
  auto proto = Serve("/openapi/v2?timeout=32s", {{"Accept", kAsked}});
  ASSERT_TRUE(proto.has_value());
  EXPECT_EQ(proto->status, 200);
  EXPECT_EQ(proto->Header("Content-Type"),
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
  std::string info = std::string("\x0a\x0aKubernetes\x12", 13) +
                     static_cast<char>(version.size()) + version;
  EXPECT_EQ(proto->body, std::string("\x0a\x03") + "2.0" + "\x12" +
                             static_cast<char>(info.size()) + info +
                             std::string("\x42\x00", 2));
  json plain = ServeJson("/openapi/v2");
  EXPECT_EQ(plain["swagger"], "2.0");
  EXPECT_EQ(plain["info"]["version"], version);
  EXPECT_EQ(plain["definitions"], json::object());
  EXPECT_EQ(Serve("/openapi/v2/more")->status, 404);
}

}  // namespace
}  // namespace fairlead::api
