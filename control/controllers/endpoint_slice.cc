// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/endpoint_slice.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "userspace/base/ip_address.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

constexpr char kManagedBy[] = "endpointslice.kubernetes.io/managed-by";
constexpr char kManager[] = "endpointslice-controller.k8s.io";
constexpr char kHeadless[] = "service.kubernetes.io/headless";
constexpr char kZone[] = "topology.kubernetes.io/zone";

// --- from pods to endpoints

std::string_view PodAddress(const Json& pod, std::string_view family) {
  auto fits = [&](std::string_view ip) {
    auto address = IpAddress::Parse(ip);
    return address.ok() && IpFamilyName(address->family()) == family;
  };
  const Json& ips = Get(pod, {"status", "podIPs"});
  if (ips.is_array()) {
    for (const Json& ip : ips) {
      if (fits(Text(ip, {"ip"}))) return Text(ip, {"ip"});
    }
  }
  std::string_view only = Text(pod, {"status", "podIP"});
  return fits(only) ? only : std::string_view();
}

// 0 when the pod has no port of that name.
int64_t NamedPort(const Json& pod, std::string_view name,
                  std::string_view protocol) {
  for (const char* list : {"containers", "initContainers"}) {
    const Json& containers = Get(pod, {"spec", list});
    if (!containers.is_array()) continue;
    for (const Json& container : containers) {
      const Json& ports = Get(container, {"ports"});
      if (!ports.is_array()) continue;
      for (const Json& port : ports) {
        std::string_view p = Text(port, {"protocol"});
        if (Text(port, {"name"}) == name &&
            (p.empty() ? "TCP" : p) == protocol) {
          return Number(port, {"containerPort"});
        }
      }
    }
  }
  return 0;
}

// The service's ports as this pod has them; named ones may differ.
Json PortsFor(const Json& service, const Json& pod) {
  Json result = Json::array();
  const Json& ports = Get(service, {"spec", "ports"});
  if (!ports.is_array()) return result;
  for (const Json& port : ports) {
    std::string_view protocol = Text(port, {"protocol"});
    if (protocol.empty()) protocol = "TCP";
    const Json& target = Get(port, {"targetPort"});
    int64_t number = Number(port, {"port"});
    if (target.is_string()) {
      number = NamedPort(pod, target.get_ref<const std::string&>(), protocol);
    } else if (target.is_number() && target.get<int64_t>() != 0) {
      number = target.get<int64_t>();
    }
    if (number == 0) continue;
    Json entry = {{"name", Text(port, {"name"})},
                  {"protocol", protocol},
                  {"port", number}};
    std::string_view app = Text(port, {"appProtocol"});
    if (!app.empty()) entry["appProtocol"] = app;
    result.push_back(std::move(entry));
  }
  return result;
}

Json EndpointFor(const EndpointSliceFacts& facts, const Json& pod,
                 std::string_view address) {
  const Json& service = *facts.service;
  bool serving = IsPodReady(pod);
  bool terminating = IsTerminating(pod);
  bool ready = Flag(service, {"spec", "publishNotReadyAddresses"}) ||
               (serving && !terminating);
  Json endpoint = {{"addresses", Json::array({address})},
                   {"conditions",
                    {{"ready", ready},
                     {"serving", serving},
                     {"terminating", terminating}}},
                   {"targetRef",
                    {{"kind", "Pod"},
                     {"namespace", Namespace(pod)},
                     {"name", Name(pod)},
                     {"uid", Uid(pod)}}}};
  std::string_view node = Text(pod, {"spec", "nodeName"});
  if (!node.empty()) {
    endpoint["nodeName"] = node;
    auto it = facts.nodes.find(std::string(node));
    if (it != facts.nodes.end() && it->second != nullptr &&
        !Label(*it->second, kZone).empty()) {
      endpoint["zone"] = Label(*it->second, kZone);
    }
  }
  std::string_view hostname = Text(pod, {"spec", "hostname"});
  if (!hostname.empty() &&
      Text(pod, {"spec", "subdomain"}) == Name(service)) {
    endpoint["hostname"] = hostname;
  }
  return endpoint;
}

// What makes an endpoint the same one after a change.
std::string IdentityOf(const Json& endpoint) {
  const Json& addresses = Get(endpoint, {"addresses"});
  std::string address;
  if (addresses.is_array() && !addresses.empty()) address = addresses[0].dump();
  return StrCat(address, "|", Text(endpoint, {"targetRef", "uid"}));
}

// Endpoints of one address family that share one set of ports.
struct Group {
  Json ports;
  std::map<std::string, Json> endpoints;  // by identity
};
using Groups = std::map<std::string, Group>;  // by the ports' text

