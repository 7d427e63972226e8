// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/node_lifecycle.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "control/api/disruption_target.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

constexpr char kNotReady[] = "node.kubernetes.io/not-ready";
constexpr char kUnreachable[] = "node.kubernetes.io/unreachable";
constexpr char kLeaseNamespace[] = "kube-node-lease";
// The key by which the clock is looked at regularly; no node has such a name.
constexpr char kBreath[] = "/";
// What admission gives to every pod for these two taints.
constexpr int64_t kDefaultTolerationSeconds = 300;

struct ConditionTaint {
  const char* condition;
  const char* taint;
};
constexpr ConditionTaint kPressure[] = {
    {"MemoryPressure", "node.kubernetes.io/memory-pressure"},
    {"DiskPressure", "node.kubernetes.io/disk-pressure"},
    {"PIDPressure", "node.kubernetes.io/pid-pressure"},
    {"NetworkUnavailable", "node.kubernetes.io/network-unavailable"},
};

std::string_view ReadyStatus(const Json& node) {
  const Json* ready = Condition(node, "Ready");
  return ready == nullptr ? "Unknown" : Text(*ready, {"status"});
}

// The node with its kubelet's conditions unknown; nullopt if they are.
std::optional<Json> WithUnknownConditions(const Json& node, absl::Time now) {
  std::string stamp = Timestamp(now);
  Json updated = node;
  Json conditions = Get(node, {"status", "conditions"});
  if (!conditions.is_array()) conditions = Json::array();
  bool changed = false;
  for (const char* type :
       {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"}) {
    auto it = std::find_if(
        conditions.begin(), conditions.end(),
        [&](const Json& c) { return Text(c, {"type"}) == type; });
    if (it == conditions.end()) {
      conditions.push_back({{"type", type},
                            {"status", "Unknown"},
                            {"reason", "NodeStatusNeverUpdated"},
                            {"message", "Kubelet never posted node status."},
                            {"lastHeartbeatTime",
                             Get(node, {"metadata", "creationTimestamp"})},
                            {"lastTransitionTime", stamp}});
      changed = true;
    } else if (Text(*it, {"status"}) != "Unknown") {
      (*it)["status"] = "Unknown";
      (*it)["reason"] = "NodeStatusUnknown";
      (*it)["message"] = "Kubelet stopped posting node status.";
      (*it)["lastTransitionTime"] = stamp;
      changed = true;
    }
  }
  if (!changed) return std::nullopt;
  updated["status"]["conditions"] = std::move(conditions);
  return updated;
}

std::string TaintId(const Json& taint) {
  return StrCat(Text(taint, {"key"}), ":", Text(taint, {"effect"}));
}

// Exactly the taints that the node's conditions call for, with those that
// others set left alone.
Json TaintsFor(const Json& node, absl::Time now) {
  Json wanted = Json::array();
  auto want = [&](const char* key, const char* effect) {
    wanted.push_back({{"key", key}, {"effect", effect}});
  };
  std::string_view ready = ReadyStatus(node);
  if (ready == "False") {
    want(kNotReady, "NoSchedule");
    want(kNotReady, "NoExecute");
  } else if (ready == "Unknown") {
    // A node that never said anything is new, not lost.
    const char* key =
        Condition(node, "Ready") == nullptr ? kNotReady : kUnreachable;
    want(key, "NoSchedule");
    if (key == kUnreachable) want(key, "NoExecute");
  }
  std::vector<std::string_view> ours = {kNotReady, kUnreachable,
                                        "node.kubernetes.io/unschedulable"};
  for (const ConditionTaint& pressure : kPressure) {
    ours.push_back(pressure.taint);
    if (IsConditionTrue(node, pressure.condition)) {
      want(pressure.taint, "NoSchedule");
    }
  }
  if (Flag(node, {"spec", "unschedulable"})) {
    want("node.kubernetes.io/unschedulable", "NoSchedule");
  }
  Json result = Json::array();
  const Json& before = Get(node, {"spec", "taints"});
  for (const Json& taint : before.is_array() ? before : result) {
    bool managed = std::find(ours.begin(), ours.end(), Text(taint, {"key"})) !=
                   ours.end();
    auto it = std::find_if(wanted.begin(), wanted.end(), [&](const Json& w) {
      return TaintId(w) == TaintId(taint);
    });
    if (managed && it == wanted.end()) continue;
    if (it != wanted.end()) wanted.erase(it);
    result.push_back(taint);
  }
  for (Json& taint : wanted) {
    taint["timeAdded"] = Timestamp(now);
    result.push_back(std::move(taint));
  }
  return result;
}

// When the pod has to go for these taints; InfiniteFuture: it may stay.
absl::Time EvictionTime(const Json& taints, const Json& pod,
                        const NodeLifecycleOptions& options, absl::Time now) {
  absl::Time due = absl::InfiniteFuture();
  for (const Json& taint : taints) {
    if (Text(taint, {"effect"}) != "NoExecute") continue;
    const Json* toleration =
        FindToleration(Get(pod, {"spec", "tolerations"}), taint);
    absl::Time since = TimeOf(Text(taint, {"timeAdded"})).value_or(now);
    if (toleration == nullptr) return now;
    const Json& seconds = Get(*toleration, {"tolerationSeconds"});
    if (!seconds.is_number()) continue;
    absl::Duration stay = absl::Seconds(seconds.get<int64_t>());
    if (options.eviction_timeout &&
        seconds.get<int64_t>() == kDefaultTolerationSeconds) {
      stay = *options.eviction_timeout;
    }
    due = std::min(due, since + stay);
  }
  return due;
}

// Keeps Services away from pods that nobody watches over any more.
void PlanNotReady(const Json& pod, absl::Time now, Plan* plan) {
  if (!IsPodReady(pod)) return;
  Json updated = pod;
  for (Json& condition : updated["status"]["conditions"]) {
    if (Text(condition, {"type"}) != "Ready") continue;
    condition["status"] = "False";
    condition["lastTransitionTime"] = Timestamp(now);
    condition["reason"] = "NodeNotReady";
  }
  plan->writes.push_back(StatusOf(kube::Pods(), updated));
  plan->announcements.push_back(Announce(kube::Pods(), pod,
                                         kube::EventType::kWarning,
                                         "NodeNotReady", "Node is not ready"));
}

void PlanEvictions(const NodeFacts& facts, const Json& taints,
                   const NodeLifecycleOptions& options, absl::Time now,
                   Plan* plan) {
  bool lost = ReadyStatus(*facts.node) == "Unknown";
  for (const Object& pod : facts.pods) {
    if (IsTerminating(*pod)) {
      if (!lost) continue;
      // Its kubelet would have ended it by now.
      absl::Time due =
          TimeOf(Text(*pod, {"metadata", "deletionTimestamp"})).value_or(now);
      if (due <= now) {
        plan->writes.push_back(ForceDeleteOf(kube::Pods(), *pod));
      } else {
        plan->again = std::min(plan->again, due - now);
      }
      continue;
    }
    if (IsPodTerminated(*pod)) continue;
    // It is told to be not ready by this very plan.
    if (lost && IsPodReady(*pod)) continue;
    absl::Time due = EvictionTime(taints, *pod, options, now);
    if (due <= now) {
      if (!api::IsDisruptionTarget(*pod)) {
        Json marked = *pod;
        api::SetDisruptionTarget(
            marked, "DeletionByTaintManager",
            "Taint manager: deleting due to NoExecute taint", Timestamp(now));
        plan->writes.push_back(StatusOf(kube::Pods(), std::move(marked)));
      }
      Write write = DeleteOf(kube::Pods(), *pod, 1);
      write.announce =
          Announce(kube::Pods(), *pod, kube::EventType::kNormal,
                   "TaintManagerEviction",
                   StrCat("Marking for deletion Pod ", Namespace(*pod), "/",
                          Name(*pod)));
      plan->writes.push_back(std::move(write));
    } else if (due < absl::InfiniteFuture()) {
      plan->again = std::min(plan->again, due - now);
    }
  }
}

}  // namespace

