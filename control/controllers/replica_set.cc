// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/replica_set.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "control/controllers/ownership.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

// Pods made or removed by one plan; the rest waits for the next.
constexpr int kBurst = 500;

// --- the order of deletion

struct Rank {
  bool assigned;
  int phase;
  bool ready;
  int64_t cost;
  int crowd;     // more go first
  int ready_age;  // younger go first
  int64_t restarts;
  int age;
  std::string_view name;
};

int PhaseOrder(const Json& pod) {
  std::string_view phase = Text(pod, {"status", "phase"});
  if (phase == "Running") return 2;
  return phase == "Unknown" ? 1 : 0;
}

int Log2Age(absl::Time since, absl::Time now) {
  double seconds = absl::ToDoubleSeconds(now - since);
  return seconds < 1 ? 0 : static_cast<int>(std::log2(seconds)) + 1;
}

int64_t Restarts(const Json& pod) {
  int64_t most = 0;
  for (const char* list : {"initContainerStatuses", "containerStatuses"}) {
    const Json& statuses = Get(pod, {"status", list});
    if (!statuses.is_array()) continue;
    for (const Json& status : statuses) {
      most = std::max(most, Number(status, {"restartCount"}));
    }
  }
  return most;
}

int64_t DeletionCost(const Json& pod) {
  int64_t cost = 0;
  std::string_view text =
      Annotation(pod, "controller.kubernetes.io/pod-deletion-cost");
  return absl::SimpleAtoi(Absl(text), &cost) ? cost : 0;
}

Rank RankOf(const Json& pod, int crowd, absl::Time now) {
  const Json* ready = Condition(pod, "Ready");
  absl::Time since = now;
  if (ready != nullptr) {
    since = TimeOf(Text(*ready, {"lastTransitionTime"})).value_or(now);
  }
  return {.assigned = !Text(pod, {"spec", "nodeName"}).empty(),
          .phase = PhaseOrder(pod),
          .ready = IsPodReady(pod),
          .cost = DeletionCost(pod),
          .crowd = crowd,
          .ready_age = Log2Age(since, now),
          .restarts = Restarts(pod),
          .age = Log2Age(CreationTime(pod), now),
          .name = Name(pod)};
}

bool GoesFirst(const Rank& a, const Rank& b) {
  if (a.assigned != b.assigned) return !a.assigned;
  if (a.phase != b.phase) return a.phase < b.phase;
  if (a.ready != b.ready) return !a.ready;
  if (a.cost != b.cost) return a.cost < b.cost;
  if (a.crowd != b.crowd) return a.crowd > b.crowd;
  if (a.ready && a.ready_age != b.ready_age) return a.ready_age < b.ready_age;
  if (a.restarts != b.restarts) return a.restarts > b.restarts;
  if (a.age != b.age) return a.age < b.age;
  return a.name < b.name;
}

// --- making and removing

Json NewPod(const Json& rs) {
  const Json& wanted = Get(rs, {"spec", "template"});
  Json pod = {{"apiVersion", "v1"}, {"kind", "Pod"}};
  Json& meta = pod["metadata"];
  meta["namespace"] = Namespace(rs);
  meta["generateName"] = StrCat(Name(rs), "-");
  for (const char* field : {"labels", "annotations", "finalizers"}) {
    const Json& value = Get(wanted, {"metadata", field});
    if (!value.is_null()) meta[field] = value;
  }
  meta["ownerReferences"] =
      Json::array({ControllerReference(kube::ReplicaSets(), rs)});
  pod["spec"] = Get(wanted, {"spec"});
  return pod;
}

// In batches of 1, 2, 4, ...: where every pod is refused (a bad template),
// that shows before hundreds of requests were made in vain.
void PlanCreations(const Json& rs, int count, Plan* plan) {
  count = std::min(count, kBurst);
  int stage = 1;
  for (int batch = 1; count > 0; batch *= 2, ++stage) {
    for (int i = 0; i < batch && count > 0; ++i, --count) {
      Write write = CreateOf(kube::Pods(), NewPod(rs), stage);
      write.announce =
          Announce(kube::ReplicaSets(), rs, kube::EventType::kNormal,
                   "SuccessfulCreate", "Created pod: %s");
      plan->writes.push_back(std::move(write));
    }
  }
}

void PlanDeletions(const Json& rs, std::vector<Object> active,
                   const std::vector<Object>& related, int count,
                   absl::Time now, Plan* plan) {
  count = std::min(count, kBurst);
  std::vector<Object> ranked =
      RankForDeletion(std::move(active), related, now);
  for (int i = 0; i < count; ++i) {
    Write write = DeleteOf(kube::Pods(), *ranked[i], 1);
    write.announce = Announce(kube::ReplicaSets(), rs,
                              kube::EventType::kNormal, "SuccessfulDelete",
                              StrCat("Deleted pod: ", Name(*ranked[i])));
    plan->writes.push_back(std::move(write));
  }
}

// --- status