Groups GroupsFor(const EndpointSliceFacts& facts, std::string_view family) {
  Groups groups;
  const Json& selector = Get(*facts.service, {"spec", "selector"});
  for (const Object& pod : facts.pods) {
    if (IsPodTerminated(*pod) ||
        !MapSelects(selector, Get(*pod, {"metadata", "labels"}))) {
      continue;
    }
    std::string_view address = PodAddress(*pod, family);
    if (address.empty()) continue;
    Json ports = PortsFor(*facts.service, *pod);
    Group& group = groups[ports.dump()];
    group.ports = std::move(ports);
    Json endpoint = EndpointFor(facts, *pod, address);
    std::string identity = IdentityOf(endpoint);
    group.endpoints[identity] = std::move(endpoint);
  }
  return groups;
}

// --- slices

struct Slice {
  Object before;  // null: to be made
  Json ports;
  Json endpoints = Json::array();
  bool touched = false;
  size_t size() const { return endpoints.size(); }
};

class SlicePlanner {
 public:
  explicit SlicePlanner(const EndpointSliceFacts& facts)
      : facts_(facts), service_(*facts.service) {
    labels_ = {{kServiceName, Name(service_)}, {kManagedBy, kManager}};
    const Json& own = Get(service_, {"metadata", "labels"});
    if (own.is_object()) {
      for (const auto& [key, value] : own.items()) {
        if (key != kHeadless && !labels_.contains(key)) labels_[key] = value;
      }
    }
    if (Text(service_, {"spec", "clusterIP"}) == "None") {
      labels_[kHeadless] = "";
    }
  }

  Plan Make() {
    std::set<std::string> families = Families();
    for (const Object& slice : facts_.slices) {
      if (Label(*slice, kManagedBy) != kManager || IsTerminating(*slice)) {
        continue;
      }
      std::string family(Text(*slice, {"addressType"}));
      if (families.contains(family)) {
        by_family_[family].push_back(slice);
      } else {
        plan_.writes.push_back(DeleteOf(kube::EndpointSlices(), *slice));
      }
    }
    for (const std::string& family : families) PlanFamily(family);
    return std::move(plan_);
  }

 private:
  std::set<std::string> Families() const {
    std::set<std::string> families;
    if (Text(service_, {"spec", "type"}) == "ExternalName" ||
        IsTerminating(service_)) {
      return families;
    }
    const Json& wanted = Get(service_, {"spec", "ipFamilies"});
    if (wanted.is_array()) {
      for (const Json& family : wanted) {
        if (family.is_string()) families.insert(family.get<std::string>());
      }
    }
    if (families.empty()) families.insert("IPv4");
    return families;
  }

  void PlanFamily(const std::string& family) {
    Groups groups = GroupsFor(facts_, family);
    std::vector<Slice> slices;
    std::map<std::string, std::vector<size_t>> by_ports;
    for (const Object& before : by_family_[family]) {
      Json ports = NormalPorts(Get(*before, {"ports"}));
      by_ports[ports.dump()].push_back(slices.size());
      slices.push_back({.before = before, .ports = std::move(ports)});
    }
    for (auto& [key, group] : groups) {
      Pack(group, by_ports[key], slices);
    }
    // A service without endpoints still has a slice, which says so.
    bool any = std::any_of(slices.begin(), slices.end(),
                           [](const Slice& s) { return s.size() > 0; });
    if (!any) {
      if (slices.empty()) slices.push_back({.ports = Json::array()});
      slices[0].ports = Json::array();
    }
    Reuse(slices);
    for (size_t i = 0; i < slices.size(); ++i) {
      Emit(family, slices[i], !any && i == 0);
    }
  }

  void Pack(Group& group, const std::vector<size_t>& mine,
            std::vector<Slice>& slices) {
    size_t max = static_cast<size_t>(facts_.max_endpoints);
    for (size_t i : mine) {
      Slice& slice = slices[i];
      const Json& before = Get(*slice.before, {"endpoints"});
      if (!before.is_array()) continue;
      for (const Json& endpoint : before) {
        auto it = group.endpoints.find(IdentityOf(endpoint));
        if (it == group.endpoints.end()) {
          slice.touched = true;
          continue;
        }
        slice.touched |= it->second != endpoint;
        slice.endpoints.push_back(std::move(it->second));
        group.endpoints.erase(it);
      }
    }
    // Into slices that are written anyway, then into one that has room for
    // all of the rest, then into new ones.
    Fill(group, mine, slices, [](const Slice& s) { return s.touched; });
    if (!group.endpoints.empty() && group.endpoints.size() < max) {
      size_t need = group.endpoints.size();
      size_t best = slices.size();
      for (size_t i : mine) {
        bool fits = slices[i].size() + need <= max;
        if (fits && (best == slices.size() ||
                     slices[i].size() > slices[best].size())) {
          best = i;
        }
      }
      if (best < slices.size()) Fill(group, {best}, slices, {});
    }
    while (!group.endpoints.empty()) {
      slices.push_back({.ports = group.ports, .touched = true});
      Fill(group, {slices.size() - 1}, slices, {});
    }
  }

