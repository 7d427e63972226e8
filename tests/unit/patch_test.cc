// SPDX-License-Identifier: Apache-2.0
// The strategic-merge rows follow exchanges recorded from a real API server.
#include "control/api/patch.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "control/api/api_status.h"
#include "control/api/field_validation.h"
#include "tests/unit/api_kinds.h"

namespace fairlead::api {
namespace {

const TestTypes& Types() {
  static const TestTypes types;
  return types;
}

struct PatchRow {
  const char* name;
  PatchKind kind;
  const char* object;
  const char* patch;
  const char* want;  // JSON
};

class PatchTest : public testing::TestWithParam<PatchRow> {};

TEST_P(PatchTest, Applies) {
  const PatchRow& row = GetParam();
  auto patch = ParsePatch(row.kind, row.patch);
  ASSERT_TRUE(patch.ok()) << patch.status();
  auto result = ApplyPatch(row.kind, Json::parse(row.object), *patch,
                           &Types().object);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(*result, Json::parse(row.want)) << result->dump();
}

constexpr PatchKind kS = PatchKind::kStrategic;
constexpr const char* kTwo =
    R"({"spec":{"containers":[{"name":"side","image":"s:1"},
                              {"name":"c","image":"c:1"}]}})";

INSTANTIATE_TEST_SUITE_P(
    All, PatchTest,
    testing::Values(
        PatchRow{"new_element_goes_first", kS,
                 R"({"spec":{"containers":[{"name":"c","image":"c:1"}]}})",
                 R"({"spec":{"containers":[{"name":"side","image":"s:1"}]}})",
                 kTwo},
        PatchRow{"element_merges_by_key", kS, kTwo,
                 R"({"spec":{"containers":[
                   {"name":"c","env":[{"name":"A","value":"1"},
                                      {"name":"B","value":"2"}]}]}})",
                 R"({"spec":{"containers":[{"name":"side","image":"s:1"},
                   {"name":"c","image":"c:1","env":[
                     {"name":"A","value":"1"},{"name":"B","value":"2"}]}]}})"},
        PatchRow{"patch_delete", kS,
                 R"({"spec":{"containers":[{"name":"c","env":[
                   {"name":"A","value":"1"},{"name":"B","value":"2"}]}]}})",
                 R"({"spec":{"containers":[{"name":"c","env":[
                   {"name":"A","$patch":"delete"}]}]}})",
                 R"({"spec":{"containers":[{"name":"c","env":[
                   {"name":"B","value":"2"}]}]}})"},
        PatchRow{"set_element_order", kS, kTwo,
                 R"({"spec":{"$setElementOrder/containers":
                   [{"name":"c"},{"name":"side"}],
                   "containers":[{"name":"c","image":"c:3"}]}})",
                 R"({"spec":{"containers":[{"name":"c","image":"c:3"},
                                           {"name":"side","image":"s:1"}]}})"},
        // As recorded: the patch's order counts without being asked for.
        PatchRow{"order_of_the_patch", kS,
                 R"({"spec":{"ports":[{"port":81,"name":"b"},
                                      {"port":80,"name":"x"}]}})",
                 R"({"spec":{"ports":[{"port":80,"name":"a"},
                                      {"port":81,"name":"b"}]}})",
                 R"({"spec":{"ports":[{"port":80,"name":"a"},
                                      {"port":81,"name":"b"}]}})"},
        PatchRow{"new_between_old", kS,
                 R"({"spec":{"ports":[{"port":1},{"port":2},{"port":3}]}})",
                 R"({"spec":{"ports":[{"port":2},{"port":9},{"port":3}]}})",
                 R"({"spec":{"ports":[{"port":1},{"port":2},{"port":9},
                                      {"port":3}]}})"},
        PatchRow{"set_element_order_places_the_new", kS,
                 R"({"spec":{"ports":[{"port":1},{"port":2},{"port":3}]}})",
                 R"({"spec":{"$setElementOrder/ports":[{"port":3},{"port":9},
                   {"port":1}],"ports":[{"port":9}]}})",
                 R"({"spec":{"ports":[{"port":2},{"port":3},{"port":9},
                                      {"port":1}]}})"},
        PatchRow{"patch_replace_list", kS, kTwo,
                 R"({"spec":{"containers":[{"$patch":"replace"},
                   {"name":"only","image":"o:1"}]}})",
                 R"({"spec":{"containers":[{"name":"only","image":"o:1"}]}})"},
        PatchRow{"patch_replace_map", kS,
                 R"({"metadata":{"labels":{"a":"1","b":"2"}}})",
                 R"({"metadata":{"labels":{"$patch":"replace","c":"3"}}})",
                 R"({"metadata":{"labels":{"c":"3"}}})"},
        PatchRow{"patch_delete_map", kS,
                 R"({"metadata":{"name":"x","labels":{"a":"1"}}})",
                 R"({"metadata":{"labels":{"$patch":"delete"}}})",
                 R"({"metadata":{"name":"x"}})"},
        PatchRow{"primitive_list_merges_new_first", kS,
                 R"({"metadata":{"finalizers":["example.com/a"]}})",
                 R"({"metadata":{"finalizers":["example.com/b"]}})",
                 R"({"metadata":{"finalizers":
                   ["example.com/b","example.com/a"]}})"},
        PatchRow{"delete_from_primitive_list", kS,
                 R"({"metadata":{"finalizers":["x/a","x/b","x/c"]}})",
                 R"({"metadata":{"$deleteFromPrimitiveList/finalizers":
                   ["x/a","x/c"]}})",
                 R"({"metadata":{"finalizers":["x/b"]}})"},
        PatchRow{"retain_keys", kS,
                 R"({"spec":{"strategy":{"type":"RollingUpdate",
                   "rollingUpdate":{"maxSurge":"1"}}}})",
                 R"({"spec":{"strategy":{"$retainKeys":["type"],
                   "type":"Recreate"}}})",
                 R"({"spec":{"strategy":{"type":"Recreate"}}})"},
        PatchRow{"list_without_strategy_is_replaced", kS,
                 R"({"spec":{"containers":[{"name":"c","args":["a","b"]}]}})",
                 R"({"spec":{"containers":[{"name":"c","args":["z"]}]}})",
                 R"({"spec":{"containers":[{"name":"c","args":["z"]}]}})"},
        PatchRow{"null_removes", kS, R"({"spec":{"size":1,"node":"n"}})",
                 R"({"spec":{"node":null}})", R"({"spec":{"size":1}})"},
        PatchRow{"merge_replaces_lists", PatchKind::kMerge, kTwo,
                 R"({"spec":{"containers":[{"name":"x"}]}})",
                 R"({"spec":{"containers":[{"name":"x"}]}})"},
        PatchRow{"merge_null_removes", PatchKind::kMerge,
                 R"({"data":{"a":"1","b":"2"}})", R"({"data":{"a":null}})",
                 R"({"data":{"b":"2"}})"},
        PatchRow{"json", PatchKind::kJson, R"({"data":{"a":"1"}})",
                 R"([{"op":"test","path":"/data/a","value":"1"},
                     {"op":"add","path":"/data/x~1y","value":"2"},
                     {"op":"remove","path":"/data/a"}])",
                 R"({"data":{"x/y":"2"}})"}),
    [](const auto& info) { return std::string(info.param.name); });