Plan PlanNodeLifecycle(const NodeFacts& facts,
                       const NodeLifecycleOptions& options, absl::Time now) {
  const Json& node = *facts.node;
  Plan plan;
  if (facts.is_new) {
    plan.announcements.push_back(
        Announce(kube::Nodes(), node, kube::EventType::kNormal,
                 "RegisteredNode",
                 StrCat("Node ", Name(node), " event: Registered Node ",
                        Name(node), " in Controller")));
  }
  if (facts.silent_for < options.grace_period) {
    plan.again = options.grace_period - facts.silent_for;
  } else if (auto updated = WithUnknownConditions(node, now)) {
    plan.writes.push_back(StatusOf(kube::Nodes(), *std::move(updated)));
    plan.announcements.push_back(
        Announce(kube::Nodes(), node, kube::EventType::kNormal, "NodeNotReady",
                 StrCat("Node ", Name(node), " status is now: NodeNotReady")));
    for (const Object& pod : facts.pods) PlanNotReady(*pod, now, &plan);
    // The rest follows from the new status.
    return plan;
  }
  if (ReadyStatus(node) == "Unknown" &&
      facts.silent_for >= options.grace_period) {
    for (const Object& pod : facts.pods) PlanNotReady(*pod, now, &plan);
  }
  Json taints = TaintsFor(node, now);
  const Json& before = Get(node, {"spec", "taints"});
  if ((before.is_array() ? before : Json::array()) != taints) {
    plan.writes.push_back(
        PatchOf(kube::Nodes(), node,
                {{"spec", {{"taints", taints.empty() ? Json() : taints}}}}));
  }
  PlanEvictions(facts, taints, options, now, &plan);
  return plan;
}

