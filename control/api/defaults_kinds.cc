// SPDX-License-Identifier: Apache-2.0
// All kinds but Pod and Service.
#include <string>

#include "absl/strings/escaping.h"
#include "control/api/defaults.h"
#include "control/api/json_access.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

void SetIfNull(Json& object, const char* key, Json value) {
  Json& at = object[key];
  if (at.is_null() || (at.is_string() && at.get_ref<std::string&>().empty())) {
    at = std::move(value);
  }
}

// Makes `field` of `object` what it is in `before`.
void Keep(const char* field, Json& object, const Json& before) {
  if (const Json& kept = Get(before, field); kept.is_null()) {
    object.erase(field);
  } else {
    object[field] = kept;
  }
}

}  // namespace

void PrepareSpecAndStatus(WriteVerb verb, Json& object, const Json* before) {
  switch (verb) {
    case WriteVerb::kCreate:
      object.erase("status");
      break;
    case WriteVerb::kUpdate:
      if (before != nullptr) Keep("status", object, *before);
      break;
    case WriteVerb::kUpdateStatus:
      if (before != nullptr) Keep("spec", object, *before);
      break;
  }
}

void PrepareNamespace(WriteVerb verb, Json& object, const Json* before) {
  PrepareSpecAndStatus(verb, object, before);
  if (verb == WriteVerb::kCreate) {
    object["spec"] = {{"finalizers", {"kubernetes"}}};
    object["status"] = {{"phase", "Active"}};
  } else if (verb == WriteVerb::kUpdate && before != nullptr) {
    // Only the finalize sub-resource may change them.
    Keep("spec", object, *before);
  }
}

void PrepareNode(WriteVerb verb, Json& object, const Json* before) {
  if (verb != WriteVerb::kCreate) {
    PrepareSpecAndStatus(verb, object, before);
    return;
  }
  // A kubelet registers with its status. Nothing is placed on the node before
  // the node controller has seen it ready.
  static constexpr std::string_view kNotReady = "node.kubernetes.io/not-ready";
  Json& taints = Sub(object, "spec")["taints"];
  if (!taints.is_array()) taints = Json::array();
  for (const Json& taint : taints) {
    if (Text(taint, "key") == kNotReady &&
        Text(taint, "effect") == "NoSchedule") {
      return;
    }
  }
  taints.push_back({{"key", kNotReady}, {"effect", "NoSchedule"}});
}

void PrepareDeployment(WriteVerb verb, Json& object, const Json* before) {
  PrepareSpecAndStatus(verb, object, before);
  if (verb != WriteVerb::kUpdateStatus || before == nullptr) return;
  Keep("labels", Sub(object, "metadata"), Get(*before, "metadata"));
}

void DefaultNamespace(Json& object) {
  Json& metadata = Sub(object, "metadata");
  std::string_view name = Text(metadata, "name");
  if (!name.empty()) {
    Sub(metadata, "labels")["kubernetes.io/metadata.name"] = name;
  }
}

void DefaultNode(Json& object) {
  Json& spec = Sub(object, "spec");
  Json& status = Sub(object, "status");
  // An allocatable that is not told is the capacity.
  if (Map(status, "capacity").size() > 0 &&
      Map(status, "allocatable").empty()) {
    status["allocatable"] = status["capacity"];
  }
  if (Text(spec, "podCIDR").empty()) {
    const Json& cidrs = List(spec, "podCIDRs");
    if (!cidrs.empty()) spec["podCIDR"] = cidrs[0];
  } else if (List(spec, "podCIDRs").empty()) {
    spec["podCIDRs"] = Json::array({spec["podCIDR"]});
  }
}

void DefaultEndpointSlice(Json& object) {
  auto ports = object.find("ports");
  if (ports == object.end() || !ports->is_array()) return;
  for (Json& port : *ports) {
    if (!port.is_object()) continue;
    if (Get(port, "name").is_null()) port["name"] = "";
    SetIfNull(port, "protocol", "TCP");
  }
}

void DefaultSecret(Json& object) {
  SetIfNull(object, "type", "Opaque");
  auto texts = object.find("stringData");
  if (texts == object.end()) return;
  for (const auto& [key, text] : Map(*texts).items()) {
    Sub(object, "data")[key] = absl::Base64Escape(Absl(Text(text)));
  }
  object.erase("stringData");
}

void DefaultReplicaSet(Json& object) {
  Json& spec = Sub(object, "spec");
  SetIfNull(spec, "replicas", 1);
  DefaultPodSpec(Sub(Sub(spec, "template"), "spec"));
}

void DefaultDeployment(Json& object) {
  Json& spec = Sub(object, "spec");
  SetIfNull(spec, "replicas", 1);
  SetIfNull(spec, "revisionHistoryLimit", 10);
  SetIfNull(spec, "progressDeadlineSeconds", 600);
  Json& strategy = Sub(spec, "strategy");
  SetIfNull(strategy, "type", "RollingUpdate");
  if (Text(strategy, "type") == "RollingUpdate") {
    Json& rolling = Sub(strategy, "rollingUpdate");
    SetIfNull(rolling, "maxUnavailable", "25%");
    SetIfNull(rolling, "maxSurge", "25%");
  }
  DefaultPodSpec(Sub(Sub(spec, "template"), "spec"));
}

}  // namespace fairlead::api
