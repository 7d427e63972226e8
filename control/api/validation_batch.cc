// SPDX-License-Identifier: Apache-2.0
// DaemonSets, Jobs, disruption budgets, and the small cluster kinds.
#include "control/api/int_or_string.h"
#include "control/api/json_access.h"
#include "control/api/validation.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr int64_t kMaxUserPriority = 1'000'000'000;
constexpr int64_t kMaxJobPods = 100'000;  // of an Indexed Job

bool IsEmptySelector(const Json& selector) {
  return Map(selector, "matchLabels").empty() &&
         List(selector, "matchExpressions").empty();
}

bool IsZero(const Json& value) {
  return value.is_string() ? ParsePercent(Text(value)).value_or(0) == 0
                           : Int(value) == 0;
}

void ValidateDaemonSetStrategy(const Json& strategy, FieldErrorList* errors) {
  std::string_view type = Text(strategy, "type");
  if (type == "OnDelete") return;
  if (type != "RollingUpdate") {
    errors->NotSupported("spec.updateStrategy.type", type,
                         {"RollingUpdate", "OnDelete"});
    return;
  }
  const std::string field = "spec.updateStrategy.rollingUpdate";
  const Json& unavailable = Get(strategy, {"rollingUpdate", "maxUnavailable"});
  const Json& surge = Get(strategy, {"rollingUpdate", "maxSurge"});
  bool counts =
      ValidateCount(unavailable, Child(field, "maxUnavailable"), errors);
  counts &= ValidateCount(surge, Child(field, "maxSurge"), errors);
  if (!counts) return;
  if (IsZero(unavailable) && IsZero(surge)) {
    errors->Required(Child(field, "maxUnavailable"),
                     "cannot be 0 when maxSurge is 0");
  } else if (!IsZero(unavailable) && !IsZero(surge)) {
    errors->Invalid(Child(field, "maxSurge"), surge,
                    "may not be set when maxUnavailable is non-zero");
  }
}

void ValidateJobTemplate(const Json& spec, FieldErrorList* errors) {
  const Json& labels = Get(spec, {"template", "metadata", "labels"});
  const Json& selector = Get(spec, "selector");
  if (!selector.is_object()) {
    errors->Required("spec.selector");
  } else {
    ValidateLabelSelector(selector, "spec.selector", errors);
    if (!SelectorMatches(selector, labels)) {
      errors->Invalid("spec.template.metadata.labels", labels,
                      "`selector` does not match template `labels`");
    }
  }
  ValidateLabels(labels, "spec.template.metadata.labels", errors);
  const Json& pod = Get(spec, {"template", "spec"});
  ValidatePodSpec(pod, "spec.template.spec", errors);
  errors->OneOf("spec.template.spec.restartPolicy",
                Get(pod, "restartPolicy"), {"OnFailure", "Never"});
}

// What follows for a Job from pods that failed, or from those that didn't.
void ValidateFailureRules(const Json& spec, FieldErrorList* errors) {
  const Json& policy = Get(spec, "podFailurePolicy");
  if (!policy.is_object()) return;
  const std::string list = "spec.podFailurePolicy.rules";
  const Json& rules = List(policy, "rules");
  for (size_t i = 0; i < rules.size(); ++i) {
    std::string_view action = Text(rules[i], "action");
    std::string field = Child(At(list, i), "action");
    errors->OneOf(field, Get(rules[i], "action"),
                  {"Count", "FailIndex", "FailJob", "Ignore"});
    if (action == "FailIndex" &&
        Get(spec, "backoffLimitPerIndex").is_null()) {
      errors->Invalid(field, action, "requires the backoffLimitPerIndex to be "
                                     "set");
    }
    bool codes = Get(rules[i], "onExitCodes").is_object();
    bool conditions = !List(rules[i], "onPodConditions").empty();
    if (codes == conditions) {
      errors->Invalid(At(list, i), rules[i],
                      codes ? "specifying both OnExitCodes and "
                              "OnPodConditions is not supported"
                            : "specifying one of OnExitCodes and "
                              "OnPodConditions is required");
    }
  }
  std::string_view restart = Text(spec, {"template", "spec", "restartPolicy"});
  if (restart != "Never") {
    errors->Invalid("spec.template.spec.restartPolicy", restart,
                    "only \"Never\" is supported when podFailurePolicy is "
                    "specified");
  }
  const Json& replacement = Get(spec, "podReplacementPolicy");
  if (!replacement.is_null() && Text(replacement) != "Failed") {
    errors->NotSupported("spec.podReplacementPolicy", Text(replacement),
                         {"Failed"});
  }
}

void ValidateIndexed(const Json& spec, FieldErrorList* errors) {
  if (!Get(spec, "maxFailedIndexes").is_null() &&
      Get(spec, "backoffLimitPerIndex").is_null()) {
    errors->Required("spec.backoffLimitPerIndex",
                     "when maxFailedIndexes is specified");
  }
  if (Text(spec, "completionMode") == "Indexed") return;
  for (const char* field :
       {"backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"}) {
    const Json& value = Get(spec, field);
    if (!value.is_null()) {
      errors->Invalid(Child("spec", field), value,
                      "requires indexed completion mode");
    }
  }
}