  void Fill(Group& group, const std::vector<size_t>& where,
            std::vector<Slice>& slices,
            const std::function<bool(const Slice&)>& usable) {
    for (size_t i : where) {
      if (usable && !usable(slices[i])) continue;
      while (!group.endpoints.empty() &&
             slices[i].size() < static_cast<size_t>(facts_.max_endpoints)) {
        slices[i].endpoints.push_back(
            std::move(group.endpoints.begin()->second));
        group.endpoints.erase(group.endpoints.begin());
        slices[i].touched = true;
      }
    }
  }

  // A slice to be made takes the place of one that would be deleted: one
  // write less, and readers see a change instead of a gap.
  static void Reuse(std::vector<Slice>& slices) {
    for (Slice& fresh : slices) {
      if (fresh.before != nullptr || fresh.size() == 0) continue;
      for (Slice& empty : slices) {
        if (empty.before == nullptr || empty.size() > 0) continue;
        fresh.before = std::exchange(empty.before, nullptr);
        break;
      }
    }
    std::erase_if(slices, [](const Slice& s) {
      return s.before == nullptr && s.size() == 0 && !s.ports.empty();
    });
  }

  void Emit(const std::string& family, const Slice& slice, bool placeholder) {
    if (slice.before == nullptr) {
      if (slice.size() == 0 && !placeholder) return;
      Json object = {
          {"metadata",
           {{"namespace", Namespace(service_)},
            {"generateName", StrCat(Name(service_), "-")},
            {"ownerReferences",
             Json::array({ControllerReference(kube::Services(), service_)})}}},
          {"addressType", family}};
      Fit(slice, object);
      if (placeholder) {
        // Not even empty ones: nobody is the owner of these fields then.
        object.erase("endpoints");
        object.erase("ports");
      }
      plan_.writes.push_back(
          CreateOf(kube::EndpointSlices(), std::move(object)));
      return;
    }
    const Json& before = *slice.before;
    if (slice.size() == 0 && !placeholder) {
      // After the writes that take its endpoints over.
      plan_.writes.push_back(DeleteOf(kube::EndpointSlices(), before, 1));
      return;
    }
    const Json& endpoints = Get(before, {"endpoints"});
    bool same =
        NormalPorts(Get(before, {"ports"})) == slice.ports &&
        (endpoints.is_array() ? endpoints : Json::array()) ==
            slice.endpoints &&
        Get(before, {"metadata", "labels"}) == labels_;
    if (same) return;
    Json object = before;
    Fit(slice, object);
    plan_.writes.push_back(UpdateOf(kube::EndpointSlices(), object));
  }

  void Fit(const Slice& slice, Json& object) const {
    Json& meta = object["metadata"];
    meta["labels"] = labels_;
    if (facts_.trigger) {
      meta["annotations"][kTriggerTime] =
          absl::FormatTime("%Y-%m-%dT%H:%M:%E9SZ", *facts_.trigger,
                           absl::UTCTimeZone());
    } else if (meta.contains("annotations")) {
      meta["annotations"].erase(kTriggerTime);
    }
    object["endpoints"] = slice.endpoints;
    object["ports"] = slice.ports;
  }

  const EndpointSliceFacts& facts_;
  const Json& service_;
  Json labels_;
  std::map<std::string, std::vector<Object>> by_family_;
  Plan plan_;
};

// When the object was made. Its own time has whole seconds only, so `now` for
// one that has just come.
absl::Time MadeAt(const Json& object, absl::Time now) {
  absl::Time made =
      TimeOf(Text(object, {"metadata", "creationTimestamp"})).value_or(now);
  return now - made < absl::Seconds(2) ? now : made;
}

bool SelectsPods(const Json& service) {
  const Json& selector = Get(service, {"spec", "selector"});
  return selector.is_object() && !selector.empty();
}

}  // namespace

