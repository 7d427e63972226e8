// SPDX-License-Identifier: Apache-2.0
// The smaller kinds.
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "control/api/json_access.h"
#include "control/api/validation.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr size_t kMaxContentBytes = 1 << 20;  // of a ConfigMap or a Secret
constexpr size_t kMaxEndpoints = 1000;
constexpr size_t kMaxAddresses = 100;
constexpr size_t kMaxSlicePorts = 20000;

void ValidateTaints(const Json& taints, FieldErrorList* errors) {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (size_t i = 0; i < taints.size(); ++i) {
    std::string at = At("metadata.taints", i);
    std::string_view key = Text(taints[i], "key");
    std::string_view effect = Text(taints[i], "effect");
    errors->InvalidEach(Child(at, "key"), key, CheckQualifiedName(key));
    errors->InvalidEach(Child(at, "value"), Text(taints[i], "value"),
                        CheckLabelValue(Text(taints[i], "value")));
    errors->OneOf(Child(at, "effect"), Get(taints[i], "effect"),
                  {"NoSchedule", "PreferNoSchedule", "NoExecute"});
    if (!seen.emplace(key, effect).second) errors->Duplicate(at, taints[i]);
  }
}

// Once set, fields that stay for the object's life.
void ValidateImmutableContent(const Json& object, const Json* before,
                              std::initializer_list<const char*> fields,
                              FieldErrorList* errors) {
  if (before == nullptr || !IsTrue(*before, "immutable")) return;
  constexpr std::string_view kMessage =
      "field is immutable when `immutable` is set";
  if (!IsTrue(object, "immutable")) errors->Forbidden("immutable", kMessage);
  for (const char* field : fields) {
    if (Get(object, field) != Get(*before, field)) {
      errors->Forbidden(field, kMessage);
    }
  }
}

// Keys, values in base64 if they must be, and the size of it all.
size_t ValidateContent(const Json& content, const std::string& field,
                       bool base64, FieldErrorList* errors) {
  size_t bytes = 0;
  for (const auto& [key, value] : Map(content).items()) {
    errors->InvalidEach(Keyed(field, key), key, CheckConfigKey(key));
    std::string decoded;
    if (base64 && !absl::Base64Unescape(Absl(Text(value)), &decoded)) {
      errors->Invalid(Keyed(field, key), "<base64>", "illegal base64 data");
    }
    bytes += base64 ? decoded.size() : Text(value).size();
  }
  return bytes;
}

void ValidateSecretType(const Json& secret, FieldErrorList* errors) {
  std::string_view type = Text(secret, "type");
  const Json& content = Get(secret, "data");
  auto need = [&](const char* key) {
    if (!Map(content).contains(key)) errors->Required(Keyed("data", key));
  };
  if (type == "kubernetes.io/tls") {
    need("tls.crt");
    need("tls.key");
  } else if (type == "kubernetes.io/ssh-auth") {
    need("ssh-privatekey");
  } else if (type == "kubernetes.io/dockerconfigjson") {
    need(".dockerconfigjson");
  } else if (type == "kubernetes.io/dockercfg") {
    need(".dockercfg");
  } else if (type == "kubernetes.io/basic-auth") {
    if (!Map(content).contains("username") &&
        !Map(content).contains("password")) {
      errors->Required("data[username]");
      errors->Required("data[password]");
    }
  } else if (type == "kubernetes.io/service-account-token") {
    constexpr const char* kName = "kubernetes.io/service-account.name";
    if (Text(secret, {"metadata", "annotations", kName}).empty()) {
      errors->Required(Keyed("metadata.annotations", kName));
    }
  }
}

void ValidateEndpoint(const Json& endpoint, std::string_view type,
                      const std::string& field, FieldErrorList* errors) {
  const Json& addresses = List(endpoint, "addresses");
  std::string list = Child(field, "addresses");
  if (addresses.empty()) {
    errors->Required(list, "must contain at least 1 address");
  } else if (addresses.size() > kMaxAddresses) {
    errors->TooMany(list, addresses.size(), kMaxAddresses);
  }
  for (size_t i = 0; i < addresses.size(); ++i) {
    std::string_view address = Text(addresses[i]);
    std::string at = At(list, i);
    if (type == "FQDN") {
      errors->InvalidEach(at, address, CheckDnsSubdomain(address));
      continue;
    }
    if (type != "IPv4" && type != "IPv6") continue;
    Messages messages = CheckReachableIp(address);
    errors->InvalidEach(at, address, messages);
    bool v6 = address.find(':') != std::string_view::npos;
    if (messages.empty() && v6 != (type == "IPv6")) {
      errors->Invalid(at, address, v6 ? "must be an IPv4 address"
                                      : "must be an IPv6 address");
    }
  }
  if (Get(endpoint, "hostname").is_string()) {
    errors->InvalidEach(Child(field, "hostname"), Text(endpoint, "hostname"),
                        CheckDnsLabel(Text(endpoint, "hostname")));
  }
  if (Get(endpoint, "nodeName").is_string()) {
    errors->InvalidEach(Child(field, "nodeName"), Text(endpoint, "nodeName"),
                        CheckDnsSubdomain(Text(endpoint, "nodeName")));
  }
}

