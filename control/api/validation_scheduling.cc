// SPDX-License-Identifier: Apache-2.0
// The parts of a pod's spec that say where it may run.
#include <set>

#include "control/api/json_access.h"
#include "control/api/validation.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

void ValidateToleration(const Json& toleration, const std::string& field,
                        FieldErrorList* errors) {
  std::string_view key = Text(toleration, "key");
  std::string_view op = Text(toleration, "operator");
  std::string_view effect = Text(toleration, "effect");
  std::string_view value = Text(toleration, "value");
  if (!key.empty()) {
    errors->InvalidEach(Child(field, "key"), key, CheckQualifiedName(key));
  } else if (op != "Exists") {
    errors->Invalid(Child(field, "operator"), op,
                    "operator must be Exists when `key` is empty, which means "
                    "\"match all values and all keys\"");
  }
  if (Get(toleration, "tolerationSeconds").is_number() &&
      effect != "NoExecute") {
    errors->Invalid(
        Child(field, "effect"), effect,
        "effect must be 'NoExecute' when `tolerationSeconds` is set");
  }
  if (op.empty() || op == "Equal") {
    errors->InvalidEach(Child(field, "operator"), value,
                        CheckLabelValue(value));
  } else if (op == "Exists") {
    if (!value.empty()) {
      errors->Invalid(Child(field, "operator"), toleration,
                      "value must be empty when `operator` is 'Exists'");
    }
  } else {
    errors->NotSupported(Child(field, "operator"), op, {"Equal", "Exists"});
  }
  if (!effect.empty()) {
    errors->OneOf(Child(field, "effect"), effect,
                  {"NoSchedule", "PreferNoSchedule", "NoExecute"});
  }
}

void ValidateSpread(const Json& constraints, const std::string& field,
                    FieldErrorList* errors) {
  std::set<std::string> seen;
  for (size_t i = 0; i < constraints.size(); ++i) {
    const Json& each = constraints[i];
    std::string at = At(field, i);
    if (Int(each, "maxSkew") <= 0) {
      errors->Invalid(Child(at, "maxSkew"), Int(each, "maxSkew"),
                      "must be greater than zero");
    }
    if (Text(each, "topologyKey").empty()) {
      errors->Required(Child(at, "topologyKey"), "can not be empty");
    }
    errors->OneOf(Child(at, "whenUnsatisfiable"),
                  Get(each, "whenUnsatisfiable"),
                  {"DoNotSchedule", "ScheduleAnyway"});
    std::string key = StrCat("{", Text(each, "topologyKey"), ", ",
                             Text(each, "whenUnsatisfiable"), "}");
    if (!seen.insert(key).second) {
      errors->Duplicate(Child(at, "{topologyKey, whenUnsatisfiable}"), key);
    }
    const Json& domains = Get(each, "minDomains");
    if (domains.is_number()) {
      if (Int(domains) <= 0) {
        errors->Invalid(Child(at, "minDomains"), domains,
                        "must be greater than 0");
      }
      if (Text(each, "whenUnsatisfiable") != "DoNotSchedule") {
        errors->Invalid(Child(at, "minDomains"), domains,
                        StrCat("can only use minDomains if whenUnsatisfiable="
                               "DoNotSchedule, not ",
                               Text(each, "whenUnsatisfiable")));
      }
    }
    if (Get(each, "labelSelector").is_object()) {
      ValidateLabelSelector(Get(each, "labelSelector"),
                            Child(at, "labelSelector"), errors);
    }
  }
}

void ValidateNodeSelectorTerm(const Json& term, const std::string& field,
                              FieldErrorList* errors) {
  const Json& expressions = List(term, "matchExpressions");
  for (size_t i = 0; i < expressions.size(); ++i) {
    std::string at = At(Child(field, "matchExpressions"), i);
    std::string_view op = Text(expressions[i], "operator");
    size_t values = List(expressions[i], "values").size();
    if (op == "In" || op == "NotIn") {
      if (values == 0) {
        errors->Required(
            Child(at, "values"),
            "must be specified when `operator` is 'In' or 'NotIn'");
      }
    } else if (op == "Exists" || op == "DoesNotExist") {
      if (values > 0) {
        errors->Forbidden(
            Child(at, "values"),
            "may not be specified when `operator` is 'Exists' or "
            "'DoesNotExist'");
      }
    } else if (op == "Gt" || op == "Lt") {
      if (values != 1) {
        errors->Required(Child(at, "values"),
                         "must be specified single value when `operator` is "
                         "'Lt' or 'Gt'");
      }
    } else {
      errors->Invalid(Child(at, "operator"), op,
                      "not a valid selector operator");
    }
    errors->InvalidEach(Child(at, "key"), Text(expressions[i], "key"),
                        CheckQualifiedName(Text(expressions[i], "key")));
  }
}

