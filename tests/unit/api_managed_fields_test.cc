// SPDX-License-Identifier: Apache-2.0
// The rules of field ownership that no recording shows, row by row.
#include <string>
#include <vector>

#include "control/api/api_status.h"
#include "control/api/field_set.h"
#include "control/api/kinds.h"
#include "control/api/managed_fields.h"
#include "control/api/object_fields.h"
#include "gtest/gtest.h"

namespace fairlead::api {
namespace {

const char kNow[] = "2026-01-02T03:04:05Z";

const KindTable& Kinds() {
  static const KindTable* kinds = new KindTable(MakeKindTable());
  return *kinds;
}
const Kind& Services() { return *Kinds().Find("", "v1", "services"); }
const Kind& Deployments() {
  return *Kinds().Find("apps", "v1", "deployments");
}
const Kind& ConfigMaps() { return *Kinds().Find("", "v1", "configmaps"); }

Json ConfigMap(Json data, Json owners = nullptr) {
  Json out = {{"apiVersion", "v1"},
              {"kind", "ConfigMap"},
              {"metadata", {{"name", "c"}, {"uid", "u"}}},
              {"data", std::move(data)}};
  if (!owners.is_null()) out["metadata"]["managedFields"] = std::move(owners);
  return out;
}

Json Owner(std::string manager, std::string operation, Json fields,
           std::string time = "2026-01-01T00:00:00Z") {
  return {{"manager", manager},       {"operation", operation},
          {"apiVersion", "v1"},       {"fieldsType", "FieldsV1"},
          {"fieldsV1", std::move(fields)}, {"time", time}};
}

// "manager operation paths" of each entry.
std::vector<std::string> Shown(const Json& owners) {
  std::vector<std::string> out;
  for (const Json& entry : owners) {
    std::string line = entry["manager"].get<std::string>() + " " +
                       entry["operation"].get<std::string>();
    for (const std::string& path : FieldPaths(entry["fieldsV1"])) {
      line += " " + path;
    }
    out.push_back(line);
  }
  return out;
}
using Lines = std::vector<std::string>;

absl::StatusOr<Json> Apply(const Kind& kind, const Json& live, Json config,
                           std::string manager, bool force = false) {
  ApplyRequest request{&config, {std::move(manager), ""}, force};
  return ApplyConfig(kind, live.is_null() ? nullptr : &live, request, kNow);
}

TEST(FieldSetTest, AddTakeAndCommon) {
  Json a = Json::parse(R"({"f:a":{},"f:b":{".":{},"f:c":{}}})");
  Json b = Json::parse(R"({"f:a":{"f:x":{}},"f:b":{"f:c":{}}})");
  Json sum = a;
  AddFields(sum, b);
  EXPECT_EQ(sum,
            Json::parse(
                R"({"f:a":{".":{},"f:x":{}},"f:b":{".":{},"f:c":{}}})"));
  EXPECT_EQ(CommonFields(a, b), Json::parse(R"({"f:b":{"f:c":{}}})"));
  Json rest = sum;
  TakeFields(rest, b);
  EXPECT_EQ(rest, a.patch(Json::parse(
                      R"([{"op":"replace","path":"/f:b","value":{}}])")));
  TakeFields(rest, a);
  EXPECT_EQ(rest, Json::object());
}

TEST(FieldSetTest, Paths) {
  Json set = Json::parse(
      R"({"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":)"
      R"({".":{},"f:name":{}}},"f:z":{}},"f:v":{"v:\"a\"":{}}})");
  EXPECT_EQ(FieldPaths(set),
            (Lines{".spec.z", ".spec.ports[port=80,protocol=\"TCP\"]",
                   ".spec.ports[port=80,protocol=\"TCP\"].name",
                   ".v[=\"a\"]"}));
}