struct ErrorRow {
  PatchKind kind;
  const char* patch;
  int code;
  const char* message;
};

TEST(PatchErrors, AreInTheServersWords) {
  const Json object = Json::parse(
      R"({"metadata":{"name":"im"},"spec":{"ports":[{"port":80}]}})");
  const char* rejected =
      "the server rejected our request due to an error in our request";
  for (const ErrorRow& row : std::vector<ErrorRow>{
           {PatchKind::kMerge, "{", 400,
            "error decoding patch: unexpected end of JSON input"},
           {PatchKind::kMerge, "[]", 400,
            "error decoding patch: json: cannot unmarshal array into Go value "
            "of type map[string]interface {}"},
           {PatchKind::kJson, R"({"a":1})", 400,
            "error decoding patch: json: cannot unmarshal object into Go value "
            "of type []handlers.jsonPatchOp"},
           {PatchKind::kJson, R"([{"op":"nope","path":"/a"}])", 422, rejected},
           {PatchKind::kJson,
            R"([{"op":"replace","path":"/spec/nope/x","value":1}])", 422,
            rejected},
           {PatchKind::kJson,
            R"([{"op":"test","path":"/metadata/name","value":"z"}])", 422,
            rejected},
           {PatchKind::kJson, R"([7])", 422, rejected},
           {kS, R"({"spec":{"ports":"x"}})", 422,
            " \"\" is invalid: patch: Invalid value: "
            "\"map[spec:map[ports:x]]\": cannot restore slice from string"},
           {kS, R"({"spec":{"ports":[{"name":"x"}]}})", 500,
            "map: map[name:x] does not contain declared merge key: port"},
       }) {
    auto patch = ParsePatch(row.kind, row.patch);
    absl::Status status = patch.status();
    if (patch.ok()) {
      status =
          ApplyPatch(row.kind, object, *patch, &Types().object).status();
    }
    ASSERT_FALSE(status.ok()) << row.patch;
    ApiStatus api = ApiStatusOf(status);
    EXPECT_EQ(api.code, row.code) << row.patch;
    // nlohmann's "" is our quoting of an empty name.
    EXPECT_EQ(api.message, row.message);
  }
}

