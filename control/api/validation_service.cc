// SPDX-License-Identifier: Apache-2.0
#include <set>
#include <utility>

#include "control/api/json_access.h"
#include "control/api/service_rules.h"
#include "control/api/validation.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr int64_t kKubeletPort = 10250;
constexpr int64_t kMaxAffinitySeconds = 86400;

void ValidateType(const Json& service, FieldErrorList* errors) {
  const Json& spec = Get(service, "spec");
  std::string_view type = Text(spec, "type");
  const Json& ports = List(spec, "ports");
  bool external_name = type == "ExternalName";
  if (ports.empty() && !IsHeadless(service) && !external_name) {
    errors->Required("spec.ports");
  }
  if (type == "LoadBalancer") {
    for (size_t i = 0; i < ports.size(); ++i) {
      if (Int(ports[i], "port") != kKubeletPort) continue;
      errors->Invalid(At("spec.ports", i), kKubeletPort,
                      "may not expose port 10250 externally since it is used "
                      "by kubelet");
    }
  }
  if (NeedsNodePorts(service) && IsHeadless(service)) {
    errors->Invalid("spec.clusterIPs[0]", "None",
                    StrCat("may not be set to 'None' for ", type, " services"));
  }
  if (!external_name) return;
  for (const char* field : {"clusterIPs", "ipFamilies", "ipFamilyPolicy"}) {
    const Json& value = Get(spec, field);
    if (value.is_null() || value.empty()) continue;
    errors->Forbidden(Child("spec", field),
                      "may not be set for ExternalName services");
  }
  std::string_view name = Text(spec, "externalName");
  if (name.ends_with(".")) name.remove_suffix(1);
  if (name.empty()) {
    errors->Required("spec.externalName");
  } else {
    errors->InvalidEach("spec.externalName", name, CheckDnsSubdomain(name));
  }
}

void ValidatePorts(const Json& ports, FieldErrorList* errors) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < ports.size(); ++i) {
    const Json& port = ports[i];
    std::string at = At("spec.ports", i);
    std::string_view name = Text(port, "name");
    if (name.empty()) {
      if (ports.size() > 1) errors->Required(Child(at, "name"));
    } else {
      errors->InvalidEach(Child(at, "name"), name, CheckDnsLabel(name));
      if (!names.insert(name).second) {
        errors->Duplicate(Child(at, "name"), name);
      }
    }
    for (auto& message : CheckPortNumber(Int(port, "port"))) {
      errors->Invalid(Child(at, "port"), Int(port, "port"), message);
    }
    errors->OneOf(Child(at, "protocol"), Get(port, "protocol"),
                  {"SCTP", "TCP", "UDP"});
    const Json& target = Get(port, "targetPort");
    if (target.is_string()) {
      errors->InvalidEach(Child(at, "targetPort"), Text(target),
                          CheckPortName(Text(target)));
    } else {
      for (auto& message : CheckPortNumber(Int(target))) {
        errors->Invalid(Child(at, "targetPort"), Int(target), message);
      }
    }
    if (std::string_view protocol = Text(port, "appProtocol");
        !protocol.empty()) {
      errors->InvalidEach(Child(at, "appProtocol"), protocol,
                          CheckQualifiedName(protocol));
    }
  }
}

void ValidatePortsTogether(const Json& spec, FieldErrorList* errors) {
  const Json& ports = List(spec, "ports");
  std::set<std::pair<std::string_view, int64_t>> node_ports, numbers;
  for (size_t i = 0; i < ports.size(); ++i) {
    int64_t node_port = Int(ports[i], "nodePort");
    std::string at = At("spec.ports", i);
    if (node_port != 0 && Text(spec, "type") == "ClusterIP") {
      errors->Forbidden(Child(at, "nodePort"),
                        "may not be used when `type` is 'ClusterIP'");
    }
    if (node_port != 0 &&
        !node_ports.emplace(Text(ports[i], "protocol"), node_port).second) {
      errors->Duplicate(Child(at, "nodePort"), node_port);
    }
  }
  for (size_t i = 0; i < ports.size(); ++i) {
    std::string_view protocol = Text(ports[i], "protocol");
    int64_t number = Int(ports[i], "port");
    if (numbers.emplace(protocol, number).second) continue;
    // The stock server prints its internal form of the key.
    errors->Add("FieldValueDuplicate", At("spec.ports", i),
                StrCat("Duplicate value: {\"Name\":\"\",\"Protocol\":\"",
                       protocol, "\",\"AppProtocol\":null,\"Port\":", number,
                       ",\"TargetPort\":0,\"NodePort\":0}"));
  }
}

