// SPDX-License-Identifier: Apache-2.0
// Sub-resources: scale, pods/binding, namespaces/finalize.
#include <nlohmann/json.hpp>

#include "absl/strings/str_join.h"
#include "control/api/api_status.h"
#include "control/api/go_format.h"
#include "control/api/json_access.h"
#include "control/api/render.h"
#include "control/api/subresources.h"
#include "control/api/tables.h"
#include "control/api/verbs.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

using Plan = Registry::Plan;

// "app=web,tier in (a,b)": a label selector object as text.
std::string SelectorText(const Json& selector) {
  std::vector<std::string> terms;
  for (const auto& [key, value] : Map(selector, "matchLabels").items()) {
    terms.push_back(StrCat(key, "=", Text(value)));
  }
  for (const Json& expression : List(selector, "matchExpressions")) {
    std::string_view op = Text(expression, "operator");
    std::string key(Text(expression, "key"));
    std::vector<std::string> values;
    for (const Json& value : List(expression, "values")) {
      values.emplace_back(Text(value));
    }
    std::string set = StrCat("(", absl::StrJoin(values, ","), ")");
    if (op == "In") terms.push_back(StrCat(key, " in ", set));
    if (op == "NotIn") terms.push_back(StrCat(key, " notin ", set));
    if (op == "Exists") terms.push_back(key);
    if (op == "DoesNotExist") terms.push_back(StrCat("!", key));
  }
  return absl::StrJoin(terms, ",");
}

