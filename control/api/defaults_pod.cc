// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "control/api/defaults.h"
#include "control/api/json_access.h"
#include "control/api/quantity.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

void SetIfAbsent(Json& object, std::string_view key, Json value) {
  auto [it, added] =
      object.emplace(std::string(key), Json());
  bool empty_text = it->is_string() && it->get_ref<std::string&>().empty();
  if (added || it->is_null() || empty_text) *it = std::move(value);
}

// For numbers whose zero means "not set".
void SetIfZero(Json& object, std::string_view key, int64_t value) {
  if (Int(object, key) == 0) object[std::string(key)] = value;
}

// Runs `fn` on each object of the list under `key`.
template <typename Fn>
void ForEach(Json& object, std::string_view key, Fn fn) {
  auto it = object.find(key);
  if (it == object.end() || !it->is_array()) return;
  for (Json& element : *it) {
    if (element.is_object()) fn(element);
  }
}

template <typename Fn>
void With(Json& object, std::string_view key, Fn fn) {
  auto it = object.find(key);
  if (it != object.end() && it->is_object()) fn(*it);
}

// "Always" for an image whose tag may move.
std::string_view PullPolicyOf(std::string_view image) {
  if (image.find('@') != std::string_view::npos) return "IfNotPresent";
  size_t slash = image.rfind('/');
  std::string_view last =
      slash == std::string_view::npos ? image : image.substr(slash + 1);
  size_t colon = last.rfind(':');
  bool moves = colon == std::string_view::npos ||
               last.substr(colon + 1) == "latest";
  return moves ? "Always" : "IfNotPresent";
}

void DefaultHttpGet(Json& get) {
  SetIfAbsent(get, "path", "/");
  SetIfAbsent(get, "scheme", "HTTP");
}

void DefaultProbe(Json& probe) {
  SetIfZero(probe, "timeoutSeconds", 1);
  SetIfZero(probe, "periodSeconds", 10);
  SetIfZero(probe, "successThreshold", 1);
  SetIfZero(probe, "failureThreshold", 3);
  With(probe, "httpGet", DefaultHttpGet);
  With(probe, "grpc", [](Json& grpc) {
    auto [it, added] = grpc.emplace("service", "");
    if (it->is_null()) *it = "";
  });
}

void DefaultFieldRef(Json& owner) {
  With(owner, "fieldRef",
       [](Json& ref) { SetIfAbsent(ref, "apiVersion", "v1"); });
}

void CopyLimitsToRequests(Json& resources) {
  const Json limits = Map(resources, "limits");
  if (limits.empty()) return;
  Json& requests = Sub(resources, "requests");
  for (const auto& [name, amount] : limits.items()) {
    if (!requests.contains(name)) requests[name] = amount;
  }
}

void DefaultContainer(Json& container) {
  SetIfAbsent(container, "imagePullPolicy",
              PullPolicyOf(Text(container, "image")));
  SetIfAbsent(container, "terminationMessagePath", "/dev/termination-log");
  SetIfAbsent(container, "terminationMessagePolicy", "File");
  ForEach(container, "ports",
          [](Json& port) { SetIfAbsent(port, "protocol", "TCP"); });
  ForEach(container, "env", [](Json& env) {
    With(env, "valueFrom", DefaultFieldRef);
  });
  for (const char* probe :
       {"livenessProbe", "readinessProbe", "startupProbe"}) {
    With(container, probe, DefaultProbe);
  }
  With(container, "lifecycle", [](Json& lifecycle) {
    for (const char* hook : {"postStart", "preStop"}) {
      With(lifecycle, hook, [](Json& handler) {
        With(handler, "httpGet", DefaultHttpGet);
      });
    }
  });
}

void DefaultVolume(Json& volume) {
  // A volume of no kind is a directory of its own.
  if (volume.size() == 1 && volume.contains("name")) {
    volume["emptyDir"] = Json::object();
  }
  for (const char* source : {"configMap", "secret", "downwardAPI",
                             "projected"}) {
    With(volume, source, [](Json& v) { SetIfAbsent(v, "defaultMode", 0644); });
  }
  With(volume, "hostPath", [](Json& v) {
    if (!v.contains("type") || v["type"].is_null()) v["type"] = "";
  });
  With(volume, "downwardAPI",
       [](Json& v) { ForEach(v, "items", DefaultFieldRef); });
  With(volume, "projected", [](Json& v) {
    ForEach(v, "sources", [](Json& source) {
      With(source, "downwardAPI",
           [](Json& d) { ForEach(d, "items", DefaultFieldRef); });
      With(source, "serviceAccountToken", [](Json& token) {
        SetIfAbsent(token, "expirationSeconds", 3600);
      });
    });
  });
}

