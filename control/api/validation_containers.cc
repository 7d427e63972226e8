// SPDX-License-Identifier: Apache-2.0
// Containers: names, ports, environment, mounts, probes, resources.
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "control/api/json_access.h"
#include "control/api/quantity.h"
#include "control/api/validation.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

using Names = absl::flat_hash_set<std::string>;

void ValidatePortReference(const Json& port, const std::string& field,
                           FieldErrorList* errors) {
  if (port.is_string()) {
    errors->InvalidEach(field, Text(port), CheckPortName(Text(port)));
    return;
  }
  for (const std::string& message : CheckPortNumber(Int(port))) {
    errors->Invalid(field, Int(port), message);
  }
}

void ValidateHttpGet(const Json& get, const std::string& field,
                     FieldErrorList* errors) {
  if (Text(get, "path").empty()) errors->Required(Child(field, "path"));
  ValidatePortReference(Get(get, "port"), Child(field, "port"), errors);
  errors->OneOf(Child(field, "scheme"), Get(get, "scheme"), {"HTTP", "HTTPS"});
}

// What a probe or a lifecycle hook does: exactly one of the known actions.
void ValidateHandler(const Json& handler, const std::string& field,
                     FieldErrorList* errors) {
  int found = 0;
  for (const char* action : {"exec", "httpGet", "tcpSocket", "grpc", "sleep"}) {
    const Json& value = Get(handler, action);
    if (!value.is_object()) continue;
    std::string at = Child(field, action);
    if (found++ > 0) {
      errors->Forbidden(at, "may not specify more than 1 handler type");
      continue;
    }
    std::string_view name = action;
    if (name == "exec" && List(value, "command").empty()) {
      errors->Required(Child(at, "command"));
    } else if (name == "httpGet") {
      ValidateHttpGet(value, at, errors);
    } else if (name == "tcpSocket" || name == "grpc") {
      ValidatePortReference(Get(value, "port"), Child(at, "port"), errors);
    }
  }
  if (found == 0) errors->Required(field, "must specify a handler type");
}

void ValidateProbe(const Json& container, const char* name,
                   const std::string& container_field,
                   FieldErrorList* errors) {
  const Json& probe = Get(container, name);
  if (!probe.is_object()) return;
  std::string field = Child(container_field, name);
  ValidateHandler(probe, field, errors);
  for (const char* number :
       {"initialDelaySeconds", "timeoutSeconds", "periodSeconds",
        "successThreshold", "failureThreshold"}) {
    errors->NotNegative(Child(field, number), Get(probe, number));
  }
  const Json& grace = Get(probe, "terminationGracePeriodSeconds");
  if (std::string_view(name) == "readinessProbe") {
    if (grace.is_number()) {
      errors->Invalid(Child(field, "terminationGracePeriodSeconds"), grace,
                      "must not be set for readinessProbes");
    }
    return;
  }
  if (grace.is_number() && Int(grace) <= 0) {
    errors->Invalid(Child(field, "terminationGracePeriodSeconds"), grace,
                    "must be greater than 0");
  }
  if (Int(probe, "successThreshold", 1) != 1) {
    errors->Invalid(Child(field, "successThreshold"),
                    Get(probe, "successThreshold"), "must be 1");
  }
}

void ValidateContainerPorts(const Json& ports, const std::string& field,
                            FieldErrorList* errors) {
  Names names;
  for (size_t i = 0; i < ports.size(); ++i) {
    const Json& port = ports[i];
    std::string at = At(field, i);
    std::string_view name = Text(port, "name");
    if (!name.empty()) {
      Messages messages = CheckPortName(name);
      errors->InvalidEach(Child(at, "name"), name, messages);
      if (messages.empty() && !names.emplace(name).second) {
        errors->Duplicate(Child(at, "name"), name);
      }
    }
    if (Int(port, "containerPort") == 0) {
      errors->Required(Child(at, "containerPort"));
    } else {
      for (auto& message : CheckPortNumber(Int(port, "containerPort"))) {
        errors->Invalid(Child(at, "containerPort"), Get(port, "containerPort"),
                        message);
      }
    }
    if (Int(port, "hostPort") != 0) {
      for (auto& message : CheckPortNumber(Int(port, "hostPort"))) {
        errors->Invalid(Child(at, "hostPort"), Get(port, "hostPort"), message);
      }
    }
    errors->OneOf(Child(at, "protocol"), Get(port, "protocol"),
                  {"SCTP", "TCP", "UDP"});
  }
}

