// SPDX-License-Identifier: Apache-2.0
#include "control/scheduler/snapshot.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "control/api/quantity.h"
#include "control/controllers/object.h"
#include "userspace/base/strings.h"

namespace fairlead::scheduler {
namespace {

using controllers::ControllerUid;
using controllers::Get;
using controllers::Name;
using controllers::Text;
using controllers::Uid;

Amounts AmountsOf(const Json& list) {
  Amounts amounts;
  if (!list.is_object()) return amounts;
  for (const auto& [name, value] : list.items()) {
    auto quantity = api::Quantity::FromJson(value);
    if (!quantity.ok()) continue;
    amounts[name] = name == "cpu" ? quantity->milli() : quantity->value();
  }
  return amounts;
}

void Add(Amounts& to, const Amounts& amounts, int64_t sign = 1) {
  for (const auto& [name, amount] : amounts) to[name] += sign * amount;
}

void Raise(Amounts& to, const Amounts& amounts) {
  for (const auto& [name, amount] : amounts) {
    to[name] = std::max(to[name], amount);
  }
}

// Init containers run one after the other before the rest; those that are
// restarted always (sidecars) stay beside what follows.
Amounts RequestsOf(const Json& pod) {
  Amounts running, sidecars, peak;
  const Json& inits = Get(pod, {"spec", "initContainers"});
  if (inits.is_array()) {
    for (const Json& container : inits) {
      Amounts step = AmountsOf(Get(container, {"resources", "requests"}));
      if (Text(container, {"restartPolicy"}) == "Always") {
        Add(sidecars, step);
        Raise(peak, sidecars);
      } else {
        Add(step, sidecars);
        Raise(peak, step);
      }
    }
  }
  const Json& containers = Get(pod, {"spec", "containers"});
  if (containers.is_array()) {
    for (const Json& container : containers) {
      Add(running, AmountsOf(Get(container, {"resources", "requests"})));
    }
  }
  Add(running, sidecars);
  Raise(running, peak);
  Add(running, AmountsOf(Get(pod, {"spec", "overhead"})));
  running["pods"] = 1;
  return running;
}

void TakeUp(const PodView& pod, NodeView* node) {
  Add(node->requested, pod.requests);
  ++node->pods_by_owner[pod.owner];
  node->host_ports.insert(node->host_ports.end(), pod.host_ports.begin(),
                          pod.host_ports.end());
}

}  // namespace

PodView PodViewOf(const Object& pod) {
  return {.pod = pod,
          .uid = std::string(Uid(*pod)),
          .owner = std::string(ControllerUid(*pod)),
          .requests = RequestsOf(*pod),
          .host_ports = kube::HostPortsOf(*pod)};
}

NodeView* Cache::Edit(const std::string& node) {
  auto it = nodes_.find(node);
  if (it == nodes_.end()) return nullptr;
  auto copy = std::make_shared<NodeView>(*it->second);
  NodeView* raw = copy.get();
  it->second = std::move(copy);
  return raw;
}

void Cache::SetNode(const Object& node) {
  std::string name(Name(*node));
  auto view = std::make_shared<NodeView>();
  view->node = node;
  view->name = name;
  const Json& allocatable = Get(*node, {"status", "allocatable"});
  view->allocatable = AmountsOf(
      allocatable.is_object() ? allocatable
                              : Get(*node, {"status", "capacity"}));
  if (auto it = nodes_.find(name); it != nodes_.end()) {
    view->requested = it->second->requested;
    view->pods_by_owner = it->second->pods_by_owner;
    view->host_ports = it->second->host_ports;
  } else {
    // Pods may have been seen before their node.
    for (const auto& [uid, placement] : pods_) {
      if (placement.node != name) continue;
      TakeUp(placement.pod, view.get());
    }
  }
  nodes_[name] = std::move(view);
}

void Cache::RemoveNode(const std::string& name) { nodes_.erase(name); }

void Cache::Place(Placement placement) {
  if (NodeView* node = Edit(placement.node)) {
    TakeUp(placement.pod, node);
  }
  std::string uid = placement.pod.uid;
  placement.pod.pod = nullptr;  // only what it takes up counts from here on
  pods_[uid] = std::move(placement);
}

void Cache::RemovePod(const std::string& uid) {
  auto it = pods_.find(uid);
  if (it == pods_.end()) return;
  const Placement& placement = it->second;
  if (NodeView* node = Edit(placement.node)) {
    Add(node->requested, placement.pod.requests, -1);
    auto count = node->pods_by_owner.find(placement.pod.owner);
    if (count != node->pods_by_owner.end() && --count->second <= 0) {
      node->pods_by_owner.erase(count);
    }
    for (const kube::HostPort& port : placement.pod.host_ports) {
      const auto at = std::find(node->host_ports.begin(),
                                node->host_ports.end(), port);
      if (at != node->host_ports.end()) node->host_ports.erase(at);
    }
  }
  pods_.erase(it);
}

void Cache::SetPlaced(const Object& pod) {
  std::string uid(Uid(*pod));
  std::string node(Text(*pod, {"spec", "nodeName"}));
  auto it = pods_.find(uid);
  if (it != pods_.end() && it->second.node == node) {
    // Requests and owner of a pod seldom change; status does all the time.
    PodView view = PodViewOf(pod);
    if (view.requests == it->second.pod.requests &&
        view.owner == it->second.pod.owner &&
        view.host_ports == it->second.pod.host_ports) {
      it->second.assumed = false;
      return;
    }
  }
  RemovePod(uid);
  Place({.pod = PodViewOf(pod), .node = std::move(node)});
}

void Cache::Assume(const PodView& pod, const std::string& node) {
  RemovePod(pod.uid);
  Place({.pod = pod, .node = node, .assumed = true});
}

void Cache::Forget(const std::string& uid) {
  if (IsAssumed(uid)) RemovePod(uid);
}

bool Cache::IsAssumed(const std::string& uid) const {
  auto it = pods_.find(uid);
  return it != pods_.end() && it->second.assumed;
}

Snapshot Cache::TakeSnapshot() const {
  Snapshot snapshot;
  snapshot.reserve(nodes_.size());
  for (const auto& [name, node] : nodes_) snapshot.push_back(node);
  return snapshot;
}

}  // namespace fairlead::scheduler
