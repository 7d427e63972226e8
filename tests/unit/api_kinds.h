// SPDX-License-Identifier: Apache-2.0
// Rows and types for tests of the generic machinery.
#ifndef FAIRLEAD_TESTS_UNIT_API_KINDS_H_
#define FAIRLEAD_TESTS_UNIT_API_KINDS_H_

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "control/api/kind.h"
#include "control/api/schema.h"

namespace fairlead::api {

// The types of the test's kinds: enough for merge lists, quantities and maps.
struct TestTypes {
  Type string{.shape = Shape::kString};
  Type integer{.shape = Shape::kInteger, .name = "int32"};
  Type boolean{.shape = Shape::kBoolean};
  Type time{.shape = Shape::kTime};
  Type any{.shape = Shape::kAny};
  Type strings{.shape = Shape::kList, .element = &string};
  Type string_map{.shape = Shape::kMap, .element = &string};
  Type env{.shape = Shape::kObject,
           .name = "test.v1.EnvVar",
           .fields = {{.name = "name", .type = &string},
                      {.name = "value", .type = &string}}};
  Type envs{.shape = Shape::kList, .element = &env};
  Type port{.shape = Shape::kObject,
            .name = "test.v1.Port",
            .fields = {{.name = "name", .type = &string},
                       {.name = "port", .type = &integer}}};
  Type ports{.shape = Shape::kList, .element = &port};
  Type container{.shape = Shape::kObject,
                 .name = "test.v1.Container",
                 .fields = {{.name = "name", .type = &string},
                            {.name = "image", .type = &string},
                            {.name = "args", .type = &strings},
                            {.name = "env",
                             .type = &envs,
                             .patch_merge = true,
                             .merge_key = "name"}}};
  Type containers{.shape = Shape::kList, .element = &container};
  Type strategy{.shape = Shape::kObject,
                .name = "test.v1.Strategy",
                .fields = {{.name = "type", .type = &string},
                           {.name = "rollingUpdate", .type = &string_map}}};
  Type metadata{.shape = Shape::kObject,
                .name = "test.v1.ObjectMeta",
                .fields = {{.name = "name", .type = &string},
                           {.name = "generateName", .type = &string},
                           {.name = "namespace", .type = &string},
                           {.name = "uid", .type = &string},
                           {.name = "resourceVersion", .type = &string},
                           {.name = "generation", .type = &integer},
                           {.name = "creationTimestamp", .type = &time},
                           {.name = "deletionTimestamp", .type = &time},
                           {.name = "deletionGracePeriodSeconds",
                            .type = &integer},
                           {.name = "labels", .type = &string_map},
                           {.name = "annotations", .type = &string_map},
                           {.name = "ownerReferences", .type = &any},
                           {.name = "managedFields", .type = &any},
                           {.name = "finalizers",
                            .type = &strings,
                            .patch_merge = true}}};
  Type spec{.shape = Shape::kObject,
            .name = "test.v1.WidgetSpec",
            .fields = {{.name = "size", .type = &integer},
                       {.name = "replicas", .type = &integer},
                       {.name = "node", .type = &string},
                       {.name = "nodeName", .type = &string},
                       {.name = "finalizers", .type = &strings},
                       {.name = "paused", .type = &boolean},
                       {.name = "selector", .type = &any},
                       {.name = "ports",
                        .type = &ports,
                        .patch_merge = true,
                        .merge_key = "port"},
                       {.name = "containers",
                        .type = &containers,
                        .patch_merge = true,
                        .merge_key = "name"},
                       {.name = "strategy",
                        .type = &strategy,
                        .patch_retain_keys = true},
                       {.name = "terminationGracePeriodSeconds",
                        .type = &integer}}};
  Type object{.shape = Shape::kObject,
              .name = "test.v1.Widget",
              .fields = {{.name = "apiVersion", .type = &string},
                         {.name = "kind", .type = &string},
                         {.name = "metadata", .type = &metadata},
                         {.name = "data", .type = &string_map},
                         {.name = "spec", .type = &spec},
                         {.name = "status", .type = &any}}};
};

// Namespaces, pods (graceful deletion), and widgets of a group (status, scale,
// generation, a selectable field, a table).
inline KindTable TestKinds(const TestTypes& types) {
  auto prepare = [](WriteVerb verb, Json& object, const Json* before) {
    auto keep = [&](const char* part) {
      if (before != nullptr && before->contains(part)) {
        object[part] = (*before)[part];
      } else {
        object.erase(part);
      }
    };
    if (verb == WriteVerb::kUpdateStatus) {
      keep("spec");
    } else {
      keep("status");
    }
  };
  Kind ns;
  ns.resource = {"", "v1", "namespaces", "Namespace", false};
  ns.schema = &types.object;
  ns.has_status = true;
  ns.delete_returns_object = ns.no_delete_collection = true;
  ns.set_defaults = [](Json& object) {
    if (!object["metadata"].contains("deletionTimestamp")) {
      object["status"]["phase"] = "Active";
    }
  };
  Kind pod;
  pod.resource = {"", "v1", "pods", "Pod", true};
  pod.schema = &types.object;
  pod.has_status = pod.has_generation = true;
  pod.graceful_deletion = pod.delete_returns_object = true;
  pod.prepare = prepare;
  Kind widget;
  widget.resource = {"test.io", "v1", "widgets", "Widget", true};
  widget.schema = &types.object;
  widget.has_status = widget.has_scale = widget.has_generation = true;
  widget.prepare = prepare;
  widget.columns = {{"Name", "string", "name", 0}, {"Size", "integer", "", 0}};
  widget.cells = [](const Json& object, absl::Time) {
    return std::vector<Json>{
        object["metadata"]["name"],
        object.value("/spec/size"_json_pointer, Json(0))};
  };
  widget.selectable_fields = {"spec.node"};
  widget.field_value = [](const Json& object, std::string_view) {
    return object.value("/spec/node"_json_pointer, std::string());
  };
  widget.validate = [](const Json& object, const Json*) -> FieldErrors {
    Json size = object.value("/spec/size"_json_pointer, Json(0));
    if (size.is_number() && size < 100) return {};
    return {{"FieldValueInvalid", "spec.size",
             "Invalid value: " + size.dump() + ": must be less than 100"}};
  };
  return KindTable({ns, pod, widget});
}

}  // namespace fairlead::api

#endif  // FAIRLEAD_TESTS_UNIT_API_KINDS_H_
