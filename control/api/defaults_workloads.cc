// SPDX-License-Identifier: Apache-2.0
// DaemonSet, Job, PodDisruptionBudget, Endpoints and PriorityClass.
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/numbers.h"
#include "control/api/defaults.h"
#include "control/api/json_access.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr char kTemplateGeneration[] =
    "deprecated.daemonset.template.generation";

void SetIfNull(Json& object, const char* key, Json value) {
  Json& at = object[key];
  if (at.is_null() || (at.is_string() && at.get_ref<std::string&>().empty())) {
    at = std::move(value);
  }
}

// The labels by which a Job knows its pods: nobody else has its uid.
void GenerateJobSelector(Json& object) {
  Json& spec = Sub(object, "spec");
  if (IsTrue(spec, "manualSelector")) return;
  std::string uid(Text(object, {"metadata", "uid"}));
  std::string name(Text(object, {"metadata", "name"}));
  Json& labels = Sub(Sub(Sub(spec, "template"), "metadata"), "labels");
  if (!labels.is_object()) labels = Json::object();
  for (const char* prefix : {"", "batch.kubernetes.io/"}) {
    SetIfNull(labels, StrCat(prefix, "controller-uid").c_str(), uid);
    SetIfNull(labels, StrCat(prefix, "job-name").c_str(), name);
  }
  Json& wanted = Sub(Sub(spec, "selector"), "matchLabels");
  if (!wanted.is_object()) wanted = Json::object();
  SetIfNull(wanted, "batch.kubernetes.io/controller-uid", uid);
}

}  // namespace

void PrepareDaemonSet(WriteVerb verb, Json& object, const Json* before) {
  PrepareSpecAndStatus(verb, object, before);
  if (verb == WriteVerb::kUpdateStatus) return;
  int64_t generation = 1;
  if (before != nullptr) {
    std::string_view text =
        Text(*before, {"metadata", "annotations", kTemplateGeneration});
    if (!absl::SimpleAtoi(Absl(text), &generation)) generation = 1;
    Json wanted = object;
    DefaultDaemonSet(wanted);
    if (Get(wanted, {"spec", "template"}) !=
        Get(*before, {"spec", "template"})) {
      ++generation;
    }
  }
  Sub(Sub(object, "metadata"), "annotations")[kTemplateGeneration] =
      std::to_string(generation);
}

void PrepareJob(WriteVerb verb, Json& object, const Json* before) {
  PrepareSpecAndStatus(verb, object, before);
  if (verb == WriteVerb::kCreate) GenerateJobSelector(object);
}


void DefaultDaemonSet(Json& object) {
  // A default, so that it is owned by who made the object.
  SetIfNull(Sub(Sub(object, "metadata"), "annotations"), kTemplateGeneration,
            "1");
  Json& spec = Sub(object, "spec");
  SetIfNull(spec, "revisionHistoryLimit", 10);
  Json& strategy = Sub(spec, "updateStrategy");
  SetIfNull(strategy, "type", "RollingUpdate");
  if (Text(strategy, "type") == "RollingUpdate") {
    Json& rolling = Sub(strategy, "rollingUpdate");
    SetIfNull(rolling, "maxUnavailable", 1);
    SetIfNull(rolling, "maxSurge", 0);
  }
  DefaultPodSpec(Sub(Sub(spec, "template"), "spec"));
}

void DefaultJob(Json& object) {
  Json& spec = Sub(object, "spec");
  if (Get(spec, "completions").is_null() &&
      Get(spec, "parallelism").is_null()) {
    spec["completions"] = 1;
  }
  SetIfNull(spec, "parallelism", 1);
  SetIfNull(spec, "backoffLimit",
            Get(spec, "backoffLimitPerIndex").is_number()
                ? std::numeric_limits<int32_t>::max()
                : 6);
  SetIfNull(spec, "completionMode", "NonIndexed");
  SetIfNull(spec, "suspend", false);
  SetIfNull(spec, "manualSelector", false);
  SetIfNull(spec, "podReplacementPolicy",
            Get(spec, "podFailurePolicy").is_object() ? "Failed"
                                                      : "TerminatingOrFailed");
  Json& metadata = Sub(object, "metadata");
  const Json& labels = Get(spec, {"template", "metadata", "labels"});
  if (Map(metadata, "labels").empty() && labels.is_object()) {
    metadata["labels"] = labels;
  }
  DefaultPodSpec(Sub(Sub(spec, "template"), "spec"));
}

void DefaultEndpoints(Json& object) {
  auto subsets = object.find("subsets");
  if (subsets == object.end() || !subsets->is_array()) return;
  for (Json& subset : *subsets) {
    auto ports = subset.find("ports");
    if (ports == subset.end() || !ports->is_array()) continue;
    for (Json& port : *ports) SetIfNull(port, "protocol", "TCP");
  }
}

void DefaultPriorityClass(Json& object) {
  SetIfNull(object, "preemptionPolicy", "PreemptLowerPriority");
}

}  // namespace fairlead::api
