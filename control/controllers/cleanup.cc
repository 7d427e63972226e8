// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/cleanup.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "control/api/disruption_target.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

constexpr absl::Duration kPodPeriod = absl::Seconds(20);
constexpr absl::Duration kEventPeriod = absl::Minutes(5);
constexpr char kPods[] = "pods";
constexpr char kEvents[] = "events";

void PlanLostPod(const Json& pod, absl::Time now, Plan* plan) {
  if (!IsPodTerminated(pod)) {
    Json updated = pod;
    updated["status"]["phase"] = "Failed";
    updated["status"]["reason"] = "NodeLost";
    updated["status"]["message"] = "PodGC: node no longer exists";
    api::SetDisruptionTarget(updated, "DeletionByPodGC",
                             "PodGC: node no longer exists", Timestamp(now));
    plan->writes.push_back(StatusOf(kube::Pods(), updated, 0));
  }
  plan->writes.push_back(ForceDeleteOf(kube::Pods(), pod, 1));
}

}  // namespace

Plan PlanPodCleanup(const PodCleanupFacts& facts,
                    const CleanupOptions& options, absl::Time now) {
  Plan plan;
  plan.again = kPodPeriod;
  std::vector<Object> finished;
  for (const Object& pod : facts.pods) {
    std::string node(Text(*pod, {"spec", "nodeName"}));
    if (node.empty()) {
      // No kubelet will ever confirm its end.
      if (IsTerminating(*pod)) {
        plan.writes.push_back(ForceDeleteOf(kube::Pods(), *pod, 1));
      } else if (IsPodTerminated(*pod)) {
        finished.push_back(pod);
      }
      continue;
    }
    if (!facts.nodes.contains(node)) {
      auto it = facts.missing_since.find(node);
      absl::Time due = (it == facts.missing_since.end() ? now : it->second) +
                       options.missing_node_grace;
      if (due <= now) {
        PlanLostPod(*pod, now, &plan);
      } else {
        plan.again = std::min(plan.again, due - now);
      }
      continue;
    }
    if (IsPodTerminated(*pod) && !IsTerminating(*pod)) finished.push_back(pod);
  }
  int excess = static_cast<int>(finished.size()) - options.max_terminated_pods;
  if (excess > 0) {
    std::sort(finished.begin(), finished.end(),
              [](const Object& a, const Object& b) {
                return std::pair(CreationTime(*a), Name(*a)) <
                       std::pair(CreationTime(*b), Name(*b));
              });
    for (int i = 0; i < excess; ++i) {
      plan.writes.push_back(ForceDeleteOf(kube::Pods(), *finished[i], 1));
    }
  }
  return plan;
}

Plan PlanEventCleanup(const Json& events, const CleanupOptions& options,
                      absl::Time now) {
  Plan plan;
  plan.again = kEventPeriod;
  const Json& items = Get(events, {"items"});
  if (!items.is_array()) return plan;
  for (const Json& event : items) {
    absl::Time last = CreationTime(event);
    for (const char* field : {"lastTimestamp", "eventTime"}) {
      if (auto t = TimeOf(Text(event, {field}))) last = std::max(last, *t);
    }
    if (auto t = TimeOf(Text(event, {"series", "lastObservedTime"}))) {
      last = std::max(last, *t);
    }
    if (now - last > options.event_ttl) {
      plan.writes.push_back(DeleteOf(kube::Events(), event));
    }
  }
  return plan;
}

CleanupController::CleanupController(const Context& context,
                                     const CleanupOptions& options)
    : context_(context),
      options_(options),
      shell_(context, "pod-garbage-collector",
             [this](const std::string& key, const Shell::Answers& answers) {
               return Make(key, answers);
             }) {
  context.informers->Of(kube::Nodes())
      .Subscribe([this](const Object&, const Object& after) {
        if (after == nullptr) shell_.Add(kPods);
      });
  context.informers->Of(kube::Pods())
      .Subscribe([this](const Object&, const Object& after) {
        if (after != nullptr && IsTerminating(*after) &&
            Text(*after, {"spec", "nodeName"}).empty()) {
          shell_.Add(kPods);
        }
      });
  shell_.Add(kPods);
  shell_.AddAfter(kEvents, kEventPeriod);
}

Plan CleanupController::Make(const std::string& key,
                             const Shell::Answers& answers) {
  absl::Time now = context_.clock->Now();
  if (key == kEvents) {
    if (answers.empty()) {
      Plan look;
      look.reads.push_back({.resource = &kube::Events(), .limit = 0});
      return look;
    }
    static const Json kNone;
    return PlanEventCleanup(answers[0].ok() ? *answers[0] : kNone, options_,
                            now);
  }
  return PlanPodCleanup(PodFacts(now), options_, now);
}

PodCleanupFacts CleanupController::PodFacts(absl::Time now) {
  const kube::Informer& nodes = context_.informers->Of(kube::Nodes());
  const kube::Informer& pods = context_.informers->Of(kube::Pods());
  PodCleanupFacts facts;
  for (std::string& node : pods.IndexValues("node")) {
    if (nodes.Contains(node)) continue;
    for (Object& pod : pods.ByIndex("node", node)) {
      facts.pods.push_back(std::move(pod));
    }
    auto it = missing_since_.find(node);
    facts.missing_since[std::move(node)] =
        it == missing_since_.end() ? now : it->second;
  }
  missing_since_ = facts.missing_since;
  for (const char* state : {kUnboundEnding, kFinished}) {
    for (Object& pod : pods.ByIndex("state", state)) {
      std::string node(Text(*pod, {"spec", "nodeName"}));
      if (facts.missing_since.contains(node)) continue;  // is there already
      if (!node.empty()) facts.nodes.insert(std::move(node));
      facts.pods.push_back(std::move(pod));
    }
  }
  return facts;
}

}  // namespace fairlead::controllers