void ValidateSlicePorts(const Json& ports, FieldErrorList* errors) {
  if (ports.size() > kMaxSlicePorts) {
    errors->TooMany("ports", ports.size(), kMaxSlicePorts);
    return;
  }
  std::set<std::string_view> names;
  for (size_t i = 0; i < ports.size(); ++i) {
    std::string at = At("ports", i);
    std::string_view name = Text(ports[i], "name");
    if (!name.empty()) {
      errors->InvalidEach(Child(at, "name"), name, CheckDnsLabel(name));
    }
    if (!names.insert(name).second) errors->Duplicate(Child(at, "name"), name);
    errors->OneOf(Child(at, "protocol"), Get(ports[i], "protocol"),
                  {"SCTP", "TCP", "UDP"});
    if (std::string_view protocol = Text(ports[i], "appProtocol");
        !protocol.empty()) {
      errors->InvalidEach(Child(at, "appProtocol"), protocol,
                          CheckQualifiedName(protocol));
    }
  }
}

}  // namespace

FieldErrors ValidateNamespace(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kLabel, &errors);
  return errors.Take();
}

FieldErrors ValidateNode(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  const Json& spec = Get(object, "spec");
  ValidateTaints(List(spec, "taints"), &errors);
  const Json& cidrs = List(spec, "podCIDRs");
  for (size_t i = 0; i < cidrs.size(); ++i) {
    errors.InvalidEach(At("spec.podCIDRs", i), Text(cidrs[i]),
                       CheckCidr(Text(cidrs[i])));
  }
  if (cidrs.size() > 2) {
    errors.Invalid("spec.podCIDRs", cidrs,
                   "may specify no more than one CIDR for each IP family");
  }
  if (before == nullptr) return errors.Take();
  const Json& old = Get(*before, "spec");
  if (!List(old, "podCIDRs").empty() && cidrs != List(old, "podCIDRs")) {
    errors.Forbidden("spec.podCIDRs",
                     "node updates may not change podCIDR except from \"\" to "
                     "valid");
  }
  if (!Text(old, "providerID").empty() &&
      Text(spec, "providerID") != Text(old, "providerID")) {
    errors.Forbidden("spec.providerID",
                     "node updates may not change providerID except from \"\" "
                     "to valid");
  }
  return errors.Take();
}

FieldErrors ValidateConfigMap(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  size_t bytes = ValidateContent(Get(object, "data"), "data", false, &errors) +
                 ValidateContent(Get(object, "binaryData"), "binaryData", true,
                                 &errors);
  for (const auto& [key, value] : Map(object, "binaryData").items()) {
    if (Map(object, "data").contains(key)) {
      errors.Invalid(Keyed("data", key), key,
                     "duplicate of key present in binaryData");
    }
  }
  // "[]" is how Go prints a path without parts.
  if (bytes > kMaxContentBytes) errors.TooLong("[]", kMaxContentBytes);
  ValidateImmutableContent(object, before, {"data", "binaryData"}, &errors);
  return errors.Take();
}

FieldErrors ValidateSecret(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  size_t bytes = ValidateContent(Get(object, "data"), "data", true, &errors);
  if (bytes > kMaxContentBytes) errors.TooLong("data", kMaxContentBytes);
  ValidateSecretType(object, &errors);
  if (before != nullptr && Get(object, "type") != Get(*before, "type")) {
    errors.Invalid("type", Get(object, "type"), "field is immutable");
  }
  ValidateImmutableContent(object, before, {"data"}, &errors);
  return errors.Take();
}

FieldErrors ValidateServiceAccount(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  return errors.Take();
}

FieldErrors ValidateEvent(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  // Events about cluster-scoped objects have a home of their own.
  std::string_view about = Text(object, {"involvedObject", "namespace"});
  std::string_view ns = Text(object, {"metadata", "namespace"});
  bool fits = about.empty() ? ns == "default" || ns == "kube-system"
                            : about == ns;
  if (!fits) {
    errors.Invalid("involvedObject.namespace", about,
                   "does not match event.namespace");
  }
  return errors.Take();
}

FieldErrors ValidateLease(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  const Json& spec = Get(object, "spec");
  const Json& seconds = Get(spec, "leaseDurationSeconds");
  if (seconds.is_number() && Int(seconds) <= 0) {
    errors.Invalid("spec.leaseDurationSeconds", seconds,
                   "must be greater than 0");
  }
  errors.NotNegative("spec.leaseTransitions", Get(spec, "leaseTransitions"));
  return errors.Take();
}

FieldErrors ValidateEndpointSlice(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kSubdomain, &errors);
  std::string_view type = Text(object, "addressType");
  if (type.empty()) {
    errors.Required("addressType");
  } else {
    errors.OneOf("addressType", type, {"FQDN", "IPv4", "IPv6"});
  }
  const Json& endpoints = List(object, "endpoints");
  if (endpoints.size() > kMaxEndpoints) {
    errors.TooMany("endpoints", endpoints.size(), kMaxEndpoints);
  } else {
    for (size_t i = 0; i < endpoints.size(); ++i) {
      ValidateEndpoint(endpoints[i], type, At("endpoints", i), &errors);
    }
  }
  ValidateSlicePorts(List(object, "ports"), &errors);
  if (before != nullptr && type != Text(*before, "addressType")) {
    // One error, whatever else the addresses of the other family would say.
    FieldErrorList only;
    only.Invalid("addressType", type, "field is immutable");
    return only.Take();
  }
  return errors.Take();
}

}  // namespace fairlead::api
