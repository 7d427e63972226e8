// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "absl/container/flat_hash_set.h"
#include "control/api/defaults.h"
#include "control/api/json_access.h"
#include "control/api/service_rules.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

bool Same(const Json& a, const Json& b, std::string_view key) {
  return Get(a, key) == Get(b, key);
}

// Fields that a change of type leaves without a meaning go, unless the client
// changed them too (then validation will speak).
void DropFieldsOfOldType(Json& object, const Json& before) {
  Json& spec = Sub(object, "spec");
  const Json& old = Get(before, "spec");
  auto drop = [&](const char* key) {
    if (Same(spec, old, key)) spec.erase(key);
  };
  if (NeedsClusterIp(before) && !NeedsClusterIp(object)) {
    if (Same(spec, old, "clusterIP") && Same(spec, old, "clusterIPs")) {
      spec.erase("clusterIP");
      spec.erase("clusterIPs");
    }
    drop("ipFamilies");
    drop("ipFamilyPolicy");
    drop("internalTrafficPolicy");
  }
  if (NeedsNodePorts(before) && !NeedsNodePorts(object)) {
    auto node_ports = [](const Json& ports) {
      std::vector<int64_t> numbers;
      for (const Json& port : List(ports)) {
        numbers.push_back(Int(port, "nodePort"));
      }
      return numbers;
    };
    if (spec.contains("ports") && spec["ports"].is_array() &&
        node_ports(spec["ports"]) == node_ports(Get(old, "ports"))) {
      for (Json& port : spec["ports"]) {
        if (port.is_object()) port.erase("nodePort");
      }
    }
  }
  if (NeedsHealthCheckNodePort(before) && !NeedsHealthCheckNodePort(object)) {
    drop("healthCheckNodePort");
  }
  if (Text(old, "type") == "LoadBalancer" &&
      Text(spec, "type") != "LoadBalancer") {
    drop("allocateLoadBalancerNodePorts");
    drop("loadBalancerClass");
  }
  if (IsExternallyAccessible(before) && !IsExternallyAccessible(object)) {
    drop("externalTrafficPolicy");
  }
  if (Text(old, "type") == "ExternalName" &&
      Text(spec, "type") != "ExternalName") {
    drop("externalName");
  }
}

// Going to a single family gives the second one back without being asked.
void TrimToSingleStack(Json& spec, const Json& old) {
  if (Text(spec, "ipFamilyPolicy") != "SingleStack" ||
      Text(old, "ipFamilyPolicy") == "SingleStack") {
    return;
  }
  for (const char* key : {"clusterIPs", "ipFamilies"}) {
    if (List(spec, key).size() > 1 && Same(spec, old, key)) {
      spec[key] = Json::array({spec[key][0]});
    }
  }
}

// What was allocated stays although the client did not repeat it.
void KeepAllocated(Json& object, const Json& before) {
  Json& spec = Sub(object, "spec");
  const Json& old = Get(before, "spec");
  if (NeedsClusterIp(before) && NeedsClusterIp(object)) {
    if (Text(spec, "clusterIP").empty() && List(spec, "clusterIPs").empty()) {
      if (!Get(old, "clusterIP").is_null()) {
        spec["clusterIP"] = Get(old, "clusterIP");
      }
    }
    if (List(spec, "clusterIPs").empty() && Same(spec, old, "clusterIP") &&
        !Get(old, "clusterIPs").is_null()) {
      spec["clusterIPs"] = Get(old, "clusterIPs");
    }
  }
  if (NeedsNodePorts(before) && NeedsNodePorts(object) &&
      spec.contains("ports") && spec["ports"].is_array()) {
    absl::flat_hash_set<int64_t> used;
    for (const Json& port : spec["ports"]) used.insert(Int(port, "nodePort"));
    for (Json& port : spec["ports"]) {
      if (!port.is_object() || Int(port, "nodePort") != 0) continue;
      for (const Json& old_port : List(old, "ports")) {
        bool same = Int(old_port, "port") == Int(port, "port") &&
                    (Text(port, "protocol").empty() ||
                     Same(old_port, port, "protocol"));
        if (same && used.insert(Int(old_port, "nodePort")).second) {
          port["nodePort"] = Get(old_port, "nodePort");
        }
      }
    }
  }
  if (NeedsHealthCheckNodePort(before) && NeedsHealthCheckNodePort(object) &&
      Int(spec, "healthCheckNodePort") == 0) {
    spec["healthCheckNodePort"] = Get(old, "healthCheckNodePort");
  }
}