Json NormalPorts(const Json& ports) {
  Json result = Json::array();
  if (!ports.is_array()) return result;
  for (const Json& port : ports) {
    std::string_view protocol = Text(port, {"protocol"});
    Json entry = {{"name", Text(port, {"name"})},
                  {"protocol", protocol.empty() ? "TCP" : protocol},
                  {"port", Number(port, {"port"})}};
    std::string_view app = Text(port, {"appProtocol"});
    if (!app.empty()) entry["appProtocol"] = app;
    result.push_back(std::move(entry));
  }
  return result;
}

bool ReadinessChanged(const Object& before, const Object& after) {
  auto since = [](const Object& pod) {
    const Json* ready = pod == nullptr ? nullptr : Condition(*pod, "Ready");
    return ready == nullptr ? std::string_view()
                            : Text(*ready, {"lastTransitionTime"});
  };
  return since(before) != since(after);
}

Plan PlanEndpointSlices(const EndpointSliceFacts& facts) {
  // Without a selector, whoever made the service makes its slices.
  if (!SelectsPods(*facts.service)) return {};
  return SlicePlanner(facts).Make();
}

EndpointSliceController::EndpointSliceController(const Context& context)
    : context_(context),
      shell_(context, "endpointslice-controller",
             [this](const std::string& key, const Shell::Answers&) {
               Object service =
                   context_.informers->Of(kube::Services()).Get(key);
               if (service == nullptr) {
                 triggers_.erase(key);
                 return Plan();
               }
               return PlanEndpointSlices(Facts(key, service));
             }) {
  Informers& informers = *context.informers;
  informers.Of(kube::Services())
      .Subscribe([this](const Object& before, const Object& after) {
        std::optional<absl::Time> trigger;
        if (before == nullptr) {
          trigger = MadeAt(*after, context_.clock->Now());
        }
        Add(after != nullptr ? after : before, trigger);
      });
  informers.Of(kube::Pods())
      .Subscribe([this](const Object& before, const Object& after) {
        PodChanged(before, after);
      });
  informers.Of(kube::EndpointSlices())
      .Subscribe([this](const Object& before, const Object& after) {
        SliceChanged(before, after);
      });
  informers.Of(kube::Nodes())
      .Subscribe([this](const Object& before, const Object& after) {
        NodeChanged(before, after);
      });
}

EndpointSliceFacts EndpointSliceController::Facts(const std::string& key,
                                                  const Object& service) {
  EndpointSliceFacts facts{.service = service};
  if (auto it = triggers_.find(key); it != triggers_.end()) {
    facts.trigger = it->second;
    triggers_.erase(it);
  }
  Informers& informers = *context_.informers;
  std::string_view ns = Namespace(*service);
  for (Object& pod :
       informers.PodsWith(ns, Get(*service, {"spec", "selector"}))) {
    std::string node(Text(*pod, {"spec", "nodeName"}));
    if (!node.empty()) {
      facts.nodes[node] = informers.Of(kube::Nodes()).Get(node);
    }
    facts.pods.push_back(std::move(pod));
  }
  facts.slices = informers.Of(kube::EndpointSlices()).ByIndex("service", key);
  return facts;
}

void EndpointSliceController::Add(const Object& service,
                                  std::optional<absl::Time> trigger) {
  std::string key = kube::KeyOf(*service);
  if (trigger.has_value()) triggers_.try_emplace(key, *trigger);
  shell_.Add(std::move(key));
}

void EndpointSliceController::PodChanged(const Object& before,
                                         const Object& after) {
  Informers& informers = *context_.informers;
  if (before != nullptr) {
    for (const Object& service : informers.ServicesOf(*before)) {
      Add(service, std::nullopt);
    }
  }
  if (after == nullptr) return;
  std::optional<absl::Time> trigger;
  if (ReadinessChanged(before, after)) trigger = context_.clock->Now();
  // Mostly the same ones: to add a key twice is to add it.
  for (const Object& service : informers.ServicesOf(*after)) {
    Add(service, trigger);
  }
}

// Somebody else touched a slice of ours.
void EndpointSliceController::SliceChanged(const Object& before,
                                           const Object& after) {
  const Json& slice = after != nullptr ? *after : *before;
  std::string_view service = Label(slice, kServiceName);
  if (service.empty() || Label(slice, kManagedBy) != kManager) return;
  shell_.AddChanged(StrCat(Namespace(slice), "/", service), after);
}

void EndpointSliceController::NodeChanged(const Object& before,
                                          const Object& after) {
  if (after == nullptr) return;
  if (before != nullptr && Label(*before, kZone) == Label(*after, kZone)) {
    return;
  }
  for (const Object& pod :
       context_.informers->Of(kube::Pods()).ByIndex("node", Name(*after))) {
    PodChanged(pod, pod);
  }
}

}  // namespace fairlead::controllers