void ValidateValueFrom(const Json& source, const std::string& field,
                       bool has_value, FieldErrorList* errors) {
  int found = 0;
  for (const char* kind : {"fieldRef", "resourceFieldRef", "configMapKeyRef",
                           "secretKeyRef", "fileKeyRef"}) {
    const Json& ref = Get(source, kind);
    if (!ref.is_object()) continue;
    ++found;
    std::string at = Child(field, kind);
    std::string_view name = kind;
    if (name == "fieldRef" && Text(ref, "fieldPath").empty()) {
      errors->Required(Child(at, "fieldPath"));
    } else if (name == "resourceFieldRef" && Text(ref, "resource").empty()) {
      errors->Required(Child(at, "resource"));
    } else if (name == "configMapKeyRef" || name == "secretKeyRef") {
      if (Text(ref, "key").empty()) {
        errors->Required(Child(at, "key"));
      } else {
        errors->InvalidEach(Child(at, "key"), Text(ref, "key"),
                            CheckConfigKey(Text(ref, "key")));
      }
    }
  }
  if (found == 0) {
    errors->Invalid(field, "",
                    "must specify one of: `fieldRef`, `resourceFieldRef`, "
                    "`configMapKeyRef`, `secretKeyRef` or `fileKeyRef`");
  } else if (has_value) {
    errors->Invalid(field, "",
                    "may not be specified when `value` is not empty");
  } else if (found > 1) {
    errors->Invalid(field, "",
                    "may not have more than one field specified at a time");
  }
}

void ValidateEnv(const Json& container, const std::string& container_field,
                 FieldErrorList* errors) {
  const Json& env = List(container, "env");
  for (size_t i = 0; i < env.size(); ++i) {
    std::string at = At(Child(container_field, "env"), i);
    if (Text(env[i], "name").empty()) {
      errors->Required(Child(at, "name"));
    } else {
      errors->InvalidEach(Child(at, "name"), Text(env[i], "name"),
                          CheckEnvName(Text(env[i], "name")));
    }
    if (Get(env[i], "valueFrom").is_object()) {
      ValidateValueFrom(Get(env[i], "valueFrom"), Child(at, "valueFrom"),
                        !Text(env[i], "value").empty(), errors);
    }
  }
  const Json& from = List(container, "envFrom");
  for (size_t i = 0; i < from.size(); ++i) {
    std::string at = At(Child(container_field, "envFrom"), i);
    bool map = Get(from[i], "configMapRef").is_object();
    bool secret = Get(from[i], "secretRef").is_object();
    if (map == secret) {
      errors->Invalid(
          at, "",
          map ? "may not have more than one field specified at a time"
              : "must specify one of: `configMapRef` or `secretRef`");
      continue;
    }
    const char* kind = map ? "configMapRef" : "secretRef";
    if (Text(from[i], {kind, "name"}).empty()) {
      errors->Required(Child(Child(at, kind), "name"));
    }
  }
}

