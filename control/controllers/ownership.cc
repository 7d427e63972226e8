// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/ownership.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace fairlead::controllers {
namespace {

Write SetOwners(const Json& pod, Json owners) {
  return PatchOf(kube::Pods(), pod,
                 {{"metadata",
                   {{"uid", Uid(pod)},
                    {"ownerReferences", std::move(owners)}}}});
}

Write Adopt(const kube::Resource& resource, const Json& owner,
            const Json& pod) {
  Json owners = Get(pod, {"metadata", "ownerReferences"});
  if (!owners.is_array()) owners = Json::array();
  owners.push_back(ControllerReference(resource, owner));
  return SetOwners(pod, std::move(owners));
}

Write Release(const Json& owner, const Json& pod) {
  Json owners = Json::array();
  for (const Json& each : Get(pod, {"metadata", "ownerReferences"})) {
    if (Text(each, {"uid"}) != Uid(owner)) owners.push_back(each);
  }
  return SetOwners(pod, std::move(owners));
}

}  // namespace

ClaimedPods ClaimPods(const kube::Resource& resource, const Json& owner,
                      const std::vector<Object>& pods) {
  ClaimedPods claimed;
  for (const Object& pod : pods) {
    std::string_view controller = ControllerUid(*pod);
    bool matches = SelectorMatches(Get(owner, {"spec", "selector"}),
                                   Get(*pod, {"metadata", "labels"}));
    if (controller == Uid(owner)) {
      if (matches) {
        claimed.pods.push_back(pod);
      } else if (!IsTerminating(owner)) {
        claimed.writes.push_back(Release(owner, *pod));
      }
    } else if (controller.empty() && matches && !IsTerminating(owner) &&
               IsPodActive(*pod)) {
      claimed.writes.push_back(Adopt(resource, owner, *pod));
      claimed.pods.push_back(pod);
    }
  }
  return claimed;
}

}  // namespace fairlead::controllers