Json ScaleOf(const Json& object) {
  Json metadata = Json::object();
  for (const char* field :
       {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"}) {
    const Json& value = Get(object, {"metadata", field});
    if (!value.is_null()) metadata[field] = value;
  }
  Json scale = {
      {"kind", "Scale"},
      {"apiVersion", "autoscaling/v1"},
      {"metadata", std::move(metadata)},
      {"spec", Json::object()},
      {"status",
       {{"replicas", Int(Get(object, {"status", "replicas"}))},
        {"selector", SelectorText(Get(object, {"spec", "selector"}))}}}};
  int64_t replicas = Int(Get(object, {"spec", "replicas"}));
  if (replicas != 0) scale["spec"]["replicas"] = replicas;
  return scale;
}

// A Scale in the form that was asked for. Its Table has columns of its own.
kube::Response RenderScale(const ApiRequest& request, const Json& object,
                           absl::Time now) {
  const Representation& how = request.representation;
  if (how.form != Representation::Form::kTable) {
    return JsonResponse(200, ScaleOf(object), how.pretty);
  }
  Json columns = Json::array();
  for (auto [name, type] :
       {std::pair("Name", "string"), {"Desired", "integer"},
        {"Available", "integer"}, {"Age", "string"}}) {
    columns.push_back({{"name", name},
                       {"type", type},
                       {"format", ""},
                       {"description", ""},
                       {"priority", 0}});
  }
  Json row = TableRow(request.kind(), ScaleOf(object), how, now);
  row["cells"] = {Text(object, {"metadata", "name"}),
                  Int(Get(object, {"spec", "replicas"})),
                  Int(Get(object, {"status", "replicas"})),
                  Since(Get(object, {"metadata", "creationTimestamp"}), now)};
  return JsonResponse(
      200,
      {{"kind", "Table"},
       {"apiVersion", how.table_version},
       {"metadata",
        {{"resourceVersion", Get(object, {"metadata", "resourceVersion"})}}},
       {"columnDefinitions", std::move(columns)},
       {"rows", Json::array({std::move(row)})}},
      how.pretty);
}

// The Scale that a PUT or PATCH asks for.
absl::StatusOr<Json> WantedScale(const ApiRequest& request,
                                 const Json& before) {
  if (request.http.method == "PUT") {
    return DecodeAny(request.Header("content-type"), request.http.body,
                     "Scale");
  }
  std::string_view type = request.Header("content-type");
  type = type.substr(0, type.find(';'));
  PatchKind kind = PatchKind::kMerge;
  if (type == "application/json-patch+json") {
    kind = PatchKind::kJson;
  } else if (type != "application/merge-patch+json" &&
             type != "application/strategic-merge-patch+json") {
    return MakeStatus({415, "UnsupportedMediaType",
                       "415: Unsupported Media Type", "{}", ""});
  }
  FL_ASSIGN_OR_RETURN(Json patch, ParsePatch(kind, request.http.body));
  // A Scale has no lists: a strategic merge is a merge.
  return ApplyPatch(kind, ScaleOf(before), patch, nullptr);
}

absl::StatusOr<Plan> PlanScale(const ApiRequest& request, const Json* before) {
  const Kind& kind = request.kind();
  if (before == nullptr) return NotFound(kind, request.name);
  FL_ASSIGN_OR_RETURN(Json scale, WantedScale(request, *before));
  FL_RETURN_IF_ERROR(CheckIdentity(kind, request.ns, request.name,
                                   request.http.method == "PATCH", scale,
                                   before));
  const Json& wanted = Get(scale, {"spec", "replicas"});
  if (!wanted.is_null() && !wanted.is_number_integer()) {
    return BadRequest(StrCat(
        "Scale in version \"v1\" cannot be handled as a Scale: json: cannot "
        "unmarshal ",
        JsonTypeName(wanted),
        " into Go struct field ScaleSpec.spec.replicas of type int32"));
  }
  if (Int(wanted) < 0 || Int(wanted) > INT32_MAX) {
    return Invalid("Scale", "autoscaling", request.name,
                   {FieldInvalid("spec.replicas", wanted.dump(),
                                 "must be greater than or equal to 0")});
  }
  Plan plan{Plan::Action::kPut, *before, false, WriteVerb::kUpdate,
            ManagerOf(request)};
  Sub(plan.object, "spec")["replicas"] = Int(wanted);
  return plan;
}

// The pod on `node`, as it is once it is bound.
Json BoundPod(const Json& pod, std::string_view node, const Json* node_object,
              const std::string& now) {
  Json out = pod;
  Sub(out, "spec")["nodeName"] = node;
  Json condition = {{"type", "PodScheduled"},
                    {"status", "True"},
                    {"lastProbeTime", nullptr},
                    {"lastTransitionTime", now}};
  Json& conditions = Sub(out, "status")["conditions"];
  if (!conditions.is_array()) conditions = Json::array();
  bool found = false;
  for (Json& old : conditions) {
    if (Text(old, "type") != "PodScheduled") continue;
    old = condition;
    found = true;
  }
  if (!found) conditions.push_back(std::move(condition));
  if (node_object == nullptr) return out;
  for (const char* label :
       {"topology.kubernetes.io/zone", "topology.kubernetes.io/region"}) {
    const Json& value = Get(*node_object, {"metadata", "labels", label});
    if (value.is_string()) Sub(Sub(out, "metadata"), "labels")[label] = value;
  }
  return out;
}

}  // namespace

kube::Response SuccessStatus(bool pretty) {
  return JsonResponse(201,
                      {{"kind", "Status"},
                       {"apiVersion", "v1"},
                       {"metadata", Json::object()},
                       {"status", "Success"},
                       {"code", 201}},
                      pretty);
}

void Verbs::GetScale(ApiRequestRef request, ResponderRef responder) {
  store::ObjectRef object = request->served->cache.Find(
      ObjectKey(request->kind(), request->ns, request->name));
  if (object == nullptr) {
    return SendError(*request, *responder,
                     NotFound(request->kind(), request->name));
  }
  responder->Send(RenderScale(*request,
                              ParseObject(*request->served, *object),
                              registry_->clock().Now()));
}

void Verbs::WriteScale(ApiRequestRef request, ResponderRef responder) {
  absl::StatusOr<WriteOptions> options = ParseWriteOptions(
      request->query,
      request->http.method == "PUT" ? "UpdateOptions" : "PatchOptions");
  if (!options.ok()) return SendError(*request, *responder, options.status());
  registry_->Write(
      request->served, request->ns, request->name, options->dry_run,
      [request](const Json* before) { return PlanScale(*request, before); },
      [request, responder](absl::StatusOr<Registry::Outcome> outcome) {
        if (!outcome.ok()) {
          return SendError(*request, *responder, outcome.status());
        }
        responder->Send(JsonResponse(200, ScaleOf(*outcome->object),
                                     request->representation.pretty));
      });
}

