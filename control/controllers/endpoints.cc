// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/endpoints.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "control/controllers/endpoint_slice.h"
#include "userspace/base/strings.h"
#include "userspace/kube/control_resources.h"

namespace fairlead::controllers {
namespace {

constexpr char kSliceManager[] = "endpointslice.kubernetes.io/managed-by";
constexpr char kManagedBy[] = "endpoints.kubernetes.io/managed-by";
constexpr char kManager[] = "endpoint-controller";
constexpr char kOverCapacity[] = "endpoints.kubernetes.io/over-capacity";
constexpr size_t kMaxAddresses = 1000;
// Changes of slices are taken together: each writes the whole object.
constexpr absl::Duration kBatch = absl::Milliseconds(200);

struct Subset {
  Json ports;
  std::map<std::string, Json> ready, not_ready;  // by address
};

bool HasEndpoints(const Json& slice) {
  const Json& endpoints = Get(slice, {"endpoints"});
  return endpoints.is_array() && !endpoints.empty();
}

Json AddressOf(const Json& endpoint, const Json& ip) {
  Json address = {{"ip", ip}};
  for (const char* field : {"hostname", "nodeName", "targetRef"}) {
    const Json& value = Get(endpoint, {field});
    if (!value.is_null()) address[field] = value;
  }
  return address;
}

// Ports as the old kind has them: no empty names.
Json PortsOf(const Json& slice) {
  Json ports = Get(slice, {"ports"});
  if (!ports.is_array()) return Json::array();
  for (Json& port : ports) {
    if (Text(port, {"name"}).empty()) port.erase("name");
  }
  return ports;
}

Json Values(const std::map<std::string, Json>& addresses, size_t* left) {
  Json values = Json::array();
  for (const auto& [ip, address] : addresses) {
    if (*left == 0) break;
    --*left;
    values.push_back(address);
  }
  return values;
}

// Pods of the Service's first family only, as the old kind knows no other.
std::map<std::string, Subset> SubsetsOf(const EndpointsFacts& facts) {
  std::map<std::string, Subset> subsets;
  const Json& families = Get(*facts.service, {"spec", "ipFamilies"});
  for (const Object& slice : facts.slices) {
    if (families.is_array() && !families.empty() &&
        Get(*slice, {"addressType"}) != families[0]) {
      continue;
    }
    if (!HasEndpoints(*slice)) continue;
    Json ports = PortsOf(*slice);
    Subset& subset = subsets[ports.dump()];
    subset.ports = std::move(ports);
    for (const Json& endpoint : Get(*slice, {"endpoints"})) {
      const Json& ips = Get(endpoint, {"addresses"});
      if (!ips.is_array() || ips.empty()) continue;
      bool ready = Flag(endpoint, {"conditions", "ready"});
      // Terminating pods are in no list.
      if (!ready && Flag(endpoint, {"conditions", "terminating"})) continue;
      auto& list = ready ? subset.ready : subset.not_ready;
      list[ips[0].get<std::string>()] = AddressOf(endpoint, ips[0]);
    }
  }
  return subsets;
}

Json WantedSubsets(const EndpointsFacts& facts, bool* truncated) {
  Json result = Json::array();
  size_t left = kMaxAddresses, total = 0;
  for (const auto& [text, subset] : SubsetsOf(facts)) {
    total += subset.ready.size() + subset.not_ready.size();
    Json entry = Json::object();
    Json ready = Values(subset.ready, &left);
    Json not_ready = Values(subset.not_ready, &left);
    if (ready.empty() && not_ready.empty()) continue;
    if (!ready.empty()) entry["addresses"] = std::move(ready);
    if (!not_ready.empty()) entry["notReadyAddresses"] = std::move(not_ready);
    if (!subset.ports.empty()) entry["ports"] = subset.ports;
    result.push_back(std::move(entry));
  }
  *truncated = total > kMaxAddresses;
  return result;
}

// When the change happened that brought this about: the Service's making, and
// after that as the slices say, the earliest of them.
void SetTrigger(const EndpointsFacts& facts, Json& object) {
  std::string first;
  if (facts.endpoints == nullptr) {
    first = Text(*facts.service, {"metadata", "creationTimestamp"});
  }
  for (const Object& slice : facts.slices) {
    std::string_view at = Annotation(*slice, kTriggerTime);
    if (!at.empty() && (first.empty() || at < first)) first = at;
  }
  Json& metadata = object["metadata"];
  if (!first.empty()) {
    metadata["annotations"][kTriggerTime] = first;
  } else if (metadata.contains("annotations")) {
    metadata["annotations"].erase(kTriggerTime);
  }
}

}  // namespace

Plan PlanEndpoints(const EndpointsFacts& facts) {
  Plan plan;
  bool ours = facts.endpoints != nullptr &&
              Label(*facts.endpoints, kManagedBy) == kManager;
  if (facts.service == nullptr || IsTerminating(*facts.service) ||
      Text(*facts.service, {"spec", "type"}) == "ExternalName") {
    if (ours) {
      plan.writes.push_back(DeleteOf(kube::Endpoints(), *facts.endpoints));
    }
    return plan;
  }
  const Json& service = *facts.service;
  const Json& selector = Get(service, {"spec", "selector"});
  if (!selector.is_object() || selector.empty()) return plan;
  bool truncated = false;
  Json subsets = WantedSubsets(facts, &truncated);
  Json labels = Get(service, {"metadata", "labels"});
  if (!labels.is_object()) labels = Json::object();
  labels[kManagedBy] = kManager;
  if (Text(service, {"spec", "clusterIP"}) == "None") {
    labels["service.kubernetes.io/headless"] = "";
  }
  Json wanted = facts.endpoints != nullptr ? *facts.endpoints : Json::object();
  wanted["metadata"]["namespace"] = Namespace(service);
  wanted["metadata"]["name"] = Name(service);
  wanted["metadata"]["labels"] = labels;
  if (truncated) {
    wanted["metadata"]["annotations"][kOverCapacity] = "truncated";
  } else if (wanted["metadata"].contains("annotations")) {
    wanted["metadata"]["annotations"].erase(kOverCapacity);
  }
  if (subsets.empty()) {
    wanted.erase("subsets");
  } else {
    wanted["subsets"] = std::move(subsets);
  }
  if (facts.endpoints == nullptr) {
    SetTrigger(facts, wanted);
    plan.writes.push_back(CreateOf(kube::Endpoints(), std::move(wanted)));
  } else if (wanted != *facts.endpoints) {
    SetTrigger(facts, wanted);
    plan.writes.push_back(UpdateOf(kube::Endpoints(), std::move(wanted)));
  }
  return plan;
}

EndpointsController::EndpointsController(const Context& context)
    : context_(context),
      // Few at a time: nobody waits for this copy.
      shell_(context, "endpoint-controller",
             [this](const std::string& key, const Shell::Answers&) {
               return Make(key);
             },
             /*parallel=*/4) {
  Informers& informers = *context.informers;
  informers.Of(kube::Services())
      .Subscribe([this](const Object& before, const Object& after) {
        shell_.Add(kube::KeyOf(after != nullptr ? *after : *before));
      });
  informers.Of(kube::Endpoints())
      .Subscribe([this](const Object& before, const Object& after) {
        const Json& object = after != nullptr ? *after : *before;
        if (Label(object, kManagedBy) == kManager) {
          shell_.AddChanged(kube::KeyOf(object), after);
        }
      });
  informers.Of(kube::EndpointSlices())
      .Subscribe([this](const Object& before, const Object& after) {
        const Json& slice = after != nullptr ? *after : *before;
        // Without endpoints it is as if it were not there.
        const bool tells = (before != nullptr && HasEndpoints(*before)) ||
                           (after != nullptr && HasEndpoints(*after));
        if (tells && !Label(slice, kSliceManager).empty() &&
            !Label(slice, kServiceName).empty()) {
          shell_.AddAfter(
              StrCat(Namespace(slice), "/", Label(slice, kServiceName)),
              kBatch);
        }
      });
}

Plan EndpointsController::Make(const std::string& key) {
  Informers& informers = *context_.informers;
  EndpointsFacts facts;
  facts.service = informers.Of(kube::Services()).Get(key);
  facts.endpoints = informers.Of(kube::Endpoints()).Get(key);
  if (facts.service != nullptr) {
    for (Object& slice :
         informers.Of(kube::EndpointSlices())
             .ByIndex("owner", Uid(*facts.service))) {
      facts.slices.push_back(std::move(slice));
    }
  }
  return PlanEndpoints(facts);
}

}  // namespace fairlead::controllers
