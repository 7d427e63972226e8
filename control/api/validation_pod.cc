// SPDX-License-Identifier: Apache-2.0
// Pods and pod templates as a whole, and what an update may change.
#include <algorithm>
#include <set>

#include "control/api/json_access.h"
#include "control/api/validation.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

void ValidateVolumes(const Json& volumes, const std::string& field,
                     FieldErrorList* errors) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < volumes.size(); ++i) {
    std::string at = At(field, i);
    std::string_view name = Text(volumes[i], "name");
    if (name.empty()) {
      errors->Required(Child(at, "name"));
    } else {
      errors->InvalidEach(Child(at, "name"), name, CheckDnsLabel(name));
      if (!names.insert(name).second) {
        errors->Duplicate(Child(at, "name"), name);
      }
    }
    int sources = 0;
    for (const auto& [source, value] : Map(volumes[i]).items()) {
      if (source == "name" || !value.is_object()) continue;
      if (sources++ > 0) {
        errors->Forbidden(Child(at, source),
                          "may not specify more than 1 volume type");
      }
    }
    if (sources == 0) errors->Required(at, "must specify a volume type");
    auto must = [&](const char* source, const char* key) {
      const Json& value = Get(volumes[i], source);
      if (value.is_object() && Text(value, key).empty()) {
        errors->Required(Child(Child(at, source), key));
      }
    };
    must("hostPath", "path");
    must("configMap", "name");
    must("secret", "secretName");
    must("persistentVolumeClaim", "claimName");
    must("nfs", "server");
    must("nfs", "path");
    must("csi", "driver");
  }
}

void ValidateHostNames(const Json& spec, const std::string& field,
                       FieldErrorList* errors) {
  auto check = [&](const char* key, Messages (*format)(std::string_view)) {
    std::string_view value = Text(spec, key);
    if (!value.empty()) {
      errors->InvalidEach(Child(field, key), value, format(value));
    }
  };
  check("hostname", CheckDnsLabel);
  check("subdomain", CheckDnsLabel);
  check("nodeName", CheckDnsSubdomain);
  check("serviceAccountName", CheckDnsSubdomain);
  check("priorityClassName", CheckDnsSubdomain);
  check("runtimeClassName", CheckDnsSubdomain);
  const Json& aliases = List(spec, "hostAliases");
  for (size_t i = 0; i < aliases.size(); ++i) {
    std::string at = At(Child(field, "hostAliases"), i);
    errors->InvalidEach(Child(at, "ip"), Text(aliases[i], "ip"),
                        CheckIp(Text(aliases[i], "ip")));
    const Json& names = List(aliases[i], "hostnames");
    for (size_t j = 0; j < names.size(); ++j) {
      errors->InvalidEach(At(Child(at, "hostnames"), j), Text(names[j]),
                          CheckDnsSubdomain(Text(names[j])));
    }
  }
  const Json& secrets = List(spec, "imagePullSecrets");
  for (size_t i = 0; i < secrets.size(); ++i) {
    if (Text(secrets[i], "name").empty()) {
      errors->Required(
          Child(At(Child(field, "imagePullSecrets"), i), "name"));
    }
  }
}

// `spec` with what may change set to what it was, for a comparison.
Json WithoutMutableFields(Json spec, const Json& old) {
  if (!spec.is_object()) return spec;
  for (const char* list : {"containers", "initContainers"}) {
    auto it = spec.find(list);
    if (it == spec.end() || !it->is_array()) continue;
    const Json& old_list = List(old, list);
    for (size_t i = 0; i < it->size() && i < old_list.size(); ++i) {
      if ((*it)[i].is_object()) (*it)[i]["image"] = Get(old_list[i], "image");
    }
  }
  for (const char* field : {"activeDeadlineSeconds", "tolerations",
                            "schedulingGates", "ephemeralContainers"}) {
    spec.erase(field);
    if (!Get(old, field).is_null()) spec[field] = Get(old, field);
  }
  // Binding sets it once.
  if (Text(old, "nodeName").empty()) spec.erase("nodeName");
  // Pods that must not be forced down at once may be, later.
  if (Int(old, "terminationGracePeriodSeconds") < 0 &&
      Int(spec, "terminationGracePeriodSeconds") == 1) {
    spec["terminationGracePeriodSeconds"] =
        Get(old, "terminationGracePeriodSeconds");
  }
  return spec;
}

void ValidatePodUpdate(const Json& object, const Json& before,
                       FieldErrorList* errors) {
  const Json& spec = Get(object, "spec");
  const Json& old = Get(before, "spec");
  if (spec == old) return;
  if (List(spec, "containers").size() != List(old, "containers").size()) {
    errors->Forbidden("spec.containers",
                      "pod updates may not add or remove containers");
    return;
  }
  const Json& tolerations = List(spec, "tolerations");
  for (const Json& each : List(old, "tolerations")) {
    if (std::find(tolerations.begin(), tolerations.end(), each) ==
        tolerations.end()) {
      errors->Forbidden("spec.tolerations",
                        "existing toleration can not be modified except its "
                        "tolerationSeconds");
    }
  }
  const Json& old_gates = List(old, "schedulingGates");
  for (const Json& gate : List(spec, "schedulingGates")) {
    if (std::find(old_gates.begin(), old_gates.end(), gate) ==
        old_gates.end()) {
      errors->Forbidden("spec.schedulingGates",
                        "only deletion is allowed, but found new scheduling "
                        "gate '" +
                            std::string(Text(gate, "name")) + "'");
    }
  }
  if (WithoutMutableFields(spec, old) != WithoutMutableFields(old, old)) {
    errors->Forbidden(
        "spec",
        "pod updates may not change fields other than "
        "`spec.containers[*].image`,`spec.initContainers[*].image`,"
        "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
        "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it "
        "to be set to 1 if it was previously negative)");
  }
}