Json StatusFor(const Json& rs, const std::vector<Object>& pods,
               absl::Time now, absl::Duration* again) {
  int replicas = 0, labelled = 0, ready = 0, available = 0, terminating = 0;
  absl::Duration min_ready =
      absl::Seconds(Number(rs, {"spec", "minReadySeconds"}));
  for (const Object& pod : pods) {
    if (IsPodTerminated(*pod)) continue;
    if (IsTerminating(*pod)) {
      ++terminating;
      continue;
    }
    ++replicas;
    if (MapSelects(Get(rs, {"spec", "template", "metadata", "labels"}),
                   Get(*pod, {"metadata", "labels"}))) {
      ++labelled;
    }
    if (!IsPodReady(*pod)) continue;
    ++ready;
    if (IsPodAvailable(*pod, min_ready, now, again)) ++available;
  }
  Json status = {{"replicas", replicas},
                 {"terminatingReplicas", terminating},
                 {"observedGeneration", Generation(rs)}};
  if (labelled > 0) status["fullyLabeledReplicas"] = labelled;
  if (ready > 0) status["readyReplicas"] = ready;
  if (available > 0) status["availableReplicas"] = available;
  return status;
}

}  // namespace

std::vector<Object> RankForDeletion(std::vector<Object> pods,
                                    const std::vector<Object>& related,
                                    absl::Time now) {
  std::map<std::string_view, int> crowd;
  for (const Object& pod : related) {
    if (IsPodActive(*pod)) ++crowd[Text(*pod, {"spec", "nodeName"})];
  }
  std::vector<std::pair<Rank, Object>> ranked;
  for (Object& pod : pods) {
    std::string_view node = Text(*pod, {"spec", "nodeName"});
    ranked.emplace_back(RankOf(*pod, crowd[node], now), pod);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) {
                     return GoesFirst(a.first, b.first);
                   });
  std::vector<Object> result;
  for (auto& [rank, pod] : ranked) result.push_back(std::move(pod));
  return result;
}

Plan PlanReplicaSet(const ReplicaSetFacts& facts, absl::Time now) {
  const Json& rs = *facts.replica_set;
  Plan plan;
  ClaimedPods claimed = ClaimPods(kube::ReplicaSets(), rs, facts.pods);
  bool settled = claimed.writes.empty();
  plan.writes = std::move(claimed.writes);
  std::vector<Object> active;
  for (const Object& pod : claimed.pods) {
    if (IsPodActive(*pod)) active.push_back(pod);
  }
  Json status = StatusFor(rs, claimed.pods, now, &plan.again);
  if (Get(rs, {"status"}) != status) {
    Json updated = rs;
    updated["status"] = std::move(status);
    // Before the pods, so that it isn't held up by those that can't be made.
    plan.writes.push_back(StatusOf(kube::ReplicaSets(), updated, 0));
  }
  int wanted = static_cast<int>(Number(rs, {"spec", "replicas"}, 1));
  int excess = static_cast<int>(active.size()) - wanted;
  // After an adoption or release the count is taken anew.
  if (settled && !IsTerminating(rs)) {
    if (excess < 0) PlanCreations(rs, -excess, &plan);
    if (excess > 0) {
      PlanDeletions(rs, active, facts.related, excess, now, &plan);
    }
  }
  return plan;
}

ReplicaSetController::ReplicaSetController(const Context& context)
    : context_(context),
      shell_(context, "replicaset-controller",
             [this](const std::string& key, const Shell::Answers&) {
               Object rs =
                   context_.informers->Of(kube::ReplicaSets()).Get(key);
               if (rs == nullptr) return Plan();
               return PlanReplicaSet(Facts(rs), context_.clock->Now());
             }) {
  context.informers->Of(kube::ReplicaSets())
      .Subscribe([this](const Object& before, const Object& after) {
        shell_.Add(kube::KeyOf(after != nullptr ? *after : *before));
      });
  context.informers->Of(kube::Pods())
      .Subscribe([this](const Object& before, const Object& after) {
        PodChanged(before, after);
      });
}

ReplicaSetFacts ReplicaSetController::Facts(const Object& rs) const {
  ReplicaSetFacts facts{.replica_set = rs};
  kube::Informer& pods = context_.informers->Of(kube::Pods());
  const Json& selector = Get(*rs, {"spec", "selector"});
  facts.pods = pods.ByIndex("controller", Uid(*rs));
  for (const Object& pod : pods.ByIndex("orphan", Namespace(*rs))) {
    if (SelectorMatches(selector, Get(*pod, {"metadata", "labels"}))) {
      facts.pods.push_back(pod);
    }
  }
  std::string_view owner = ControllerUid(*rs);
  if (owner.empty()) {
    facts.related = facts.pods;
    return facts;
  }
  for (const Object& sibling :
       context_.informers->Of(kube::ReplicaSets()).ByIndex("controller",
                                                           owner)) {
    for (Object& pod : pods.ByIndex("controller", Uid(*sibling))) {
      facts.related.push_back(std::move(pod));
    }
  }
  return facts;
}

void ReplicaSetController::PodChanged(const Object& before,
                                      const Object& after) {
  for (const Object& pod : {before, after}) {
    if (pod == nullptr) continue;
    const Json* owner = ControllerOf(*pod);
    if (owner != nullptr) {
      if (Text(*owner, {"kind"}) == "ReplicaSet") {
        shell_.Add(StrCat(Namespace(*pod), "/", Text(*owner, {"name"})));
      }
      continue;
    }
    kube::Informer& sets = context_.informers->Of(kube::ReplicaSets());
    for (const Object& rs : sets.ByIndex("namespace", Namespace(*pod))) {
      if (SelectorMatches(Get(*rs, {"spec", "selector"}),
                          Get(*pod, {"metadata", "labels"}))) {
        shell_.Add(kube::KeyOf(*rs));
      }
    }
  }
}

}  // namespace fairlead::controllers