void ValidateJobSpec(const Json& spec, FieldErrorList* errors) {
  for (const char* field :
       {"parallelism", "completions", "activeDeadlineSeconds", "backoffLimit",
        "ttlSecondsAfterFinished", "backoffLimitPerIndex",
        "maxFailedIndexes"}) {
    errors->NotNegative(Child("spec", field), Get(spec, field));
  }
  std::string_view mode = Text(spec, "completionMode");
  errors->OneOf("spec.completionMode", mode, {"Indexed", "NonIndexed"});
  if (mode == "Indexed") {
    if (!Get(spec, "completions").is_number()) {
      errors->Required("spec.completions",
                       "when completion mode is Indexed");
    }
    if (Int(spec, "parallelism") > kMaxJobPods) {
      errors->Invalid("spec.parallelism", Get(spec, "parallelism"),
                      StrCat("must be less than or equal to ", kMaxJobPods,
                             " when completion mode is Indexed"));
    }
  }
  ValidateIndexed(spec, errors);
  ValidateFailureRules(spec, errors);
  ValidateJobTemplate(spec, errors);
}

void ValidateUnchanged(const Json& object, const Json& before,
                       std::initializer_list<const char*> fields,
                       FieldErrorList* errors) {
  for (const char* field : fields) {
    const Json& value = Get(object, {"spec", field});
    if (value != Get(before, {"spec", field})) {
      errors->Invalid(Child("spec", field), value, "field is immutable");
    }
  }
}

void ValidateAddresses(const Json& addresses, const std::string& field,
                       FieldErrorList* errors) {
  for (size_t i = 0; i < addresses.size(); ++i) {
    std::string_view ip = Text(addresses[i], "ip");
    errors->InvalidEach(Child(At(field, i), "ip"), ip, CheckReachableIp(ip));
  }
}

}  // namespace

FieldErrors ValidateDaemonSet(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  const Json& spec = Get(object, "spec");
  if (before == nullptr || spec != Get(*before, "spec")) {
    const Json& selector = Get(spec, "selector");
    if (!selector.is_object()) {
      errors.Required("spec.selector");
    } else {
      ValidateLabelSelector(selector, "spec.selector", &errors);
      if (IsEmptySelector(selector)) {
        errors.Invalid("spec.selector", Json::object(),
                       "empty selector is invalid for daemonset");
      }
    }
    ValidateWorkloadTemplate(spec, &errors);
    errors.NotNegative("spec.minReadySeconds", Get(spec, "minReadySeconds"));
    errors.NotNegative("spec.revisionHistoryLimit",
                       Get(spec, "revisionHistoryLimit"));
    ValidateDaemonSetStrategy(Get(spec, "updateStrategy"), &errors);
  }
  ValidateSelectorKept(object, before, &errors);
  return errors.Take();
}

FieldErrors ValidateControllerRevision(const Json& object,
                                       const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  if (Int(object, "revision") < 0) {
    errors.NotNegative("revision", Get(object, "revision"));
  }
  if (before == nullptr && Get(object, "data").is_null()) {
    errors.Required("data", "data is mandatory");
  }
  if (before != nullptr && Get(object, "data") != Get(*before, "data")) {
    errors.Invalid("data", Get(object, "data"), "field is immutable");
  }
  return errors.Take();
}

FieldErrors ValidateJob(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  const Json& spec = Get(object, "spec");
  if (before == nullptr || spec != Get(*before, "spec")) {
    ValidateJobSpec(spec, &errors);
  }
  if (before == nullptr) return errors.Take();
  ValidateUnchanged(object, *before,
                    {"selector", "completionMode", "podFailurePolicy",
                     "backoffLimitPerIndex", "managedBy", "successPolicy"},
                    &errors);
  bool indexed = Text(spec, "completionMode") == "Indexed";
  const Json& completions = Get(spec, "completions");
  // An Indexed Job may be resized, both numbers together.
  if (completions != Get(*before, {"spec", "completions"}) &&
      (!indexed || completions != Get(spec, "parallelism"))) {
    errors.Invalid("spec.completions", completions, "field is immutable");
  }
  const Json& old = *before;
  bool held = IsTrue(Get(old, {"spec", "suspend"})) &&
              Get(old, {"status", "startTime"}).is_null();
  if (!held) ValidateUnchanged(object, old, {"template"}, &errors);
  return errors.Take();
}