TEST(FieldSetTest, BadSetsOfClients) {
  for (const char* text :
       {R"({"x:a":{}})", R"({"f":{}})", R"({"k:[1]":{}})", R"({"i:x":{}})",
        R"({"f:a":1})", R"({"f:a":{"v:{":{}}})"}) {
    Json set = Json::parse(text);
    EXPECT_FALSE(CanonicalFields(set).ok()) << text;
  }
  Json set = Json::parse(R"({"k:{ \"b\":1, \"a\" : 2 }":{}})");
  ASSERT_TRUE(CanonicalFields(set).ok());
  EXPECT_EQ(set.begin().key(), R"(k:{"a":2,"b":1})");
}

TEST(TrackUpdateTest, WhatIsWrittenIsTheWritersAlone) {
  Json before = ConfigMap(
      {{"a", "1"}, {"b", "1"}, {"c", "1"}},
      {Owner("one", "Update", Json::parse(R"({"f:data":{".":{},"f:a":{},)"
                                          R"("f:b":{}}})")),
       Owner("two", "Update", Json::parse(R"({"f:data":{"f:c":{}}})"))});
  // `b` changes hands, `c` goes, and with it its owner; `a` stays.
  Json after = ConfigMap({{"a", "1"}, {"b", "2"}});
  EXPECT_EQ(Shown(TrackUpdate(ConfigMaps(), before, after, nullptr,
                              {"three", ""}, kNow)),
            (Lines{"one Update .data .data.a", "three Update .data.b"}));
}

TEST(TrackUpdateTest, OnlyWhoTakesAFieldGetsANewTime) {
  Json owners = Json::array({Owner(
      "one", "Update", Json::parse(R"({"f:data":{"f:a":{},"f:b":{}}})"))});
  Json before = ConfigMap({{"a", "1"}, {"b", "1"}}, owners);
  Json less = TrackUpdate(ConfigMaps(), before, ConfigMap({{"a", "1"}}),
                          nullptr, {"one", ""}, kNow);
  EXPECT_EQ(less[0]["time"], owners[0]["time"]);
  Json more = TrackUpdate(ConfigMaps(), before,
                          ConfigMap({{"a", "1"}, {"b", "2"}}), nullptr,
                          {"one", ""}, kNow);
  EXPECT_EQ(more[0]["time"], kNow);
  EXPECT_EQ(Shown(more), (Lines{"one Update .data.a .data.b"}));
}

TEST(TrackUpdateTest, SubresourcesHaveTheirOwnEntries) {
  Json before = {{"metadata", {{"name", "s"}, {"uid", "u"}}},
                 {"spec", {{"type", "ClusterIP"}}},
                 {"status", {{"loadBalancer", Json::object()}}}};
  before["metadata"]["managedFields"] = Json::array({
      Owner("m", "Update", Json::parse(R"({"f:spec":{"f:type":{}}})"))});
  Json after = before;
  after["metadata"].erase("managedFields");
  after["status"]["conditions"] = {{{"type", "X"}, {"status", "True"}}};
  after["spec"]["type"] = "NodePort";  // not a status endpoint's to write
  Json owners = TrackUpdate(Services(), before, after, nullptr,
                            {"m", "status"}, kNow);
  ASSERT_EQ(owners.size(), 2u);
  EXPECT_EQ(owners[1]["subresource"], "status");
  EXPECT_EQ(Shown(owners)[1],
            "m Update .status.conditions .status.conditions[type=\"X\"] "
            ".status.conditions[type=\"X\"].status "
            ".status.conditions[type=\"X\"].type");
  // And what the body says of managedFields counts only at the main endpoint.
  EXPECT_EQ(TrackUpdate(Services(), before, after, Json::array(),
                        {"m", "status"}, kNow),
            owners);
}

TEST(TrackUpdateTest, AScaleToZeroIsNobodys) {
  Json before = {{"metadata", {{"name", "d"}, {"uid", "u"}}},
                 {"spec", {{"replicas", 1}, {"paused", true}}}};
  before["metadata"]["managedFields"] = Json::array({Owner(
      "m", "Update",
      Json::parse(R"({"f:spec":{"f:paused":{},"f:replicas":{}}})"))});
  Json after = before;
  after["metadata"].erase("managedFields");
  auto scaled = [&](int replicas) {
    after["spec"]["replicas"] = replicas;
    return Shown(TrackUpdate(Deployments(), before, after, nullptr,
                             {"kubectl", "scale"}, kNow));
  };
  EXPECT_EQ(scaled(2), (Lines{"kubectl Update .spec.replicas",
                              "m Update .spec.paused"}));
  EXPECT_EQ(scaled(0), (Lines{"m Update .spec.paused"}));
}

// As the answers after `kubectl scale deployment/web --replicas=5` were
// recorded.
TEST(TrackUpdateTest, AScaleHasNoTimeAndComesFirst) {
  Json before = {{"metadata", {{"name", "web"}, {"uid", "u"}}},
                 {"spec", {{"replicas", 3}, {"paused", true}}}};
  before["metadata"]["managedFields"] = Json::array({Owner(
      "kubectl-set", "Update",
      Json::parse(R"({"f:spec":{"f:paused":{},"f:replicas":{}}})"))});
  Json after = before;
  after["metadata"].erase("managedFields");
  after["spec"]["replicas"] = 5;
  Json owners = TrackUpdate(Deployments(), before, after, nullptr,
                            {"kubectl", "scale"}, kNow);
  ASSERT_EQ(owners.size(), 2u);
  EXPECT_EQ(owners[0], Json::parse(R"({"manager":"kubectl",
      "operation":"Update","apiVersion":"apps/v1","fieldsType":"FieldsV1",
      "fieldsV1":{"f:spec":{"f:replicas":{}}},"subresource":"scale"})"));
  EXPECT_TRUE(owners[1].contains("time"));
}

TEST(TrackUpdateTest, ResetAndReplacedByTheBody) {
  Json before = ConfigMap(
      {{"a", "1"}},
      Json::array({Owner("one", "Update", Json::parse(R"({"f:data":{}})"))}));
  Json after = ConfigMap({{"a", "2"}});
  FieldManager two{"two", ""};
  for (const Json& reset : {Json::array(), Json::array({Json::object()})}) {
    EXPECT_EQ(TrackUpdate(ConfigMaps(), before, after, reset, two, kNow),
              Json::array());
  }
  Json sent = Json::array(
      {Owner("mine", "Apply", Json::parse(R"({"f:data":{"f:z":{}}})"))});
  EXPECT_EQ(Shown(TrackUpdate(ConfigMaps(), before, after, sent, two, kNow)),
            (Lines{"mine Apply .data.z", "two Update .data.a"}));
  // One that can't be read changes nothing.
  sent[0]["fieldsV1"] = {{"nonsense", Json::object()}};
  EXPECT_EQ(Shown(TrackUpdate(ConfigMaps(), before, after, sent, two, kNow)),
            (Lines{"one Update .data", "two Update .data.a"}));
  // Without entries an object that is there isn't tracked.
  before["metadata"].erase("managedFields");
  EXPECT_EQ(TrackUpdate(ConfigMaps(), before, after, nullptr, two, kNow),
            Json::array());
}

TEST(TrackUpdateTest, OldUpdatesAreOneEntryBeyondTen) {
  Json live = ConfigMap(Json::object(), Json::array());
  live["metadata"].erase("uid");  // the first write creates it
  Json data = Json::object();
  for (int i = 0; i < 13; ++i) {
    std::string digits = std::to_string(10 + i);
    data["k" + digits] = "v";
    Json after = ConfigMap(data);
    Json owners = TrackUpdate(ConfigMaps(), live, after, nullptr,
                              {"m" + digits, ""},
                              "2026-01-01T00:00:" + digits + "Z");
    live = ConfigMap(data, owners);
    EXPECT_LE(owners.size(), 10u);
  }
  Lines shown = Shown(live["metadata"]["managedFields"]);
  ASSERT_EQ(shown.size(), 10u);
  EXPECT_EQ(shown[0],
            "ancient-changes Update .data.k10 .data.k11 .data.k12 .data.k13");
  EXPECT_EQ(shown[1], "m14 Update .data.k14");
}

TEST(ApplyTest, SeveralConflictsAreToldByOwner) {
  Json live = ConfigMap(
      {{"a", "1"}, {"b", "1"}, {"c", "1"}},
      {Owner("two", "Update", Json::parse(R"({"f:data":{"f:a":{},"f:b":{}}})")),
       Owner("one", "Apply", Json::parse(R"({"f:data":{"f:c":{}}})"))});
  Json config = ConfigMap({{"a", "2"}, {"b", "2"}, {"c", "2"}});
  config["metadata"].erase("uid");
  auto refused = Apply(ConfigMaps(), live, config, "me");
  ASSERT_FALSE(refused.ok());
  ApiStatus status = ApiStatusOf(refused.status());
  EXPECT_EQ(status.code, 409);
  EXPECT_EQ(status.message,
            "Apply failed with 3 conflicts: conflicts with \"one\":\n"
            "- .data.c\nconflicts with \"two\" using v1:\n- .data.a\n"
            "- .data.b");
  auto forced = Apply(ConfigMaps(), live, config, "me", true);
  ASSERT_TRUE(forced.ok()) << forced.status();
  EXPECT_EQ(Shown((*forced)["metadata"]["managedFields"]),
            (Lines{"me Apply .data.a .data.b .data.c"}));
}

TEST(ApplyTest, WhatKubectlAppliedBeforeOnTheClientIsNoConflict) {
  Json live = ConfigMap(
      {{"a", "1"}, {"b", "9"}},
      Json::array({Owner(
          "kubectl-client-side-apply", "Update",
          Json::parse(R"({"f:data":{".":{},"f:a":{},"f:b":{}}})"))}));
  live["metadata"]["annotations"]
      ["kubectl.kubernetes.io/last-applied-configuration"] =
          R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},)"
          R"("data":{"a":"1","b":"1"}})";
  Json config = {{"apiVersion", "v1"},
                 {"kind", "ConfigMap"},
                 {"metadata", {{"name", "c"}}},
                 {"data", {{"a", "<2>"}}}};
  auto applied = Apply(ConfigMaps(), live, config, "kubectl");
  ASSERT_TRUE(applied.ok()) << applied.status();
  // And the annotation says what was applied, in kubectl's form.
  EXPECT_EQ((*applied)["metadata"]["annotations"]
                      ["kubectl.kubernetes.io/last-applied-configuration"],
            "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"\\u003c2\\u003e\"},"
            "\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c\"}}\n");
  // Somebody else is refused; so is a field that was changed since.
  EXPECT_FALSE(Apply(ConfigMaps(), live, config, "other").ok());
  config["data"] = {{"b", "2"}};
  EXPECT_FALSE(Apply(ConfigMaps(), live, config, "kubectl").ok());
}

