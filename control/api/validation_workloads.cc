// SPDX-License-Identifier: Apache-2.0
// Deployments and ReplicaSets.
#include "control/api/int_or_string.h"
#include "control/api/json_access.h"
#include "control/api/validation.h"
#include "userspace/base/strings.h"

namespace fairlead::api {

void ValidateWorkloadTemplate(const Json& spec, FieldErrorList* errors) {
  const Json& selector = Get(spec, "selector");
  const Json& labels = Get(spec, {"template", "metadata", "labels"});
  bool selects_all = selector.is_object() &&
                     Map(selector, "matchLabels").empty() &&
                     List(selector, "matchExpressions").empty();
  if (!selects_all &&
      (!selector.is_object() || !SelectorMatches(selector, labels))) {
    errors->Invalid("spec.template.metadata.labels", labels,
                    "`selector` does not match template `labels`");
  }
  ValidateLabels(labels, "spec.template.labels", errors);
  const Json& pod = Get(spec, {"template", "spec"});
  ValidatePodSpec(pod, "spec.template.spec", errors);
  std::string_view policy = Text(pod, "restartPolicy");
  if (policy == "OnFailure" || policy == "Never") {
    errors->NotSupported("spec.template.spec.restartPolicy", policy,
                         {"Always"});
  }
  if (Get(pod, "activeDeadlineSeconds").is_number()) {
    errors->Forbidden("spec.template.spec.activeDeadlineSeconds",
                      "activeDeadlineSeconds in ReplicaSet is not Supported");
  }
}

bool ValidateCount(const Json& value, const std::string& field,
                   FieldErrorList* errors) {
  if (value.is_string() && !ParsePercent(Text(value))) {
    errors->Invalid(field, value,
                    "a valid percent string must be a numeric string followed "
                    "by an ending '%' (e.g. '1%',  or '93%', regex used for "
                    "validation is '[0-9]+%')");
    return false;
  }
  errors->NotNegative(field, value);
  return true;
}

void ValidateSelectorKept(const Json& object, const Json* before,
                          FieldErrorList* errors) {
  const Json& selector = Get(object, {"spec", "selector"});
  if (before != nullptr && selector != Get(*before, {"spec", "selector"})) {
    errors->Invalid("spec.selector", selector, "field is immutable");
  }
}

namespace {

void ValidateWorkloadSpec(const Json& spec, FieldErrorList* errors) {
  errors->NotNegative("spec.replicas", Get(spec, "replicas"));
  const Json& selector = Get(spec, "selector");
  if (!selector.is_object()) {
    errors->Required("spec.selector");
  } else {
    ValidateLabelSelector(selector, "spec.selector", errors);
    if (Map(selector, "matchLabels").empty() &&
        List(selector, "matchExpressions").empty()) {
      errors->Invalid("spec.selector", Json::object(),
                      "empty selector is invalid for deployment");
    }
  }
  ValidateWorkloadTemplate(spec, errors);
  errors->NotNegative("spec.minReadySeconds", Get(spec, "minReadySeconds"));
}

bool IsZero(const Json& value) {
  return value.is_string() ? ParsePercent(Text(value)).value_or(0) == 0
                           : Int(value) == 0;
}

void ValidateStrategy(const Json& strategy, FieldErrorList* errors) {
  std::string_view type = Text(strategy, "type");
  const Json& rolling = Get(strategy, "rollingUpdate");
  if (type == "Recreate") {
    if (rolling.is_object()) {
      errors->Forbidden(
          "spec.strategy.rollingUpdate",
          "may not be specified when strategy `type` is 'Recreate'");
    }
    return;
  }
  if (type != "RollingUpdate") {
    // The stock server prints its internal form of the strategy.
    errors->Add("FieldValueNotSupported", "spec.strategy",
                StrCat("Unsupported value: {\"Type\":", Json(type).dump(),
                       ",\"RollingUpdate\":", rolling.dump(),
                       "}: supported values: \"Recreate\", \"RollingUpdate\""));
    return;
  }
  const std::string unavailable_field =
      "spec.strategy.rollingUpdate.maxUnavailable";
  const Json& unavailable = Get(rolling, "maxUnavailable");
  const Json& surge = Get(rolling, "maxSurge");
  bool counts = ValidateCount(unavailable, unavailable_field, errors);
  counts &=
      ValidateCount(surge, "spec.strategy.rollingUpdate.maxSurge", errors);
  if (!counts) return;
  if (IsZero(unavailable) && IsZero(surge)) {
    errors->Invalid(unavailable_field, unavailable,
                    "may not be 0 when `maxSurge` is 0");
  }
  if (unavailable.is_string() &&
      ParsePercent(Text(unavailable)).value_or(0) > 100) {
    errors->Invalid(unavailable_field, unavailable,
                    "must not be greater than 100%");
  }
}

}  // namespace

FieldErrors ValidateReplicaSet(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  if (before == nullptr || Get(object, "spec") != Get(*before, "spec")) {
    ValidateWorkloadSpec(Get(object, "spec"), &errors);
  }
  ValidateSelectorKept(object, before, &errors);
  return errors.Take();
}

FieldErrors ValidateDeployment(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  const Json& spec = Get(object, "spec");
  if (before == nullptr || spec != Get(*before, "spec")) {
    ValidateWorkloadSpec(spec, &errors);
    ValidateStrategy(Get(spec, "strategy"), &errors);
    errors.NotNegative("spec.revisionHistoryLimit",
                       Get(spec, "revisionHistoryLimit"));
    const Json& deadline = Get(spec, "progressDeadlineSeconds");
    errors.NotNegative("spec.progressDeadlineSeconds", deadline);
    if (deadline.is_number() &&
        Int(deadline) <= Int(spec, "minReadySeconds")) {
      errors.Invalid("spec.progressDeadlineSeconds", deadline,
                     "must be greater than minReadySeconds");
    }
  }
  ValidateSelectorKept(object, before, &errors);
  return errors.Take();
}

std::vector<std::string> WorkloadWarnings(const Json& object,
                                          const Json* before) {
  std::vector<std::string> warnings;
  const Json& pods = Get(object, {"spec", "template"});
  if (before != nullptr && pods == Get(*before, {"spec", "template"})) {
    return warnings;
  }
  Messages name = CheckDnsLabel(Text(object, {"metadata", "name"}));
  if (before == nullptr && !name.empty()) {
    warnings.push_back(
        StrCat("metadata.name: this is used in Pod names and hostnames, which "
               "can result in surprising behavior; a DNS label is recommended: "
               "[",
               name[0], "]"));
  }
  for (auto& more : PodSpecWarnings(Get(pods, "spec"), "spec.template.spec")) {
    warnings.push_back(std::move(more));
  }
  return warnings;
}

}  // namespace fairlead::api
