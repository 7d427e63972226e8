// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "control/api/kinds.h"
#include "control/api/normalize.h"
#include "control/api/schema_set.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fairlead::api {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string ParseError(std::string_view text) {
  auto set = SchemaSet::Parse({text});
  return set.ok() ? "" : std::string(set.status().message());
}

TEST(SchemaSet, ParsesTheTextForm) {
  auto set = SchemaSet::Parse({R"(# a comment
package a x.a

Pair atomic
  left! string required default="L"
  right* [Item] merge=name retainKeys map=name,port
Item
  name string enum=A|B
  tags {quantity} atomic
)"});
  ASSERT_TRUE(set.ok()) << set.status();
  const Type* pair = (*set)->Find("x.a.Pair");
  ASSERT_NE(pair, nullptr);
  EXPECT_TRUE(pair->atomic);
  const Field* left = pair->Find("left");
  ASSERT_NE(left, nullptr);
  EXPECT_TRUE(left->required);
  EXPECT_EQ(left->presence, Presence::kAlways);
  EXPECT_EQ(left->default_json, "\"L\"");
  const Field* right = pair->Find("right");
  ASSERT_NE(right, nullptr);
  EXPECT_EQ(right->presence, Presence::kPointer);
  EXPECT_EQ(right->type->shape, Shape::kList);
  EXPECT_EQ(right->type->element->name, "x.a.Item");
  EXPECT_EQ(right->merge_key, "name");
  EXPECT_TRUE(right->patch_merge && right->patch_retain_keys);
  EXPECT_THAT(right->list_map_keys, ElementsAre("name", "port"));
  const Type* item = (*set)->Find("x.a.Item");
  EXPECT_THAT(item->Find("name")->one_of, ElementsAre("A", "B"));
  EXPECT_EQ(item->Find("tags")->type->element->shape, Shape::kQuantity);
  EXPECT_EQ(item->Find("tags")->list_type, "atomic");
  EXPECT_EQ(item->Find("nope"), nullptr);
}

TEST(SchemaSet, OrdersFieldsByTheirNumbers) {
  auto set = SchemaSet::Parse({R"(package a x.a
Pair
  late string @12
  none string
  outer string @3
  second* string @2.2 required
  first* string @2.1
)"});
  ASSERT_TRUE(set.ok()) << set.status();
  std::vector<std::string> names;
  for (const Field* field : (*set)->Find("x.a.Pair")->by_number) {
    names.push_back(field->name);
  }
  EXPECT_THAT(names, ElementsAre("first", "second", "outer", "late"));
  const Field* second = (*set)->Find("x.a.Pair")->Find("second");
  EXPECT_EQ(second->outer, 2u);
  EXPECT_EQ(second->number, 2u);
  EXPECT_TRUE(second->required);
}

TEST(SchemaSet, RefusesBadNumbers) {
  for (const char* word : {"@", "@0", "@-1", "@x", "@1.", "@.1", "@1.0",
                           "@536870912", "@1.2.3"}) {
    EXPECT_THAT(ParseError(std::string("package a x.a\nT\n  f string ") + word),
                HasSubstr("bad number"))
        << word;
  }
  EXPECT_THAT(
      ParseError("package a x.a\nT\n  f string @1\n  g string @1\n"),
      HasSubstr("have the same number"));
  EXPECT_THAT(
      ParseError("package a x.a\nT\n  f string @1.1\n  g string @1\n"),
      HasSubstr("have the same number"));
}

TEST(SchemaSet, NamesTheLineOfAnError) {
  EXPECT_THAT(ParseError("package a x.a\nT\n  f Missing\n"),
              HasSubstr("x.a.Missing is used but not described"));
  EXPECT_THAT(ParseError("package a x.a\nT\n  f string wrong\n"),
              HasSubstr("line 3: unknown word wrong"));
  EXPECT_THAT(ParseError("package a x.a\n  f string\n"),
              HasSubstr("line 2: a field before any type"));
  EXPECT_THAT(ParseError("package a x.a\nT\n  f b.Y\n"),
              HasSubstr("unknown package b"));
  EXPECT_THAT(ParseError("package a x.a\nT\nT\n"), HasSubstr("twice"));
  EXPECT_THAT(ParseError("package a x.a\nT\n  f\n"), HasSubstr("no type"));
}

TEST(SchemaSet, TheEmbeddedOneHasTheFieldsThatPatchesNeed) {
  KindTable kinds = MakeKindTable();
  EXPECT_GE(kinds.kinds().size(), 12u);
  const Kind* deployment = kinds.FindByKind("apps/v1", "Deployment");
  ASSERT_NE(deployment, nullptr);
  const Type* pod = deployment->schema->Find("spec")
                        ->type->Find("template")
                        ->type->Find("spec")
                        ->type;
  EXPECT_EQ(pod->Find("containers")->merge_key, "name");
  EXPECT_EQ(pod->Find("volumes")->merge_key, "name");
  const Type* container = pod->Find("containers")->type->element;
  EXPECT_EQ(container->Find("ports")->merge_key, "containerPort");
  EXPECT_THAT(container->Find("ports")->list_map_keys,
              ElementsAre("containerPort", "protocol"));
  EXPECT_EQ(kinds.Find("", "v1", "services")->resource.kind, "Service");
  EXPECT_EQ(kinds.Find("apps", "v1", "services"), nullptr);
}

TEST(Normalize, DropsWhatMeansNothingAndFillsWhatIsAlwaysThere) {
  KindTable kinds = MakeKindTable();
  const Kind* pod = kinds.FindByKind("v1", "Pod");
  json object = json::parse(R"({
    "kind": "Pod", "apiVersion": "v1",
    "metadata": {"name": "p", "labels": {}, "annotations": null,
                 "creationTimestamp": "2026-01-01T02:00:00+01:00"},
    "spec": {"hostname": "", "hostNetwork": false, "priority": 0,
      "containers": [{"name": "c", "image": "i", "env": [], "tty": false,
        "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": "1000m", "memory": 1024}}}]}})");
  Normalize(*pod->schema, object);
  json again = object;
  Normalize(*pod->schema, again);
  EXPECT_EQ(again, object);
  EXPECT_EQ(object, json::parse(R"({
    "kind": "Pod", "apiVersion": "v1",
    "metadata": {"name": "p", "creationTimestamp": "2026-01-01T01:00:00Z"},
    "spec": {"priority": 0,
      "containers": [{"name": "c", "image": "i",
        "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "1", "memory": "1024"}}}]},
    "status": {}})"));
}

// Every kind's functions must stand whatever JSON a client sends.
TEST(Kinds, SurviveObjectsOfTheWrongShape) {
  KindTable kinds = MakeKindTable();
  const json shapes[] = {
      json::object(),
      json::parse(R"({"metadata": 1, "spec": [], "status": "x"})"),
      json::parse(R"({"metadata": {"name": 3, "labels": [1]},
        "spec": {"containers": "x", "ports": [1, null, {"port": "a"}],
                 "template": {"spec": {"containers": [[], 1, {"ports": 3}]}},
                 "clusterIPs": [1, {}], "ipFamilies": [null], "taints": [0],
                 "selector": "s", "strategy": [], "type": 1},
        "status": {"conditions": [1], "containerStatuses": ["x", {}],
                   "podIPs": ["x"], "loadBalancer": {"ingress": [1]}},
        "endpoints": [1, {"addresses": [1]}], "ports": [1, {}],
        "data": {"a": 1}, "stringData": {"a": 2}, "involvedObject": 3})")};
  for (const Kind& kind : kinds.kinds()) {
    for (const json& shape : shapes) {
      json before = shape;
      for (WriteVerb verb : {WriteVerb::kCreate, WriteVerb::kUpdate,
                             WriteVerb::kUpdateStatus}) {
        json object = shape;
        const json* old = verb == WriteVerb::kCreate ? nullptr : &before;
        kind.prepare(verb, object, old);
        kind.set_defaults(object);
        (void)kind.validate(object, old);
        (void)kind.warnings(object, old);
        // The stock server answers a cell too many for addresses.
        size_t extra = kind.resource.kind == "IPAddress" ? 1 : 0;
        EXPECT_EQ(kind.cells(object, absl::Now()).size(),
                  kind.columns.size() + extra);
        for (const auto& field : kind.selectable_fields) {
          (void)kind.field_value(object, field);
        }
      }
    }
  }
}

TEST(Kinds, AddressesOfALoadBalancerSayTheirMode) {
  KindTable kinds = MakeKindTable();
  const Kind* service = kinds.Find("", "v1", "services");
  json ingress = json::array({{{"ip", "198.51.100.9"}},
                              {{"hostname", "lb.example"}},
                              {{"ip", "198.51.100.8"}, {"ipMode", "Proxy"}}});
  json object = {{"spec", {{"type", "LoadBalancer"}}},
                 {"status", {{"loadBalancer", {{"ingress", ingress}}}}}};
  service->set_defaults(object);
  ingress[0]["ipMode"] = "VIP";
  EXPECT_EQ(object["status"]["loadBalancer"]["ingress"], ingress);
}

}  // namespace
}  // namespace fairlead::api