TEST(ApplyTest, FirstApplyOfAnObjectWithoutOwners) {
  Json live = ConfigMap({{"a", "1"}, {"b", "1"}});
  Json config = {{"apiVersion", "v1"},
                 {"kind", "ConfigMap"},
                 {"metadata", {{"name", "c"}}},
                 {"data", {{"a", "2"}}}};
  auto refused = Apply(ConfigMaps(), live, config, "me");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(ApiStatusOf(refused.status()).message,
            "Apply failed with 1 conflict: conflict with "
            "\"before-first-apply\" using v1: .data.a");
}

// A pod template with one container, its probe and its ports.
Json Template(Json container) {
  container["name"] = "c";
  return {{"apiVersion", "apps/v1"},
          {"kind", "Deployment"},
          {"metadata", {{"name", "d"}}},
          {"spec", {{"template", {{"spec", {{"containers", {container}}}}}}}}};
}

TEST(ApplyTest, ADroppedStructTakesItsDefaultsWithIt) {
  Json first = Template({{"readinessProbe", {{"httpGet", {{"port", 80}}}}},
                         {"image", "i"}});
  Json live = *Apply(Deployments(), nullptr, first, "me");
  live["metadata"]["uid"] = "u";
  Json& container = live["spec"]["template"]["spec"]["containers"][0];
  container["readinessProbe"]["periodSeconds"] = 10;  // a default
  container["imagePullPolicy"] = "Always";            // nobody's
  auto second = Apply(Deployments(), live, Template({{"image", "i"}}), "me");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ((*second)["spec"]["template"]["spec"]["containers"][0],
            (Json{{"name", "c"}, {"image", "i"}, {"imagePullPolicy", "Always"}}));
  // What somebody else has stays, with the way to it.
  Json shared = live;
  shared["metadata"]["managedFields"].push_back(Owner(
      "other", "Update",
      Json::parse(R"({"f:spec":{"f:template":{"f:spec":{"f:containers":)"
                  R"({"k:{\"name\":\"c\"}":{"f:readinessProbe":)"
                  R"({"f:periodSeconds":{}}}}}}}})")));
  auto third = Apply(Deployments(), shared, Template({{"image", "i"}}), "me");
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_EQ((*third)["spec"]["template"]["spec"]["containers"][0]
                    ["readinessProbe"],
            (Json{{"periodSeconds", 10}}));
}

TEST(ApplyTest, OrderOfKeyedLists) {
  auto names = [](const char* text) {
    Json out = Json::array();
    for (const char* c = text; *c != '\0'; ++c) {
      out.push_back({{"name", std::string(1, *c)}});
    }
    return Json{{"spec", {{"template", {{"spec", {{"containers", out}}}}}}}};
  };
  struct Row {
    const char *live, *config, *merged;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"ab", "b", "ab"},
           {"ab", "ba", "ba"},
           {"abc", "ca", "bca"},
           {"a", "xa", "xa"},
           {"ab", "xba", "xba"},
           {"ab", "axb", "axb"},
           {"ab", "xy", "abxy"},
           {"abcd", "dxb", "acdxb"},
           {"", "ab", "ab"}}) {
    EXPECT_EQ(MergeApplied(*Deployments().schema, names(row.live),
                           names(row.config)),
              names(row.merged))
        << row.live << " and " << row.config;
  }
}