void Verbs::Bind(ApiRequestRef request, ResponderRef responder) {
  absl::StatusOr<WriteOptions> options =
      ParseWriteOptions(request->query, "CreateOptions");
  if (!options.ok()) return SendError(*request, *responder, options.status());
  absl::StatusOr<Json> binding = DecodeAny(request->Header("content-type"),
                                           request->http.body, "Binding");
  if (!binding.ok()) return SendError(*request, *responder, binding.status());
  std::string node(Text(*binding, {"target", "name"}));
  if (node.empty()) {
    return SendError(*request, *responder,
                     Invalid("Binding", "", request->name,
                             {FieldRequired("target.name")}));
  }
  std::string uid(Text(*binding, {"metadata", "uid"}));
  auto planner = [this, request, node,
                  uid](const Json* before) -> absl::StatusOr<Plan> {
    const Kind& kind = request->kind();
    if (before == nullptr) return NotFound(kind, request->name);
    auto conflict = [&](std::string_view why) {
      return Conflict("pods/binding", "", request->name, why);
    };
    if (!uid.empty() && uid != Text(*before, {"metadata", "uid"})) {
      return conflict("the pod has another UID than the binding");
    }
    if (before->contains("metadata") &&
        (*before)["metadata"].contains("deletionTimestamp")) {
      return conflict(StrCat("pod ", request->name,
                             " is being deleted, cannot be assigned to a "
                             "host"));
    }
    std::string_view bound = Text(*before, {"spec", "nodeName"});
    if (!bound.empty()) {
      return conflict(StrCat("pod ", request->name,
                             " is already assigned to node ", Quote(bound)));
    }
    Served* nodes = registry_->Find("", "v1", "nodes");
    store::ObjectRef found =
        nodes == nullptr ? nullptr : nodes->cache.Find(node);
    std::optional<Json> node_object;
    if (found != nullptr) node_object = ParseObject(*nodes, *found);
    return Plan{Plan::Action::kPut,
                BoundPod(*before, node, node_object ? &*node_object : nullptr,
                         registry_->Now()),
                true, WriteVerb::kUpdate};
  };
  registry_->Write(
      request->served, request->ns, request->name, options->dry_run,
      std::move(planner),
      [request, responder](absl::StatusOr<Registry::Outcome> outcome) {
        if (!outcome.ok()) {
          return SendError(*request, *responder, outcome.status());
        }
        responder->Send(SuccessStatus(request->representation.pretty));
      });
}

void Verbs::FinalizeNamespace(ApiRequestRef request, ResponderRef responder) {
  absl::StatusOr<Json> body = DecodeAny(request->Header("content-type"),
                                        request->http.body, "Namespace");
  if (!body.ok()) return SendError(*request, *responder, body.status());
  auto planner = [request, body = *std::move(body)](
                     const Json* before) -> absl::StatusOr<Plan> {
    if (before == nullptr) return NotFound(request->kind(), request->name);
    FL_RETURN_IF_ERROR(CheckIdentity(request->kind(), "", request->name, false,
                                     body, before));
    Plan plan{Plan::Action::kPut, *before, true, WriteVerb::kUpdate};
    const Json& finalizers = api::List(body, {"spec", "finalizers"});
    if (finalizers.empty()) {
      Sub(plan.object, "spec").erase("finalizers");
    } else {
      Sub(plan.object, "spec")["finalizers"] = finalizers;
    }
    return plan;
  };
  registry_->Write(
      request->served, request->ns, request->name, false, std::move(planner),
      [this, request, responder](absl::StatusOr<Registry::Outcome> outcome) {
        FinishWrite(*request, *responder, {}, std::move(outcome));
      });
}

}  // namespace fairlead::api