TEST(PatchErrors, CopiesCannotGrowWithoutBound) {
  Json patch = Json::array();
  patch.push_back({{"op", "add"}, {"path", "/data"},
                   {"value", {{"a", std::string(1000, 'x')}}}});
  for (int i = 0; i < 60; ++i) {
    patch.push_back({{"op", "copy"}, {"from", "/data"},
                     {"path", "/data/" + std::to_string(i)}});
  }
  auto result = ApplyPatch(PatchKind::kJson, Json::object(), patch, nullptr);
  EXPECT_EQ(ApiStatusOf(result.status()).code, 422);
}

TEST(FieldValidationTest, UnknownAndDuplicateFieldsAreNamed) {
  Json object = Json::parse(R"({"metadata":{"name":"x","nope2":"x"},"nope":1,
      "spec":{"containers":[{"name":"c","imagee":"y"}],"size":null}})");
  std::vector<std::string> problems;
  ASSERT_TRUE(ConformToSchema(&Types().object, object, &problems).ok());
  EXPECT_EQ(problems,
            (std::vector<std::string>{
                "unknown field \"metadata.nope2\"", "unknown field \"nope\"",
                "unknown field \"spec.containers[0].imagee\""}));
  EXPECT_FALSE(object.contains("nope"));
  EXPECT_FALSE(object["spec"].contains("size"));
  EXPECT_EQ(DuplicateFields(R"({"data":{"a":"1","a":"2"},
      "spec":{"l":[{"b":1},{"c":1,"c":2}]}})"),
            (std::vector<std::string>{"duplicate field \"data.a\"",
                                      "duplicate field \"spec.l[1].c\""}));
}

TEST(FieldValidationTest, WrongTypesAreInTheDecodersWords) {
  const std::pair<const char*, const char*> rows[] = {
      {R"({"metadata":{"name":5}})",
       "json: cannot unmarshal number into Go struct field "
       "ObjectMeta.metadata.name of type string"},
      {R"({"spec":{"ports":[{"port":"eighty"}]}})",
       "json: cannot unmarshal string into Go struct field "
       "Port.spec.ports.port of type int32"},
      {R"({"spec":{"size":1.5}})",
       "json: cannot unmarshal number 1.5 into Go struct field "
       "WidgetSpec.spec.size of type int32"},
      {R"({"spec":{"size":3000000000}})",
       "json: cannot unmarshal number 3000000000 into Go struct field "
       "WidgetSpec.spec.size of type int32"},
      {R"({"metadata":{"labels":[]}})",
       "json: cannot unmarshal array into Go struct field "
       "ObjectMeta.metadata.labels of type map[string]string"},
  };
  for (const auto& [text, message] : rows) {
    Json object = Json::parse(text);
    std::vector<std::string> problems;
    absl::Status status = ConformToSchema(&Types().object, object, &problems);
    EXPECT_EQ(status.message(), message) << text;
  }
}

}  // namespace
}  // namespace fairlead::api