void ValidateAffinity(const Json& spec, FieldErrorList* errors) {
  errors->OneOf("spec.sessionAffinity", Get(spec, "sessionAffinity"),
                {"ClientIP", "None"});
  std::string_view affinity = Text(spec, "sessionAffinity");
  if (affinity == "ClientIP") {
    const Json& seconds =
        Get(spec, {"sessionAffinityConfig", "clientIP", "timeoutSeconds"});
    if (Int(seconds) <= 0 || Int(seconds) > kMaxAffinitySeconds) {
      errors->Invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                      Int(seconds),
                      "must be greater than 0 and less than 86400");
    }
  } else if (affinity == "None" &&
             Get(spec, "sessionAffinityConfig").is_object()) {
    errors->Forbidden("spec.sessionAffinityConfig",
                      "must not be set when session affinity is None");
  }
}

void ValidateExternalFields(const Json& service, FieldErrorList* errors) {
  const Json& spec = Get(service, "spec");
  const Json& ips = List(spec, "externalIPs");
  for (size_t i = 0; i < ips.size(); ++i) {
    errors->InvalidEach(At("spec.externalIPs", i), Text(ips[i]),
                        CheckReachableIp(Text(ips[i])));
  }
  errors->OneOf("spec.type", Get(spec, "type"),
                {"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"});
  ValidatePortsTogether(spec, errors);

  bool load_balancer = Text(spec, "type") == "LoadBalancer";
  constexpr std::string_view kOnlyLoadBalancer =
      "may only be used when `type` is 'LoadBalancer'";
  const Json& ranges = List(spec, "loadBalancerSourceRanges");
  if (!ranges.empty() && !load_balancer) {
    errors->Forbidden("spec.LoadBalancerSourceRanges", kOnlyLoadBalancer);
  }
  for (size_t i = 0; i < ranges.size(); ++i) {
    errors->InvalidEach(At("spec.LoadBalancerSourceRanges", i), Text(ranges[i]),
                        CheckCidr(Text(ranges[i])));
  }
  if (!load_balancer &&
      Get(spec, "allocateLoadBalancerNodePorts").is_boolean()) {
    errors->Forbidden("spec.allocateLoadBalancerNodePorts", kOnlyLoadBalancer);
  }
  if (Get(spec, "loadBalancerClass").is_string()) {
    if (!load_balancer) {
      errors->Forbidden("spec.loadBalancerClass", kOnlyLoadBalancer);
    } else {
      errors->InvalidEach("spec.loadBalancerClass",
                          Text(spec, "loadBalancerClass"),
                          CheckQualifiedName(Text(spec, "loadBalancerClass")));
    }
  }
}

void ValidateTrafficPolicies(const Json& service, FieldErrorList* errors) {
  const Json& spec = Get(service, "spec");
  std::string_view external = Text(spec, "externalTrafficPolicy");
  if (IsExternallyAccessible(service)) {
    errors->OneOf("spec.externalTrafficPolicy",
                  Get(spec, "externalTrafficPolicy"), {"Cluster", "Local"});
  } else if (!external.empty()) {
    errors->Invalid("spec.externalTrafficPolicy", external,
                    "may only be set for externally-accessible services");
  }
  int64_t health_port = Int(spec, "healthCheckNodePort");
  if (health_port != 0 && !NeedsHealthCheckNodePort(service)) {
    errors->Invalid("spec.healthCheckNodePort", health_port,
                    "may only be set when `type` is 'LoadBalancer' and "
                    "`externalTrafficPolicy` is 'Local'");
  }
  if (Get(spec, "internalTrafficPolicy").is_string()) {
    errors->OneOf("spec.internalTrafficPolicy",
                  Get(spec, "internalTrafficPolicy"), {"Cluster", "Local"});
  }
  if (Get(spec, "trafficDistribution").is_string()) {
    errors->OneOf("spec.trafficDistribution", Get(spec, "trafficDistribution"),
                  {"PreferClose", "PreferSameZone", "PreferSameNode"});
  }
}

