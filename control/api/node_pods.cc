// SPDX-License-Identifier: Apache-2.0
#include "control/api/node_pods.h"

#include <nlohmann/json.hpp>

#include "control/api/json_access.h"

namespace fairlead::api {
namespace {

// Where a kind's names stand in a volume, in env and in envFrom.
struct Mentioned {
  const char* resource;
  const char* volume;
  const char* volume_name;
  const char* env_key;   // of valueFrom
  const char* env_from;
};
constexpr Mentioned kMentioned[] = {
    {"secrets", "secret", "secretName", "secretKeyRef", "secretRef"},
    {"configmaps", "configMap", "name", "configMapKeyRef", "configMapRef"}};

bool InVolumes(const Json& spec, const Mentioned& kind,
               std::string_view name) {
  for (const Json& volume : List(spec, "volumes")) {
    if (Text(volume, {kind.volume, kind.volume_name}) == name) return true;
    for (const Json& source : List(volume, {"projected", "sources"})) {
      if (Text(source, {kind.volume, "name"}) == name) return true;
    }
  }
  return false;
}

bool InContainers(const Json& spec, const Mentioned& kind,
                  std::string_view name) {
  for (const char* list :
       {"containers", "initContainers", "ephemeralContainers"}) {
    for (const Json& container : List(spec, list)) {
      for (const Json& env : List(container, "env")) {
        if (Text(env, {"valueFrom", kind.env_key, "name"}) == name) {
          return true;
        }
      }
      for (const Json& from : List(container, "envFrom")) {
        if (Text(from, {kind.env_from, "name"}) == name) return true;
      }
    }
  }
  return false;
}

class RegistryPods : public NodePods {
 public:
  explicit RegistryPods(Registry* registry) : registry_(registry) {}

  bool IsOn(std::string_view node, std::string_view ns,
            std::string_view pod) const override {
    Served* pods = Pods();
    if (pods == nullptr) return false;
    const store::ObjectRef object =
        pods->cache.Find(ObjectKey(*pods->kind, ns, pod));
    return object != nullptr && OnNode(*object, node);
  }

  bool Mention(std::string_view node, std::string_view resource,
               std::string_view ns, std::string_view name) const override {
    Served* pods = Pods();
    if (pods == nullptr) return false;
    const std::string prefix = std::string(ns) + "/";
    const auto& objects = pods->cache.objects();
    for (auto it = objects.lower_bound(prefix);
         it != objects.end() && it->first.starts_with(prefix); ++it) {
      if (OnNode(*it->second, node) &&
          Mentions(ParseObject(*pods, *it->second), resource, name)) {
        return true;
      }
    }
    return false;
  }

 private:
  Served* Pods() const { return registry_->Find("", "v1", "pods"); }

  // spec.nodeName is the first of the kind's selectable fields.
  static bool OnNode(const store::Object& pod, std::string_view node) {
    return !pod.fields.empty() && pod.fields[0] == node;
  }

  Registry* registry_;
};

}  // namespace

bool Mentions(const Json& pod, std::string_view resource,
              std::string_view name) {
  const Json& spec = Get(pod, "spec");
  if (resource == "serviceaccounts") {
    return Text(spec, "serviceAccountName") == name;
  }
  for (const Mentioned& kind : kMentioned) {
    if (resource != kind.resource) continue;
    if (resource == "secrets") {
      for (const Json& secret : List(spec, "imagePullSecrets")) {
        if (Text(secret, "name") == name) return true;
      }
    } else if (name == "kube-root-ca.crt") {
      return true;
    }
    return InVolumes(spec, kind, name) || InContainers(spec, kind, name);
  }
  return false;
}

std::unique_ptr<NodePods> MakeNodePods(Registry* registry) {
  return std::make_unique<RegistryPods>(registry);
}

}  // namespace fairlead::api