void ValidateWeight(const Json& preferred, const std::string& at,
                    FieldErrorList* errors) {
  int64_t weight = Int(preferred, "weight");
  if (weight < 1 || weight > 100) {
    errors->Invalid(Child(at, "weight"), weight, "must be in the range 1-100");
  }
}

void ValidateNodeAffinity(const Json& affinity, const std::string& field,
                          FieldErrorList* errors) {
  constexpr const char* kRequired =
      "requiredDuringSchedulingIgnoredDuringExecution";
  constexpr const char* kPreferred =
      "preferredDuringSchedulingIgnoredDuringExecution";
  if (const Json& required = Get(affinity, kRequired); required.is_object()) {
    std::string list = Child(Child(field, kRequired), "nodeSelectorTerms");
    const Json& terms = List(required, "nodeSelectorTerms");
    if (terms.empty()) {
      errors->Required(list, "must have at least one node selector term");
    }
    for (size_t i = 0; i < terms.size(); ++i) {
      ValidateNodeSelectorTerm(terms[i], At(list, i), errors);
    }
  }
  const Json& preferred = List(affinity, kPreferred);
  for (size_t i = 0; i < preferred.size(); ++i) {
    std::string at = At(Child(field, kPreferred), i);
    ValidateWeight(preferred[i], at, errors);
    ValidateNodeSelectorTerm(Get(preferred[i], "preference"),
                             Child(at, "preference"), errors);
  }
}

void ValidatePodAffinityTerm(const Json& term, const std::string& at,
                             FieldErrorList* errors) {
  if (Get(term, "labelSelector").is_object()) {
    ValidateLabelSelector(Get(term, "labelSelector"),
                          Child(at, "labelSelector"), errors);
  }
  if (Text(term, "topologyKey").empty()) {
    errors->Required(Child(at, "topologyKey"), "can not be empty");
  } else {
    errors->InvalidEach(Child(at, "topologyKey"), Text(term, "topologyKey"),
                        CheckQualifiedName(Text(term, "topologyKey")));
  }
}

void ValidatePodAffinity(const Json& affinity, const std::string& field,
                         FieldErrorList* errors) {
  for (std::string_view list :
       {"requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution"}) {
    const Json& terms = List(affinity, list);
    for (size_t i = 0; i < terms.size(); ++i) {
      std::string at = At(Child(field, list), i);
      if (list[0] == 'r') {
        ValidatePodAffinityTerm(terms[i], at, errors);
        continue;
      }
      ValidateWeight(terms[i], at, errors);
      ValidatePodAffinityTerm(Get(terms[i], "podAffinityTerm"),
                              Child(at, "podAffinityTerm"), errors);
    }
  }
}

}  // namespace

void ValidateScheduling(const Json& spec, const std::string& field,
                        FieldErrorList* errors) {
  ValidateLabels(Get(spec, "nodeSelector"), Child(field, "nodeSelector"),
                 errors);
  const Json& affinity = Get(spec, "affinity");
  std::string at = Child(field, "affinity");
  ValidateNodeAffinity(Get(affinity, "nodeAffinity"),
                       Child(at, "nodeAffinity"), errors);
  ValidatePodAffinity(Get(affinity, "podAffinity"), Child(at, "podAffinity"),
                      errors);
  ValidatePodAffinity(Get(affinity, "podAntiAffinity"),
                      Child(at, "podAntiAffinity"), errors);
  const Json& tolerations = List(spec, "tolerations");
  for (size_t i = 0; i < tolerations.size(); ++i) {
    ValidateToleration(tolerations[i], At(Child(field, "tolerations"), i),
                       errors);
  }
  ValidateSpread(List(spec, "topologySpreadConstraints"),
                 Child(field, "topologySpreadConstraints"), errors);
}

}  // namespace fairlead::api