// What was given once stays: clients and kernels hold on to it.
void ValidateServiceUpdate(const Json& service, const Json& before,
                           FieldErrorList* errors) {
  if (NeedsClusterIp(service) && NeedsClusterIp(before)) {
    const Json& ips = List(service, {"spec", "clusterIPs"});
    const Json& old = List(before, {"spec", "clusterIPs"});
    for (size_t i = 0; i < old.size() && i < 2; ++i) {
      bool dropped = i >= ips.size();
      if (dropped && i == 0) {
        errors->Invalid("spec.clusterIPs[0]", ips,
                        "primary clusterIP can not be unset");
      } else if (!dropped && ips[i] != old[i]) {
        errors->Invalid(At("spec.clusterIPs", i), ips,
                        "may not change once set");
      } else if (dropped &&
                 Text(service, {"spec", "ipFamilyPolicy"}) != "SingleStack") {
        errors->Invalid(
            "spec.ipFamilyPolicy", Text(service, {"spec", "ipFamilyPolicy"}),
            "must be set to 'SingleStack' when releasing the secondary "
            "clusterIP");
      }
    }
    const Json& families = List(service, {"spec", "ipFamilies"});
    const Json& old_families = List(before, {"spec", "ipFamilies"});
    if (!families.empty() && !old_families.empty() &&
        families[0] != old_families[0] && !IsHeadless(service)) {
      errors->Invalid("spec.ipFamilies[0]", families,
                      "may not change once set");
    }
  }
  bool load_balancers = Text(service, {"spec", "type"}) == "LoadBalancer" &&
                        Text(before, {"spec", "type"}) == "LoadBalancer";
  const Json& klass = Get(service, {"spec", "loadBalancerClass"});
  if (load_balancers && klass != Get(before, {"spec", "loadBalancerClass"})) {
    errors->Invalid("spec.loadBalancerClass", klass, "may not change once set");
  }
}

void ValidateLoadBalancerStatus(const Json& service, FieldErrorList* errors) {
  const Json& ingress = List(service, {"status", "loadBalancer", "ingress"});
  std::string field = "status.loadBalancer.ingress";
  if (!ingress.empty() && Text(service, {"spec", "type"}) != "LoadBalancer") {
    errors->Forbidden(field,
                      "may only be used when `spec.type` is 'LoadBalancer'");
    return;
  }
  for (size_t i = 0; i < ingress.size(); ++i) {
    std::string_view ip = Text(ingress[i], "ip");
    std::string_view hostname = Text(ingress[i], "hostname");
    if (!ip.empty()) {
      errors->InvalidEach(Child(At(field, i), "ip"), ip, CheckIp(ip));
    }
    if (!hostname.empty()) {
      errors->InvalidEach(Child(At(field, i), "hostname"), hostname,
                          CheckDnsSubdomain(hostname));
    }
    const Json& mode = Get(ingress[i], "ipMode");
    if (mode.is_string()) {
      errors->OneOf(Child(At(field, i), "ipMode"), mode, {"Proxy", "VIP"});
    }
  }
}

bool IsV6(std::string_view ip) {
  return ip.find(':') != std::string_view::npos;
}

}  // namespace