FieldErrors ValidatePodDisruptionBudget(const Json& object,
                                        const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  const Json& spec = Get(object, "spec");
  const Json& available = Get(spec, "minAvailable");
  const Json& unavailable = Get(spec, "maxUnavailable");
  if (!available.is_null() && !unavailable.is_null()) {
    errors.Invalid("spec", spec,
                   "minAvailable and maxUnavailable cannot be both set");
  }
  for (const char* field : {"minAvailable", "maxUnavailable"}) {
    const Json& value = Get(spec, field);
    if (value.is_null()) continue;
    std::string path = Child("spec", field);
    if (ValidateCount(value, path, &errors) && value.is_string() &&
        ParsePercent(Text(value)).value_or(0) > 100) {
      errors.Invalid(path, value, "must not be greater than 100%");
    }
  }
  ValidateLabelSelector(Get(spec, "selector"), "spec.selector", &errors);
  const Json& policy = Get(spec, "unhealthyPodEvictionPolicy");
  if (!policy.is_null()) {
    errors.OneOf("spec.unhealthyPodEvictionPolicy", policy,
                 {"AlwaysAllow", "IfHealthyBudget"});
  }
  return errors.Take();
}

FieldErrors ValidatePriorityClass(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  std::string_view name = Text(object, {"metadata", "name"});
  int64_t value = Int(object, "value");
  bool known =
      (name == "system-node-critical" && value == 2000001000) ||
      (name == "system-cluster-critical" && value == 2000000000);
  if (name.starts_with("system-")) {
    if (!known) {
      errors.Forbidden("metadata.name",
                       "priority class names with 'system-' prefix are "
                       "reserved for system use only. error: not a known "
                       "system priority class");
    }
  } else if (value > kMaxUserPriority) {
    errors.Forbidden("value",
                     StrCat("maximum allowed value of a user defined priority "
                            "is ",
                            kMaxUserPriority));
  }
  errors.OneOf("preemptionPolicy", Get(object, "preemptionPolicy"),
               {"Never", "PreemptLowerPriority"});
  if (before == nullptr) return errors.Take();
  for (const char* field : {"value", "preemptionPolicy"}) {
    if (Get(object, field) != Get(*before, field)) {
      errors.Invalid(field, Get(object, field), "field is immutable");
    }
  }
  return errors.Take();
}

FieldErrors ValidateEndpoints(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  const Json& subsets = List(object, "subsets");
  for (size_t i = 0; i < subsets.size(); ++i) {
    std::string field = At("subsets", i);
    if (List(subsets[i], "addresses").empty() &&
        List(subsets[i], "notReadyAddresses").empty()) {
      errors.Required(field, "must specify `addresses` or "
                             "`notReadyAddresses`");
    }
    for (const char* list : {"addresses", "notReadyAddresses"}) {
      ValidateAddresses(List(subsets[i], list), Child(field, list), &errors);
    }
    const Json& ports = List(subsets[i], "ports");
    for (size_t p = 0; p < ports.size(); ++p) {
      std::string at = At(Child(field, "ports"), p);
      if (Text(ports[p], "name").empty()) {
        if (ports.size() > 1) errors.Required(Child(at, "name"));
      } else {
        errors.InvalidEach(Child(at, "name"), Text(ports[p], "name"),
                           CheckDnsLabel(Text(ports[p], "name")));
      }
      Messages wrong = CheckPortNumber(Int(ports[p], "port"));
      for (const std::string& message : wrong) {
        errors.Invalid(Child(at, "port"), Get(ports[p], "port"), message);
      }
      errors.OneOf(Child(at, "protocol"), Get(ports[p], "protocol"),
                   {"SCTP", "TCP", "UDP"});
    }
  }
  return errors.Take();
}

FieldErrors ValidateIpAddress(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kAny, &errors);
  std::string_view name = Text(object, {"metadata", "name"});
  errors.InvalidEach("metadata.name", name, CheckIp(name));
  const Json& parent = Get(object, {"spec", "parentRef"});
  if (!parent.is_object()) {
    errors.Required("spec.parentRef");
    return errors.Take();
  }
  for (const char* field : {"resource", "name"}) {
    if (Text(parent, field).empty()) {
      errors.Required(Child("spec.parentRef", field));
    }
  }
  if (before != nullptr && parent != Get(*before, {"spec", "parentRef"})) {
    errors.Invalid("spec.parentRef", parent, "field is immutable");
  }
  return errors.Take();
}

FieldErrors ValidateServiceCidr(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  const Json& cidrs = List(object, {"spec", "cidrs"});
  if (cidrs.empty()) {
    errors.Required("spec.cidrs", "at least one CIDR required");
  } else if (cidrs.size() > 2) {
    errors.Invalid("spec.cidrs", cidrs,
                   "may only hold up to 2 values");
  }
  for (size_t i = 0; i < cidrs.size(); ++i) {
    errors.InvalidEach(At("spec.cidrs", i), Text(cidrs[i]),
                       CheckCidr(Text(cidrs[i])));
  }
  if (before != nullptr && cidrs != List(*before, {"spec", "cidrs"})) {
    errors.Invalid("spec.cidrs", cidrs, "field is immutable");
  }
  return errors.Take();
}

std::vector<std::string> EndpointsWarnings(const Json&, const Json*) {
  return {"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 "
          "EndpointSlice"};
}

}  // namespace fairlead::api