// clusterIP and the first of clusterIPs are one field; a client that knows
// only the older one changes both.
void SyncClusterIps(Json& spec, const Json* old) {
  std::string ip(Text(spec, "clusterIP"));
  if (old == nullptr) {
    if (!ip.empty() && List(spec, "clusterIPs").empty()) {
      spec["clusterIPs"] = Json::array({ip});
    }
    return;
  }
  if (Text(*old, "clusterIP") == ip || !Same(spec, *old, "clusterIPs")) return;
  if (ip.empty()) {
    spec.erase("clusterIPs");
  } else {
    spec["clusterIPs"] = Json::array({ip});
  }
}

}  // namespace

bool NeedsClusterIp(const Json& service) {
  std::string_view type = Text(service, {"spec", "type"});
  return type.empty() || type == "ClusterIP" || NeedsNodePorts(service);
}

bool IsHeadless(const Json& service) {
  const Json& ips = List(service, {"spec", "clusterIPs"});
  return Text(service, {"spec", "clusterIP"}) == "None" ||
         (ips.size() == 1 && Text(ips[0]) == "None");
}

bool NeedsNodePorts(const Json& service) {
  std::string_view type = Text(service, {"spec", "type"});
  return type == "NodePort" || type == "LoadBalancer";
}

bool AllocatesNodePorts(const Json& service) {
  if (Text(service, {"spec", "type"}) == "LoadBalancer") {
    const Json& wish = Get(service, {"spec", "allocateLoadBalancerNodePorts"});
    return !wish.is_boolean() || IsTrue(wish);
  }
  return NeedsNodePorts(service);
}

bool NeedsHealthCheckNodePort(const Json& service) {
  return Text(service, {"spec", "type"}) == "LoadBalancer" &&
         Text(service, {"spec", "externalTrafficPolicy"}) == "Local";
}

bool IsExternallyAccessible(const Json& service) {
  return NeedsNodePorts(service) ||
         (NeedsClusterIp(service) &&
          !List(service, {"spec", "externalIPs"}).empty());
}

void PrepareService(WriteVerb verb, Json& object, const Json* before) {
  PrepareSpecAndStatus(verb, object, before);
  if (verb == WriteVerb::kUpdateStatus) return;
  if (verb == WriteVerb::kUpdate && before != nullptr) {
    // A type that was left out is the default one, not the old one.
    DropFieldsOfOldType(object, *before);
    TrimToSingleStack(Sub(object, "spec"), Get(*before, "spec"));
    KeepAllocated(object, *before);
    SyncClusterIps(Sub(object, "spec"), &Get(*before, "spec"));
  } else {
    SyncClusterIps(Sub(object, "spec"), nullptr);
  }
}

// Of each address that a load balancer has.
void DefaultIpMode(Json& service) {
  for (size_t i = 0;
       i < List(service, {"status", "loadBalancer", "ingress"}).size(); ++i) {
    Json& each = service["status"]["loadBalancer"]["ingress"][i];
    if (each.is_object() && !Text(each, "ip").empty() &&
        Get(each, "ipMode").is_null()) {
      each["ipMode"] = "VIP";
    }
  }
}

void DefaultService(Json& object) {
  Json& spec = Sub(object, "spec");
  auto set = [&](const char* key, Json value) {
    Json& at = spec[key];
    if (at.is_null() ||
        (at.is_string() && at.get_ref<std::string&>().empty())) {
      at = std::move(value);
    }
  };
  set("type", "ClusterIP");
  set("sessionAffinity", "None");
  if (Text(spec, "sessionAffinity") == "None") {
    spec.erase("sessionAffinityConfig");
  } else if (Text(spec, "sessionAffinity") == "ClientIP") {
    Json& timeout =
        Sub(Sub(spec, "sessionAffinityConfig"), "clientIP")["timeoutSeconds"];
    if (timeout.is_null()) timeout = 10800;
  }
  if (auto ports = spec.find("ports");
      ports != spec.end() && ports->is_array()) {
    for (Json& port : *ports) {
      if (!port.is_object()) continue;
      if (Text(port, "protocol").empty()) port["protocol"] = "TCP";
      const Json& target = Get(port, "targetPort");
      bool unset = target.is_null() ||
                   (target.is_string() && Text(target).empty()) ||
                   (target.is_number_integer() && Int(target) == 0);
      if (unset) port["targetPort"] = Int(port, "port");
    }
  }
  if (IsExternallyAccessible(object)) set("externalTrafficPolicy", "Cluster");
  if (NeedsClusterIp(object)) set("internalTrafficPolicy", "Cluster");
  if (Text(spec, "type") == "LoadBalancer") {
    set("allocateLoadBalancerNodePorts", true);
    DefaultIpMode(object);
  }
  // 0 is "none", as everywhere; absent is how it is stored.
  if (Int(spec, "healthCheckNodePort") == 0) spec.erase("healthCheckNodePort");
  for (const char* key : {"ipFamilyPolicy", "internalTrafficPolicy",
                          "externalTrafficPolicy"}) {
    if (Get(spec, key).is_null()) spec.erase(key);
  }
}

}  // namespace fairlead::api