void WarnAboutContainers(const Json& containers, const std::string& field,
                         std::vector<std::string>* warnings) {
  for (size_t i = 0; i < containers.size(); ++i) {
    const Json& env = List(containers[i], "env");
    std::set<std::string_view> names;
    for (size_t j = 0; j < env.size(); ++j) {
      std::string_view name = Text(env[j], "name");
      if (name.empty() || names.insert(name).second) continue;
      warnings->push_back(StrCat(At(Child(At(field, i), "env"), j),
                                 ": hides previous definition of \"", name,
                                 "\", which may be dropped when using apply"));
    }
    const Json& ports = List(containers[i], "ports");
    for (size_t j = 0; j < ports.size(); ++j) {
      for (size_t k = 0; k < j; ++k) {
        bool same = true;
        for (const char* key : {"containerPort", "protocol", "hostPort",
                                "hostIP"}) {
          same &= Get(ports[j], key) == Get(ports[k], key);
        }
        if (!same) continue;
        std::string list = Child(At(field, i), "ports");
        warnings->push_back(StrCat(At(list, j),
                                   ": duplicate port definition with ",
                                   At(list, k)));
        break;
      }
    }
  }
}

// What is kept but nobody here acts on.
void WarnAboutPlacement(const Json& spec, const std::string& field,
                        std::vector<std::string>* warnings) {
  constexpr std::string_view kUnheeded =
      ": this scheduler does not act on it; it spreads the pods of one owner "
      "over the nodes";
  for (const char* affinity : {"podAffinity", "podAntiAffinity"}) {
    if (Map(Get(spec, {"affinity", affinity})).empty()) continue;
    warnings->push_back(
        StrCat(Child(Child(field, "affinity"), affinity), kUnheeded));
  }
  if (!List(spec, "topologySpreadConstraints").empty()) {
    warnings->push_back(
        StrCat(Child(field, "topologySpreadConstraints"), kUnheeded));
  }
}

}  // namespace

void ValidatePodSpec(const Json& spec, const std::string& field,
                     FieldErrorList* errors) {
  ValidateVolumes(List(spec, "volumes"), Child(field, "volumes"), errors);
  ValidateContainers(spec, field, errors);
  errors->OneOf(Child(field, "restartPolicy"), Get(spec, "restartPolicy"),
                {"Always", "OnFailure", "Never"});
  errors->OneOf(Child(field, "dnsPolicy"), Get(spec, "dnsPolicy"),
                {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"});
  errors->NotNegative(Child(field, "terminationGracePeriodSeconds"),
                      Get(spec, "terminationGracePeriodSeconds"));
  const Json& deadline = Get(spec, "activeDeadlineSeconds");
  if (deadline.is_number() &&
      (Int(deadline) < 1 || Int(deadline) > INT32_MAX)) {
    errors->Invalid(Child(field, "activeDeadlineSeconds"), deadline,
                    "must be between 1 and 2147483647, inclusive");
  }
  ValidateHostNames(spec, field, errors);
  ValidateScheduling(spec, field, errors);
}

FieldErrors ValidatePod(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  if (before == nullptr) {
    ValidatePodSpec(Get(object, "spec"), "spec", &errors);
  } else {
    // An unchanged spec was valid when it came in.
    if (Get(object, "spec") != Get(*before, "spec")) {
      ValidatePodSpec(Get(object, "spec"), "spec", &errors);
    }
    ValidatePodUpdate(object, *before, &errors);
  }
  return errors.Take();
}

std::vector<std::string> PodSpecWarnings(const Json& spec,
                                         const std::string& field) {
  static constexpr std::string_view kOldLabels[][2] = {
      {"beta.kubernetes.io/arch", "kubernetes.io/arch"},
      {"beta.kubernetes.io/os", "kubernetes.io/os"},
      {"failure-domain.beta.kubernetes.io/region",
       "topology.kubernetes.io/region"},
      {"failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"},
      {"beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"},
  };
  std::vector<std::string> warnings;
  for (const auto& [old, now] : kOldLabels) {
    if (Get(spec, {"nodeSelector", old}).is_null()) continue;
    warnings.push_back(StrCat(Keyed(Child(field, "nodeSelector"), old),
                              ": deprecated since v1.",
                              old.find("os") != std::string_view::npos ||
                                      old.find("arch") != std::string_view::npos
                                  ? "14"
                                  : "17",
                              "; use \"", now, "\" instead"));
  }
  WarnAboutPlacement(spec, field, &warnings);
  WarnAboutContainers(List(spec, "initContainers"),
                      Child(field, "initContainers"), &warnings);
  WarnAboutContainers(List(spec, "containers"), Child(field, "containers"),
                      &warnings);
  return warnings;
}

std::vector<std::string> PodWarnings(const Json& object, const Json* before) {
  std::vector<std::string> warnings;
  if (before != nullptr && Get(object, "spec") == Get(*before, "spec")) {
    return warnings;
  }
  Messages name = CheckDnsLabel(Text(object, {"metadata", "name"}));
  if (before == nullptr && !name.empty()) {
    warnings.push_back(
        StrCat("metadata.name: this is used in the Pod's hostname, which can "
               "result in surprising behavior; a DNS label is recommended: [",
               name[0], "]"));
  }
  for (auto& more : PodSpecWarnings(Get(object, "spec"), "spec")) {
    warnings.push_back(std::move(more));
  }
  return warnings;
}

}  // namespace fairlead::api
