// SPDX-License-Identifier: Apache-2.0
#include "control/api/service_account_admission.h"

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "control/api/api_status.h"
#include "control/api/json_access.h"
#include "control/api/name_suffix.h"
#include "control/api/refusal.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr char kDefaultAccount[] = "default";
constexpr char kMountPath[] = "/var/run/secrets/kubernetes.io/serviceaccount";
constexpr char kVolumePrefix[] = "kube-api-access-";
// An hour, and Kubernetes' seven seconds by which such tokens are known.
constexpr int kTokenSeconds = 3607;
constexpr char kMirrorAnnotation[] = "kubernetes.io/config.mirror";

bool IsCore(const Kind& kind, std::string_view name) {
  return kind.resource.group.empty() && kind.resource.kind == name;
}

// The volume as it is read back: with its defaults.
Json AccessVolume(const std::string& name) {
  const Json token = {{"expirationSeconds", kTokenSeconds}, {"path", "token"}};
  const Json authority = {
      {"name", "kube-root-ca.crt"},
      {"items", Json::array({{{"key", "ca.crt"}, {"path", "ca.crt"}}})}};
  const Json ns = {
      {"items",
       Json::array({{{"path", "namespace"},
                     {"fieldRef",
                      {{"apiVersion", "v1"},
                       {"fieldPath", "metadata.namespace"}}}}})}};
  Json sources = Json::array();
  sources.push_back({{"serviceAccountToken", token}});
  sources.push_back({{"configMap", authority}});
  sources.push_back({{"downwardAPI", ns}});
  return {{"name", name},
          {"projected",
           {{"sources", std::move(sources)}, {"defaultMode", 0644}}}};
}

// Whether the container lacked the mount.
bool Mount(const std::string& volume, Json& container) {
  if (!container.is_object()) return false;
  for (const Json& mount : List(container, "volumeMounts")) {
    if (Text(mount, "mountPath") == kMountPath) return false;
  }
  Json& mounts = container["volumeMounts"];
  if (!mounts.is_array()) mounts = Json::array();
  mounts.push_back(
      {{"name", volume}, {"readOnly", true}, {"mountPath", kMountPath}});
  return true;
}

class ServiceAccountAdmission : public Admission {
 public:
  FieldErrors Admit(const Kind& kind, WriteVerb verb, bool, Json& object,
                    const Json* before) override {
    if (!IsCore(kind, "Pod") || verb != WriteVerb::kCreate ||
        before != nullptr) {
      return {};
    }
    // The API server's view of a pod that a kubelet runs by itself.
    if (!Get(object, {"metadata", "annotations", kMirrorAnnotation})
             .is_null()) {
      return {};
    }
    Json& spec = Sub(object, "spec");
    const std::string name(Text(spec, "serviceAccountName"));
    const std::string key =
        StrCat(Text(object, {"metadata", "namespace"}), "/", name);
    Account account;
    if (auto it = accounts_.find(key); it != accounts_.end()) {
      account = it->second;
    } else if (name != kDefaultAccount) {
      return {Refusal(StrCat("error looking up service account ", key,
                             ": serviceaccount ", Quote(name),
                             " not found"))};
    }
    const Json& wish = Get(spec, "automountServiceAccountToken");
    if (wish.is_boolean() ? wish.get<bool>() : account.automount) {
      AddAccess(spec);
    }
    if (List(spec, "imagePullSecrets").empty() &&
        !account.pull_secrets.empty()) {
      spec["imagePullSecrets"] = account.pull_secrets;
    }
    return {};
  }

  void Committed(const Kind& kind, const Json* before,
                 const Json* after) override {
    if (!IsCore(kind, "ServiceAccount")) return;
    if (after != nullptr) {
      Restore(kind, *after);
    } else if (before != nullptr) {
      accounts_.erase(KeyOf(*before));
    }
  }

  void Aborted(const Kind&, const Json&, const Json*) override {}

  void Restore(const Kind& kind, const Json& object) override {
    if (!IsCore(kind, "ServiceAccount")) return;
    const Json& automount = Get(object, "automountServiceAccountToken");
    accounts_[KeyOf(object)] = {
        !automount.is_boolean() || automount.get<bool>(),
        List(object, "imagePullSecrets")};
  }

 private:
  struct Account {
    bool automount = true;
    Json pull_secrets = Json::array();
  };

  static std::string KeyOf(const Json& object) {
    return StrCat(Text(object, {"metadata", "namespace"}), "/",
                  Text(object, {"metadata", "name"}));
  }

  // A volume of that name that is there already is the pod's own choice.
  void AddAccess(Json& spec) {
    std::string name;
    for (const Json& volume : List(spec, "volumes")) {
      if (!Text(volume, "name").starts_with(kVolumePrefix)) continue;
      name = std::string(Text(volume, "name"));
      break;
    }
    const bool is_new = name.empty();
    if (is_new) name = StrCat(kVolumePrefix, RandomNameSuffix(random_));
    bool mounted = false;
    for (const char* containers : {"initContainers", "containers"}) {
      if (!Get(spec, containers).is_array()) continue;
      for (Json& container : spec[containers]) {
        mounted = Mount(name, container) || mounted;
      }
    }
    if (!is_new || !mounted) return;
    Json& volumes = spec["volumes"];
    if (!volumes.is_array()) volumes = Json::array();
    volumes.push_back(AccessVolume(name));
  }

  std::map<std::string, Account> accounts_;
  absl::BitGen random_;
};

}  // namespace

std::unique_ptr<Admission> MakeServiceAccountAdmission() {
  return std::make_unique<ServiceAccountAdmission>();
}

}  // namespace fairlead::api