void AddToleration(Json& spec, const char* key) {
  for (const Json& toleration : List(spec, "tolerations")) {
    std::string_view effect = Text(toleration, "effect");
    std::string_view k = Text(toleration, "key");
    bool any_key = k.empty() && Text(toleration, "operator") == "Exists";
    if ((k == key || any_key) && (effect.empty() || effect == "NoExecute")) {
      return;
    }
  }
  Json& list = spec["tolerations"];
  if (!list.is_array()) list = Json::array();
  list.push_back({{"key", key},
                  {"operator", "Exists"},
                  {"effect", "NoExecute"},
                  {"tolerationSeconds", 300}});
}

// What the stock server's admission plugins do to a new pod.
void AdmitPod(Json& spec) {
  AddToleration(spec, "node.kubernetes.io/not-ready");
  AddToleration(spec, "node.kubernetes.io/unreachable");
  SetIfAbsent(spec, "serviceAccountName", "default");
  spec["serviceAccount"] = spec["serviceAccountName"];
  if (!Get(spec, "priority").is_number()) {
    std::string_view name = Text(spec, "priorityClassName");
    int64_t priority = name == "system-node-critical"      ? 2000001000
                       : name == "system-cluster-critical" ? 2000000000
                                                           : 0;
    spec["priority"] = priority;
  }
  SetIfAbsent(spec, "preemptionPolicy", "PreemptLowerPriority");
}

std::optional<Quantity> Amount(const Json& resources, std::string_view list,
                               std::string_view name) {
  const Json& value = Get(resources, {list, name});
  if (value.is_null()) return {};
  auto quantity = Quantity::FromJson(value);
  if (!quantity.ok() || quantity->sign() <= 0) return {};
  return *quantity;
}

}  // namespace

std::string PodQosClass(const Json& spec) {
  bool any = false, guaranteed = true;
  for (std::string_view list : {"containers", "initContainers"}) {
    for (const Json& container : List(spec, list)) {
      const Json& resources = Get(container, "resources");
      for (std::string_view name : {"cpu", "memory"}) {
        auto limit = Amount(resources, "limits", name);
        auto request = Amount(resources, "requests", name);
        any |= limit || request;
        if (!limit || (request && *request != *limit)) guaranteed = false;
      }
    }
  }
  return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

void DefaultPodSpec(Json& spec) {
  SetIfAbsent(spec, "restartPolicy", "Always");
  SetIfAbsent(spec, "dnsPolicy", "ClusterFirst");
  SetIfAbsent(spec, "schedulerName", "default-scheduler");
  SetIfAbsent(spec, "terminationGracePeriodSeconds", 30);
  SetIfAbsent(spec, "securityContext", Json::object());
  // The two names are one field; the older one follows.
  if (Text(spec, "serviceAccountName").empty()) {
    if (!Text(spec, "serviceAccount").empty()) {
      spec["serviceAccountName"] = spec["serviceAccount"];
    }
  } else {
    spec["serviceAccount"] = spec["serviceAccountName"];
  }
  bool host_network = IsTrue(spec, "hostNetwork");
  for (const char* list : {"containers", "initContainers",
                           "ephemeralContainers"}) {
    ForEach(spec, list, [&](Json& container) {
      DefaultContainer(container);
      if (!host_network) return;
      ForEach(container, "ports", [](Json& port) {
        if (Int(port, "hostPort") == 0) {
          port["hostPort"] = port["containerPort"];
        }
      });
    });
  }
  ForEach(spec, "volumes", DefaultVolume);
}

void DefaultPod(Json& object) {
  Json& spec = Sub(object, "spec");
  DefaultPodSpec(spec);
  SetIfAbsent(spec, "enableServiceLinks", true);
  for (const char* list : {"containers", "initContainers"}) {
    ForEach(spec, list, [](Json& container) {
      With(container, "resources", CopyLimitsToRequests);
    });
  }
  Json& status = Sub(object, "status");
  SetIfAbsent(status, "phase", "Pending");
  SetIfAbsent(status, "qosClass", PodQosClass(spec));
}

void PreparePod(WriteVerb verb, Json& object, const Json* before) {
  PrepareSpecAndStatus(verb, object, before);
  switch (verb) {
    case WriteVerb::kCreate:
      object["status"] = Json::object();
      AdmitPod(Sub(object, "spec"));
      break;
    case WriteVerb::kUpdate:
      break;
    case WriteVerb::kUpdateStatus:
      if (before == nullptr) break;
      for (const char* field : {"deletionTimestamp",
                                "deletionGracePeriodSeconds",
                                "ownerReferences"}) {
        const Json& kept = Get(*before, {"metadata", field});
        if (kept.is_null()) {
          Sub(object, "metadata").erase(field);
        } else {
          Sub(object, "metadata")[field] = kept;
        }
      }
      if (Text(object, {"status", "qosClass"}).empty()) {
        Sub(object, "status")["qosClass"] =
            Get(*before, {"status", "qosClass"});
      }
      break;
  }
}

}  // namespace fairlead::api
