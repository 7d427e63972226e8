// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/disruption.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "control/api/int_or_string.h"
#include "userspace/base/strings.h"
#include "userspace/kube/control_resources.h"

namespace fairlead::controllers {
namespace {

// An evicted pod whose deletion is not seen after this long stays.
constexpr absl::Duration kDisruptionTimeout = absl::Minutes(2);

// An empty selector selects all, an absent one nothing.
bool Selects(const Json& budget, const Json& pod) {
  return SelectorMatches(Get(budget, {"spec", "selector"}),
                         Get(pod, {"metadata", "labels"}));
}

// What the pods' controllers want in all.
int ExpectedPods(const DisruptionFacts& facts) {
  int total = 0;
  std::set<std::string> counted;
  for (const Object& pod : facts.pods) {
    auto it = facts.scale_of.find(std::string(ControllerUid(*pod)));
    if (it == facts.scale_of.end()) {
      ++total;
    } else if (counted.insert(it->second).second) {
      auto scale = facts.scales.find(it->second);
      total += scale == facts.scales.end() ? 0 : scale->second;
    }
  }
  return total;
}

struct Wanted {
  int expected = 0;
  int healthy = 0;  // that must stay
};

Wanted WantedOf(const DisruptionFacts& facts) {
  const Json& spec = Get(*facts.budget, {"spec"});
  Wanted wanted;
  int pods = static_cast<int>(facts.pods.size());
  const Json& unavailable = Get(spec, {"maxUnavailable"});
  const Json& available = Get(spec, {"minAvailable"});
  if (!unavailable.is_null()) {
    wanted.expected = ExpectedPods(facts);
    int may = api::ScaleIntOrPercent(unavailable, wanted.expected,
                                     api::Rounding::kUp)
                  .value_or(0);
    wanted.healthy = std::max(0, wanted.expected - may);
  } else if (available.is_number()) {
    wanted.expected = pods;
    wanted.healthy = static_cast<int>(available.get<int64_t>());
  } else if (available.is_string()) {
    wanted.expected = ExpectedPods(facts);
    wanted.healthy = api::ScaleIntOrPercent(available, wanted.expected,
                                            api::Rounding::kUp)
                         .value_or(wanted.expected);
  } else {
    wanted.expected = pods;
  }
  return wanted;
}

// Evicted pods that are still to be seen terminating.
Json Disrupted(const DisruptionFacts& facts, absl::Time now,
               absl::Duration* again) {
  Json kept = Json::object();
  const Json& before = Get(*facts.budget, {"status", "disruptedPods"});
  if (!before.is_object()) return kept;
  for (const Object& pod : facts.pods) {
    auto it = before.find(Name(*pod));
    if (it == before.end() || IsTerminating(*pod)) continue;
    auto since = TimeOf(it->is_string() ? it->get<std::string>() : "");
    if (!since || *since + kDisruptionTimeout <= now) continue;
    *again = std::min(*again, *since + kDisruptionTimeout - now);
    kept[it.key()] = *it;
  }
  return kept;
}

Json ConditionsOf(const Json& budget, int allowed, absl::Time now) {
  const char* status = allowed > 0 ? "True" : "False";
  const Json* before = Condition(budget, "DisruptionAllowed");
  bool same = before != nullptr && Text(*before, {"status"}) == status;
  return Json::array(
      {{{"type", "DisruptionAllowed"},
        {"status", status},
        {"observedGeneration", Generation(budget)},
        {"lastTransitionTime",
         same ? Get(*before, {"lastTransitionTime"}) : Json(Timestamp(now))},
        {"reason", allowed > 0 ? "SufficientPods" : "InsufficientPods"},
        {"message", ""}}});
}

}  // namespace

Plan PlanDisruption(const DisruptionFacts& facts, absl::Time now) {
  const Json& budget = *facts.budget;
  Plan plan;
  if (IsTerminating(budget)) return plan;
  Wanted wanted = WantedOf(facts);
  Json disrupted = Disrupted(facts, now, &plan.again);
  int healthy = 0;
  for (const Object& pod : facts.pods) {
    if (IsTerminating(*pod) || IsPodTerminated(*pod) ||
        disrupted.contains(Name(*pod))) {
      continue;
    }
    healthy += IsPodReady(*pod);
  }
  int allowed = wanted.expected > 0 ? std::max(0, healthy - wanted.healthy) : 0;
  Json status = {{"observedGeneration", Generation(budget)},
                 {"currentHealthy", healthy},
                 {"desiredHealthy", wanted.healthy},
                 {"expectedPods", wanted.expected},
                 {"disruptionsAllowed", allowed}};
  if (!disrupted.empty()) status["disruptedPods"] = std::move(disrupted);
  status["conditions"] = ConditionsOf(budget, allowed, now);
  if (Get(budget, {"status"}) == status) return plan;
  Json updated = budget;
  updated["status"] = std::move(status);
  plan.writes.push_back(
      StatusOf(kube::PodDisruptionBudgets(), std::move(updated)));
  return plan;
}

DisruptionController::DisruptionController(const Context& context)
    : context_(context),
      shell_(context, "disruption-controller",
             [this](const std::string& key, const Shell::Answers&) {
               Object budget = context_.informers
                                   ->Of(kube::PodDisruptionBudgets())
                                   .Get(key);
               if (budget == nullptr) return Plan();
               return PlanDisruption(Facts(budget), context_.clock->Now());
             }) {
  Informers& informers = *context.informers;
  informers.Of(kube::PodDisruptionBudgets())
      .Subscribe([this](const Object& before, const Object& after) {
        shell_.Add(kube::KeyOf(after != nullptr ? *after : *before));
      });
  informers.Of(kube::Pods())
      .Subscribe([this](const Object& before, const Object& after) {
        PodChanged(before, after);
      });
  for (const kube::Resource* workload :
       {&kube::Deployments(), &kube::ReplicaSets()}) {
    informers.Of(*workload).Subscribe(
        [this](const Object& before, const Object& after) {
          if (before != nullptr && after != nullptr &&
              Number(*before, {"spec", "replicas"}) ==
                  Number(*after, {"spec", "replicas"})) {
            return;
          }
          ScaleChanged(after != nullptr ? *after : *before);
        });
  }
}

// By label where there is one: a namespace may hold ten thousand others.
std::vector<Object> DisruptionController::Candidates(
    const Json& budget) const {
  Informers& informers = *context_.informers;
  const Json& labels = Get(budget, {"spec", "selector", "matchLabels"});
  if (labels.is_object() && !labels.empty()) {
    return informers.PodsWith(Namespace(budget), labels);
  }
  return informers.Of(kube::Pods()).ByIndex("namespace", Namespace(budget));
}

DisruptionFacts DisruptionController::Facts(const Object& budget) const {
  Informers& informers = *context_.informers;
  DisruptionFacts facts{.budget = budget, .pods = Candidates(*budget)};
  std::erase_if(facts.pods,
                [&](const Object& pod) { return !Selects(*budget, *pod); });
  for (const Object& pod : facts.pods) {
    const Json* owner = ControllerOf(*pod);
    if (owner == nullptr || Text(*owner, {"kind"}) != "ReplicaSet") continue;
    std::string uid(Text(*owner, {"uid"}));
    if (facts.scale_of.contains(uid)) continue;
    Object workload =
        informers.Of(kube::ReplicaSets())
            .Get(StrCat(Namespace(*pod), "/", Text(*owner, {"name"})));
    if (workload == nullptr || Uid(*workload) != uid) continue;
    const Json* above = ControllerOf(*workload);
    if (above != nullptr && Text(*above, {"kind"}) == "Deployment") {
      Object deployment =
          informers.Of(kube::Deployments())
              .Get(StrCat(Namespace(*pod), "/", Text(*above, {"name"})));
      if (deployment != nullptr) workload = deployment;
    }
    std::string key(Uid(*workload));
    facts.scale_of[uid] = key;
    facts.scales[key] =
        static_cast<int>(Number(*workload, {"spec", "replicas"}, 1));
  }
  return facts;
}

void DisruptionController::PodChanged(const Object& before,
                                      const Object& after) {
  const Json& pod = after != nullptr ? *after : *before;
  for (const Object& budget :
       context_.informers->Of(kube::PodDisruptionBudgets())
           .ByIndex("namespace", Namespace(pod))) {
    if ((before != nullptr && Selects(*budget, *before)) ||
        (after != nullptr && Selects(*budget, *after))) {
      shell_.Add(kube::KeyOf(*budget));
    }
  }
}

void DisruptionController::ScaleChanged(const Json& workload) {
  for (const Object& budget :
       context_.informers->Of(kube::PodDisruptionBudgets())
           .ByIndex("namespace", Namespace(workload))) {
    shell_.Add(kube::KeyOf(*budget));
  }
}

}  // namespace fairlead::controllers