TEST(ApplyTest, ProblemsOfAConfig) {
  struct Row {
    const char *body, *message;
  };
  const std::string prefix = "failed to create typed patch object (/s; /v1, "
                             "Kind=Service): ";
  for (const Row& row : std::initializer_list<Row>{
           {R"({"spec":{"ports":[{"name":"x"}]}})",
            ".spec.ports: element 0: associative list with keys has an element "
            "that omits key field \"port\" (and doesn't have default value)"},
           {R"({"spec":{"type":5}})", ".spec.type: expected string, got number"},
           {R"({"spec":{"ports":[{"port":80,"x":1}]}})",
            ".spec.ports[port=80,protocol=\"TCP\"].x: field not declared in "
            "schema"},
           {R"({"spec":{"a":1,"b":1}})",
            "errors:\n  .spec.a: field not declared in schema\n  .spec.b: field "
            "not declared in schema"}}) {
    Json config = Json::parse(row.body);
    config["apiVersion"] = "v1";
    config["kind"] = "Service";
    config["metadata"] = {{"name", "s"}};
    auto refused = Apply(Services(), nullptr, config, "me");
    ASSERT_FALSE(refused.ok()) << row.body;
    EXPECT_EQ(ApiStatusOf(refused.status()).code, 500);
    EXPECT_EQ(ApiStatusOf(refused.status()).message, prefix + row.message);
  }
  Json other = {{"apiVersion", "v2"}, {"metadata", {{"name", "s"}}}};
  EXPECT_EQ(ApiStatusOf(Apply(Services(), nullptr, other, "me").status()).code,
            400);
}

TEST(ManagerNameTest, FromTheParameterOrTheUserAgent) {
  EXPECT_EQ(ManagerName("mine", "kubectl/v1"), "mine");
  EXPECT_EQ(ManagerName("", "kubectl/v1.32 (linux)"), "kubectl");
  EXPECT_EQ(ManagerName("", "bare"), "bare");
  EXPECT_EQ(ManagerName("", ""), "unknown");
  EXPECT_EQ(ManagerName("", std::string(200, 'x')).size(), 128u);
}

}  // namespace
}  // namespace fairlead::api