void ValidateMounts(const Json& mounts, const Names& volumes,
                    const std::string& field, FieldErrorList* errors) {
  Names paths;
  for (size_t i = 0; i < mounts.size(); ++i) {
    std::string at = At(field, i);
    std::string_view name = Text(mounts[i], "name");
    std::string_view path = Text(mounts[i], "mountPath");
    if (name.empty()) errors->Required(Child(at, "name"));
    if (!volumes.contains(Absl(name))) {
      errors->NotFound(Child(at, "name"), name);
    }
    if (path.empty()) {
      errors->Required(Child(at, "mountPath"));
    } else if (!paths.emplace(path).second) {
      errors->Invalid(Child(at, "mountPath"), path, "must be unique");
    }
    std::string_view sub = Text(mounts[i], "subPath");
    if (sub.starts_with("/")) {
      errors->Invalid(Child(at, "subPath"), sub, "must be a relative path");
    } else if (sub.find("..") != std::string_view::npos) {
      errors->Invalid(Child(at, "subPath"), sub, "must not contain '..'");
    }
  }
}

bool IsStandardResource(std::string_view name) {
  return name == "cpu" || name == "memory" || name == "ephemeral-storage" ||
         name.starts_with("hugepages-");
}

void ValidateAmounts(const Json& amounts, const std::string& field,
                     FieldErrorList* errors) {
  for (const auto& [name, amount] : Map(amounts).items()) {
    std::string at = Keyed(field, name);
    errors->InvalidEach(at, name, CheckQualifiedName(name));
    if (!IsStandardResource(name) && name.find('/') == std::string::npos) {
      errors->Invalid(at, name,
                      "must be a standard resource type or fully qualified");
      errors->Invalid(at, name, "must be a standard resource for containers");
    }
    auto quantity = Quantity::FromJson(amount);
    if (!quantity.ok()) {
      errors->Invalid(at, amount, Std(quantity.status().message()));
    } else if (quantity->sign() < 0) {
      errors->Invalid(at, quantity->ToString(),
                      "must be greater than or equal to 0");
    } else if (!IsStandardResource(name) && !quantity->is_whole()) {
      errors->Invalid(at, quantity->ToString(), "must be an integer");
    }
  }
}

void ValidateResources(const Json& resources, const std::string& field,
                       FieldErrorList* errors) {
  ValidateAmounts(Get(resources, "limits"), Child(field, "limits"), errors);
  ValidateAmounts(Get(resources, "requests"), Child(field, "requests"), errors);
  for (const auto& [name, amount] : Map(resources, "requests").items()) {
    auto request = Quantity::FromJson(amount);
    auto limit = Quantity::FromJson(Get(resources, {"limits", name}));
    if (!request.ok() || !limit.ok()) continue;
    bool overcommits = IsStandardResource(name) && !name.starts_with("huge");
    if (overcommits ? *request > *limit : *request != *limit) {
      errors->Invalid(
          Child(field, "requests"), request->ToString(),
          StrCat("must be ",
                 overcommits ? "less than or equal to " : "equal to ", name,
                 " limit of ", limit->ToString()));
    }
  }
}

void ValidateSecurityContext(const Json& context, const std::string& field,
                             FieldErrorList* errors) {
  for (const char* id : {"runAsUser", "runAsGroup"}) {
    const Json& value = Get(context, id);
    if (value.is_number() && (Int(value) < 0 || Int(value) > INT32_MAX)) {
      errors->Invalid(Child(field, id), value,
                      "must be between 0 and 2147483647, inclusive");
    }
  }
  if (IsTrue(context, "privileged") &&
      Get(context, "allowPrivilegeEscalation") == Json(false)) {
    errors->Invalid(field, context,
                    "cannot set `allowPrivilegeEscalation` to false and "
                    "`privileged` to true");
  }
}