void Heartbeats::Breathe(absl::Duration now) {
  absl::Duration passed = now - breathed_.value_or(now);
  breathed_ = now;
  // One breath may be late without anything having been missed.
  if (passed <= 2 * period_) return;
  for (auto& [node, heartbeat] : nodes_) heartbeat.heard += passed;
}

void Heartbeats::Renewed(const std::string& node, std::string_view stamp,
                         absl::Duration now) {
  Hear(node, &Heartbeat::renewed, stamp, now);
}

void Heartbeats::Posted(const std::string& node, std::string_view stamp,
                        absl::Duration now) {
  Hear(node, &Heartbeat::posted, stamp, now);
}

void Heartbeats::Hear(const std::string& node, std::string Heartbeat::*which,
                      std::string_view stamp, absl::Duration now) {
  auto [it, added] = nodes_.try_emplace(node);
  Heartbeat& heartbeat = it->second;
  if (!added && heartbeat.*which == stamp) return;
  heartbeat.*which = stamp;
  heartbeat.heard = now;
}

std::optional<absl::Duration> Heartbeats::SilentFor(const std::string& node,
                                                    absl::Duration now) const {
  auto it = nodes_.find(node);
  if (it == nodes_.end()) return std::nullopt;
  return now - it->second.heard;
}

bool Heartbeats::IsNew(const std::string& node) {
  return !std::exchange(nodes_[node].announced, true);
}

NodeLifecycleController::NodeLifecycleController(
    const Context& context, const NodeLifecycleOptions& options)
    : context_(context),
      options_(options),
      heartbeats_(options.grace_period / 4),
      shell_(context, "node-controller",
             [this](const std::string& key, const Shell::Answers&) {
               return Make(key);
             }) {
  Informers& informers = *context.informers;
  informers.Of(kube::Nodes())
      .Subscribe([this](const Object& before, const Object& after) {
        std::string name(Name(after != nullptr ? *after : *before));
        if (after == nullptr) {
          heartbeats_.Forget(name);
          return;
        }
        const Json* ready = Condition(*after, "Ready");
        heartbeats_.Posted(
            name,
            ready == nullptr ? "" : Text(*ready, {"lastHeartbeatTime"}), Now());
        shell_.Add(name);
      });
  informers.Of(kube::Leases())
      .Subscribe([this](const Object&, const Object& after) {
        if (after == nullptr || Namespace(*after) != kLeaseNamespace) return;
        heartbeats_.Renewed(std::string(Name(*after)),
                            Text(*after, {"spec", "renewTime"}), Now());
      });
  informers.Of(kube::Pods())
      .Subscribe([this](const Object& before, const Object& after) {
        PodChanged(before, after);
      });
  shell_.Add(kBreath);
}

absl::Duration NodeLifecycleController::Now() {
  absl::Duration now = context_.clock->Monotonic();
  heartbeats_.Breathe(now);
  return now;
}

Plan NodeLifecycleController::Make(const std::string& name) {
  absl::Duration now = Now();
  if (name == kBreath) return {.again = options_.grace_period / 4};
  Object node = context_.informers->Of(kube::Nodes()).Get(name);
  std::optional<absl::Duration> silent = heartbeats_.SilentFor(name, now);
  if (node == nullptr || !silent) return {};
  NodeFacts facts{
      .node = node,
      .pods = context_.informers->Of(kube::Pods()).ByIndex("node", name),
      .silent_for = *silent,
      .is_new = heartbeats_.IsNew(name)};
  return PlanNodeLifecycle(facts, options_, context_.clock->Now());
}

void NodeLifecycleController::PodChanged(const Object&, const Object& after) {
  if (after == nullptr) return;
  std::string_view name = Text(*after, {"spec", "nodeName"});
  if (name.empty()) return;
  Object node = context_.informers->Of(kube::Nodes()).Get(name);
  if (node == nullptr) return;
  const Json& taints = Get(*node, {"spec", "taints"});
  bool evicts = taints.is_array() &&
                std::any_of(taints.begin(), taints.end(), [](const Json& t) {
                  return Text(t, {"effect"}) == "NoExecute";
                });
  if (evicts || ReadyStatus(*node) == "Unknown") {
    shell_.Add(std::string(name));
  }
}

}  // namespace fairlead::controllers