FieldErrors ValidateClusterIpFields(const Json& service) {
  FieldErrorList errors;
  const Json& spec = Get(service, "spec");
  if (Text(spec, "type") == "ExternalName") return {};
  std::string_view ip = Text(spec, "clusterIP");
  const Json& ips = List(spec, "clusterIPs");
  if (ip.empty() && !ips.empty()) {
    errors.Invalid("spec.clusterIPs", ips,
                   "must be empty when `clusterIP` is not specified");
  } else if (!ip.empty() && ips.empty()) {
    errors.Required("spec.clusterIPs");
  } else if (!ip.empty() && Text(ips[0]) != ip) {
    errors.Invalid("spec.clusterIPs", ips,
                   "first value must match `clusterIP`");
  }

  const Json& families = List(spec, "ipFamilies");
  std::set<std::string_view> seen;
  for (size_t i = 0; i < families.size(); ++i) {
    errors.OneOf(At("spec.ipFamilies", i), families[i], {"IPv4", "IPv6"});
    if (!seen.insert(Text(families[i])).second) {
      errors.Duplicate(At("spec.ipFamilies", i), families[i]);
    }
  }
  if (Get(spec, "ipFamilyPolicy").is_string()) {
    errors.OneOf("spec.ipFamilyPolicy", Get(spec, "ipFamilyPolicy"),
                 {"PreferDualStack", "RequireDualStack", "SingleStack"});
  }

  size_t before_ips = errors.size();
  for (size_t i = 0; i < ips.size(); ++i) {
    if (i == 0 && Text(ips[0]) == "None") {
      if (ips.size() > 1) {
        errors.Invalid("spec.clusterIPs", ips,
                       "'None' must be the first and only value");
      }
      continue;
    }
    errors.InvalidEach(At("spec.clusterIPs", i), Text(ips[i]),
                       CheckIp(Text(ips[i])));
  }
  bool bad_ips = errors.size() > before_ips;
  if (ips.size() > 2) {
    errors.Invalid("spec.clusterIPs", ips, "may only hold up to 2 values");
  }
  // Of addresses that aren't, nothing more can be told.
  if (bad_ips) return errors.Take();
  if (ips.size() == 2 && IsV6(Text(ips[0])) == IsV6(Text(ips[1]))) {
    errors.Invalid("spec.clusterIPs", ips,
                   "may specify no more than one IP for each IP family");
  }
  if (IsHeadless(service) || !errors.empty()) return errors.Take();
  for (size_t i = 0; i < ips.size() && i < families.size(); ++i) {
    std::string_view actual = IsV6(Text(ips[i])) ? "IPv6" : "IPv4";
    if (Text(families[i]) == actual) continue;
    errors.Invalid(At("spec.clusterIPs", i), ips[i],
                   StrCat("expected an ", Text(families[i]),
                          " value as indicated by `ipFamilies[", i, "]`"));
  }
  return errors.Take();
}

FieldErrors ValidateService(const Json& object, const Json* before) {
  FieldErrorList errors;
  ValidateMetadata(object, before, NameRule::kLabel, &errors);
  if (before != nullptr) {
    ValidateServiceUpdate(object, *before, &errors);
    if (Get(object, "status") != Get(*before, "status")) {
      ValidateLoadBalancerStatus(object, &errors);
    }
  }
  ValidateType(object, &errors);
  ValidatePorts(List(object, {"spec", "ports"}), &errors);
  ValidateLabels(Get(object, {"spec", "selector"}), "spec.selector", &errors);
  ValidateAffinity(Get(object, "spec"), &errors);
  errors.Append(ValidateClusterIpFields(object));
  ValidateExternalFields(object, &errors);
  ValidateTrafficPolicies(object, &errors);
  return errors.Take();
}

std::vector<std::string> ServiceWarnings(const Json& object,
                                         const Json* before) {
  std::vector<std::string> warnings;
  const Json& spec = Get(object, "spec");
  if (before != nullptr && spec == Get(*before, "spec") &&
      Get(object, {"metadata", "annotations"}) ==
          Get(*before, {"metadata", "annotations"})) {
    return warnings;
  }
  constexpr std::string_view kHints =
      "service.kubernetes.io/topology-aware-hints";
  if (Get(object, {"metadata", "annotations", kHints}).is_string()) {
    warnings.push_back(
        StrCat("annotation ", kHints,
               " is deprecated, please use "
               "service.kubernetes.io/topology-mode instead"));
  }
  if (IsHeadless(object)) {
    if (!Text(spec, "loadBalancerIP").empty()) {
      warnings.push_back(
          "spec.loadBalancerIP is ignored for headless services");
    }
    if (!List(spec, "externalIPs").empty()) {
      warnings.push_back("spec.externalIPs is ignored for headless services");
    }
    if (Text(spec, "sessionAffinity") != "None") {
      warnings.push_back(
          "spec.SessionAffinity is ignored for headless services");
    }
  }
  if (!List(spec, "externalIPs").empty()) {
    warnings.push_back(
        "spec.externalIPs is deprecated and may no longer be implemented in "
        "some clusters");
  }
  if (Text(spec, "trafficDistribution") == "PreferClose") {
    warnings.push_back(
        "spec.trafficDistribution: \"PreferClose\" is deprecated; use "
        "\"PreferSameZone\"");
  }
  return warnings;
}

}  // namespace fairlead::api