void ValidateContainer(const Json& container, const std::string& field,
                       const Names& volumes, FieldErrorList* errors) {
  std::string_view name = Text(container, "name");
  std::string_view image = Text(container, "image");
  if (name.empty()) {
    errors->Required(Child(field, "name"));
  } else {
    errors->InvalidEach(Child(field, "name"), name, CheckDnsLabel(name));
  }
  if (image.empty()) {
    errors->Required(Child(field, "image"));
  } else if (absl::ascii_isspace(static_cast<uint8_t>(image.front())) ||
             absl::ascii_isspace(static_cast<uint8_t>(image.back()))) {
    errors->Invalid(Child(field, "image"), image,
                    "must not have leading or trailing whitespace");
  }
  errors->OneOf(Child(field, "terminationMessagePolicy"),
                Get(container, "terminationMessagePolicy"),
                {"FallbackToLogsOnError", "File"});
  ValidateContainerPorts(List(container, "ports"), Child(field, "ports"),
                         errors);
  ValidateEnv(container, field, errors);
  ValidateMounts(List(container, "volumeMounts"), volumes,
                 Child(field, "volumeMounts"), errors);
  errors->OneOf(Child(field, "imagePullPolicy"),
                Get(container, "imagePullPolicy"),
                {"Always", "IfNotPresent", "Never"});
  ValidateResources(Get(container, "resources"), Child(field, "resources"),
                    errors);
  ValidateSecurityContext(Get(container, "securityContext"),
                          Child(field, "securityContext"), errors);
  for (const char* hook : {"postStart", "preStop"}) {
    const Json& handler = Get(container, {"lifecycle", hook});
    if (handler.is_object()) {
      ValidateHandler(handler, Child(Child(field, "lifecycle"), hook), errors);
    }
  }
}

// Host ports of one pod's containers must differ, as they share the host.
void ValidateHostPorts(const Json& containers, const std::string& field,
                       FieldErrorList* errors) {
  Names seen;
  for (size_t i = 0; i < containers.size(); ++i) {
    const Json& ports = List(containers[i], "ports");
    for (size_t j = 0; j < ports.size(); ++j) {
      if (Int(ports[j], "hostPort") == 0) continue;
      std::string key =
          StrCat(Text(ports[j], "protocol"), "/", Text(ports[j], "hostIP"), "/",
                 Int(ports[j], "hostPort"));
      if (!seen.insert(key).second) {
        errors->Duplicate(
            Child(At(Child(At(field, i), "ports"), j), "hostPort"), key);
      }
    }
  }
}

}  // namespace

void ValidateContainers(const Json& spec, const std::string& field,
                        FieldErrorList* errors) {
  Names volumes;
  for (const Json& volume : List(spec, "volumes")) {
    volumes.emplace(Text(volume, "name"));
  }
  Names names;
  auto unique = [&](const Json& container, const std::string& at) {
    std::string_view name = Text(container, "name");
    if (!name.empty() && !names.emplace(name).second) {
      errors->Duplicate(Child(at, "name"), name);
    }
  };
  const Json& containers = List(spec, "containers");
  std::string list = Child(field, "containers");
  if (containers.empty()) errors->Required(list);
  for (size_t i = 0; i < containers.size(); ++i) {
    std::string at = At(list, i);
    ValidateContainer(containers[i], at, volumes, errors);
    unique(containers[i], at);
    for (const char* probe :
         {"livenessProbe", "readinessProbe", "startupProbe"}) {
      ValidateProbe(containers[i], probe, at, errors);
    }
  }
  ValidateHostPorts(containers, list, errors);

  const Json& init = List(spec, "initContainers");
  for (size_t i = 0; i < init.size(); ++i) {
    std::string at = At(Child(field, "initContainers"), i);
    ValidateContainer(init[i], at, volumes, errors);
    unique(init[i], at);
    std::string_view policy = Text(init[i], "restartPolicy");
    bool sidecar = policy == "Always";
    if (!policy.empty() && !sidecar) {
      errors->NotSupported(Child(at, "restartPolicy"), policy, {"Always"});
    }
    for (const char* probe :
         {"livenessProbe", "readinessProbe", "startupProbe"}) {
      if (sidecar) {
        ValidateProbe(init[i], probe, at, errors);
      } else if (Get(init[i], probe).is_object()) {
        errors->Forbidden(Child(at, probe),
                          "may not be set for init containers without "
                          "restartPolicy=Always");
      }
    }
  }
}

}  // namespace fairlead::api
