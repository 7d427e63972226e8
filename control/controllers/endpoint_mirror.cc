// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/endpoint_mirror.h"

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "control/controllers/endpoint_slice.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/strings.h"
#include "userspace/kube/control_resources.h"

namespace fairlead::controllers {
namespace {

constexpr char kSliceManager[] = "endpointslice.kubernetes.io/managed-by";
constexpr char kManager[] = "endpointslicemirroring-controller.k8s.io";
constexpr char kSkipMirror[] = "endpointslice.kubernetes.io/skip-mirror";
constexpr char kEndpointsManager[] = "endpoints.kubernetes.io/managed-by";
constexpr char kLeader[] = "control-plane.alpha.kubernetes.io/leader";
constexpr char kLastApplied[] =
    "kubectl.kubernetes.io/last-applied-configuration";
constexpr size_t kMaxAddresses = 1000;  // of a slice, as the API has it

bool HasSelector(const Json& service) {
  const Json& selector = Get(service, {"spec", "selector"});
  return selector.is_object() && !selector.empty();
}

bool IsMirrored(const EndpointMirrorFacts& facts) {
  if (facts.service == nullptr || IsTerminating(*facts.service) ||
      HasSelector(*facts.service) || facts.endpoints == nullptr ||
      IsTerminating(*facts.endpoints)) {
    return false;
  }
  const Json& endpoints = *facts.endpoints;
  return Label(endpoints, kSkipMirror) != "true" &&
         Label(endpoints, kEndpointsManager).empty() &&
         Annotation(endpoints, kLeader).empty();
}

// Slices to be, by family and ports; their endpoints by address.
struct Group {
  std::string family;
  Json ports;
  std::map<std::string, Json> endpoints;
};
using Groups = std::map<std::string, Group>;

std::string GroupKey(std::string_view family, const Json& ports) {
  return StrCat(family, " ", ports.dump());
}

void AddAddresses(const Json& addresses, const Json& ports, bool ready,
                  Groups* groups) {
  if (!addresses.is_array()) return;
  for (const Json& address : addresses) {
    std::string ip(Text(address, {"ip"}));
    absl::StatusOr<IpAddress> parsed = IpAddress::Parse(ip);
    if (!parsed.ok()) continue;
    std::string family(IpFamilyName(parsed->family()));
    Group& group = (*groups)[GroupKey(family, ports)];
    group.family = family;
    group.ports = ports;
    Json endpoint = {{"addresses", Json::array({ip})},
                     {"conditions", {{"ready", ready}}}};
    for (const char* field : {"hostname", "nodeName", "targetRef"}) {
      const Json& value = Get(address, {field});
      if (!value.is_null()) endpoint[field] = value;
    }
    // Twice in the lists: ready wins, as it is added last.
    group.endpoints[ip] = std::move(endpoint);
  }
}

Groups GroupsOf(const Json& endpoints) {
  Groups groups;
  const Json& subsets = Get(endpoints, {"subsets"});
  if (!subsets.is_array()) return groups;
  for (const char* list : {"notReadyAddresses", "addresses"}) {
    for (const Json& subset : subsets) {
      AddAddresses(Get(subset, {list}), NormalPorts(Get(subset, {"ports"})),
                   std::string_view(list) == "addresses", &groups);
    }
  }
  return groups;
}

Json MetadataOf(const Json& endpoints) {
  Json labels = Get(endpoints, {"metadata", "labels"});
  if (!labels.is_object()) labels = Json::object();
  labels[kServiceName] = Name(endpoints);
  labels[kSliceManager] = kManager;
  Json metadata = {
      {"namespace", Namespace(endpoints)},
      {"labels", std::move(labels)},
      {"ownerReferences",
       Json::array({ControllerReference(kube::Endpoints(), endpoints)})}};
  Json annotations = Get(endpoints, {"metadata", "annotations"});
  if (annotations.is_object()) annotations.erase(kLastApplied);
  if (annotations.is_object() && !annotations.empty()) {
    metadata["annotations"] = std::move(annotations);
  }
  return metadata;
}

// The slice as it is wanted, in the place of `before` (null: a new one).
void Emit(const Json& endpoints, const Group& group, Json content,
          const Object& before, Plan* plan) {
  Json wanted = before != nullptr ? *before : Json::object();
  Json metadata = MetadataOf(endpoints);
  if (before == nullptr) {
    metadata["generateName"] = StrCat(Name(endpoints), "-");
  } else if (!metadata.contains("annotations")) {
    wanted["metadata"].erase("annotations");
  }
  for (const auto& [field, value] : metadata.items()) {
    wanted["metadata"][field] = value;
  }
  wanted["addressType"] = group.family;
  wanted["endpoints"] = std::move(content);
  if (before == nullptr || NormalPorts(Get(wanted, {"ports"})) != group.ports) {
    wanted["ports"] = group.ports;
  }
  if (before == nullptr) {
    plan->writes.push_back(
        CreateOf(kube::EndpointSlices(), std::move(wanted)));
  } else if (wanted != *before) {
    plan->writes.push_back(
        UpdateOf(kube::EndpointSlices(), std::move(wanted)));
  }
}

void PlanGroup(const Json& endpoints, const Group& group,
               std::vector<Object>* old, Plan* plan) {
  Json content = Json::array();
  size_t left = group.endpoints.size();
  for (const auto& [ip, endpoint] : group.endpoints) {
    content.push_back(endpoint);
    if (--left > 0 && content.size() < kMaxAddresses) continue;
    Object before;
    if (!old->empty()) {
      before = std::move(old->back());
      old->pop_back();
    }
    Emit(endpoints, group, std::exchange(content, Json::array()), before,
         plan);
  }
}

}  // namespace

Plan PlanEndpointMirror(const EndpointMirrorFacts& facts) {
  Plan plan;
  std::map<std::string, std::vector<Object>> old;
  for (const Object& slice : facts.slices) {
    if (Label(*slice, kSliceManager) != kManager || IsTerminating(*slice)) {
      continue;
    }
    old[GroupKey(Text(*slice, {"addressType"}),
                 NormalPorts(Get(*slice, {"ports"})))]
        .push_back(slice);
  }
  if (IsMirrored(facts)) {
    for (const auto& [key, group] : GroupsOf(*facts.endpoints)) {
      PlanGroup(*facts.endpoints, group, &old[key], &plan);
    }
  }
  for (const auto& [key, slices] : old) {
    for (const Object& slice : slices) {
      // After what takes its place.
      plan.writes.push_back(
          DeleteOf(kube::EndpointSlices(), *slice, /*stage=*/1));
    }
  }
  return plan;
}

EndpointMirrorController::EndpointMirrorController(const Context& context)
    : context_(context),
      shell_(context, "endpoint-slice-mirroring-controller",
             [this](const std::string& key, const Shell::Answers&) {
               return Make(key);
             },
             /*parallel=*/4) {
  Informers& informers = *context.informers;
  // Only Services that have, or had, no selector: the others are the slice
  // controller's.
  informers.Of(kube::Services())
      .Subscribe([this](const Object& before, const Object& after) {
        for (const Object& service : {before, after}) {
          if (service != nullptr && !HasSelector(*service)) {
            return shell_.Add(kube::KeyOf(*service));
          }
        }
      });
  informers.Of(kube::Endpoints())
      .Subscribe([this](const Object& before, const Object& after) {
        for (const Object& endpoints : {before, after}) {
          if (endpoints != nullptr &&
              Label(*endpoints, kEndpointsManager).empty()) {
            return shell_.Add(kube::KeyOf(*endpoints));
          }
        }
      });
  informers.Of(kube::EndpointSlices())
      .Subscribe([this](const Object& before, const Object& after) {
        for (const Object& slice : {before, after}) {
          if (slice != nullptr && Label(*slice, kSliceManager) == kManager) {
            return shell_.Add(
                StrCat(Namespace(*slice), "/", Label(*slice, kServiceName)));
          }
        }
      });
}

Plan EndpointMirrorController::Make(const std::string& key) {
  Informers& informers = *context_.informers;
  return PlanEndpointMirror(
      {.service = informers.Of(kube::Services()).Get(key),
       .endpoints = informers.Of(kube::Endpoints()).Get(key),
       .slices = informers.Of(kube::EndpointSlices()).ByIndex("service", key)});
}

}  // namespace fairlead::controllers
