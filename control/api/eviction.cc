// SPDX-License-Identifier: Apache-2.0
// pods/eviction: a deletion that asks the pod's disruption budget first.
//
// The budget's number is taken down by a write to its status, which comes
// before the deletion: two evictions at once can't both have the last place.
#include <nlohmann/json.hpp>

#include "control/api/api_status.h"
#include "control/api/disruption_target.h"
#include "control/api/json_access.h"
#include "control/api/subresources.h"
#include "control/api/validation.h"
#include "control/api/verbs.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

using Plan = Registry::Plan;

bool IsReady(const Json& pod) {
  for (const Json& condition : List(pod, {"status", "conditions"})) {
    if (Text(condition, "type") == "Ready") {
      return Text(condition, "status") == "True";
    }
  }
  return false;
}

// Pods that serve nobody need no budget.
bool NeedsNoBudget(const Json& pod) {
  std::string_view phase = Text(pod, {"status", "phase"});
  return phase == "Succeeded" || phase == "Failed" || phase == "Pending" ||
         !Text(pod, {"metadata", "deletionTimestamp"}).empty();
}

absl::Status Refused(std::string_view cause) {
  Json details = {{"causes", Json::array({{{"reason", "DisruptionBudget"},
                                           {"message", cause}}})}};
  return MakeStatus({429, "TooManyRequests",
                     "Cannot evict pod as it would violate the pod's "
                     "disruption budget.",
                     details.dump(), ""});
}

// A pod that isn't ready takes nothing from a budget that is met without it.
bool IsFreeWhileUnhealthy(const Json& budget) {
  if (Text(budget, {"spec", "unhealthyPodEvictionPolicy"}) == "AlwaysAllow") {
    return true;
  }
  int64_t desired = Int(Get(budget, {"status", "desiredHealthy"}));
  return desired > 0 &&
         Int(Get(budget, {"status", "currentHealthy"})) >= desired;
}

// The budget with one disruption less, or why there is none to be had.
absl::StatusOr<Plan> TakeDisruption(const Json* budget,
                                    const std::string& pod,
                                    const std::string& now) {
  if (budget == nullptr) return Plan{};
  std::string name(Text(*budget, {"metadata", "name"}));
  const Json& status = Get(*budget, "status");
  if (Int(status, "observedGeneration") <
      Int(Get(*budget, {"metadata", "generation"}))) {
    return Refused(StrCat("The disruption budget ", name,
                          " is still being processed by the server."));
  }
  int64_t allowed = Int(status, "disruptionsAllowed");
  if (allowed <= 0) {
    return Refused(StrCat("The disruption budget ", name, " needs ",
                          Int(status, "desiredHealthy"),
                          " healthy pods and has ",
                          Int(status, "currentHealthy"), " currently"));
  }
  Plan plan{.action = Plan::Action::kPut, .object = *budget, .final = true};
  Json& after = Sub(plan.object, "status");
  after["disruptionsAllowed"] = allowed - 1;
  Sub(after, "disruptedPods")[pod] = now;
  if (allowed == 1) {
    for (Json& condition : after["conditions"]) {
      if (Text(condition, "type") != "DisruptionAllowed") continue;
      condition["status"] = "False";
      condition["reason"] = "InsufficientPods";
      condition["lastTransitionTime"] = now;
    }
  }
  return plan;
}

// The pod with the condition that says why it goes.
absl::StatusOr<Plan> MarkEvicted(const Json* pod, const std::string& uid,
                                 const std::string& now) {
  if (pod == nullptr || IsDisruptionTarget(*pod) ||
      (!uid.empty() && uid != Text(*pod, {"metadata", "uid"})) ||
      !Text(*pod, {"metadata", "deletionTimestamp"}).empty()) {
    return Plan{};
  }
  Plan plan{.action = Plan::Action::kPut, .object = *pod, .final = true};
  SetDisruptionTarget(plan.object, "EvictionByEvictionAPI",
                      "Eviction API: evicting", now);
  return plan;
}

// The names of the budgets that select the pod.
std::vector<std::string> BudgetsOf(const Served& budgets, const Json& pod,
                                   std::string_view ns, Json* only) {
  std::vector<std::string> names;
  std::string prefix = StrCat(ns, "/");
  const auto& objects = budgets.cache.objects();
  for (auto it = objects.lower_bound(prefix);
       it != objects.end() && std::string_view(it->first).starts_with(prefix);
       ++it) {
    Json budget = ParseObject(budgets, *it->second);
    const Json& selector = Get(budget, {"spec", "selector"});
    if (!selector.is_object() ||
        !SelectorMatches(selector, Get(pod, {"metadata", "labels"}))) {
      continue;
    }
    names.emplace_back(Text(budget, {"metadata", "name"}));
    *only = std::move(budget);
  }
  return names;
}

}  // namespace

void Verbs::Evict(ApiRequestRef request, ResponderRef responder) {
  auto fail = [request, responder](const absl::Status& status) {
    SendError(*request, *responder, status);
  };
  absl::StatusOr<Json> eviction = DecodeAny(request->Header("content-type"),
                                            request->http.body, "Eviction");
  if (!eviction.ok()) return fail(eviction.status());
  absl::StatusOr<WriteOptions> write =
      ParseWriteOptions(request->query, "CreateOptions");
  if (!write.ok()) return fail(write.status());
  DeleteOptions options;
  const Json& wanted = api::Get(*eviction, "deleteOptions");
  options.dry_run = write->dry_run || !api::List(wanted, "dryRun").empty();
  if (api::Get(wanted, "gracePeriodSeconds").is_number_integer()) {
    options.grace_period_seconds = Int(wanted, "gracePeriodSeconds");
  }
  options.uid = std::string(Text(wanted, {"preconditions", "uid"}));
  auto remove_marked = [this, request, responder, options, fail] {
    registry_->Write(
        request->served, request->ns, request->name, options.dry_run,
        PlanDelete(registry_, &request->kind(), request->name, options),
        [request, responder, fail](absl::StatusOr<Registry::Outcome> outcome) {
          if (!outcome.ok()) return fail(outcome.status());
          responder->Send(SuccessStatus(request->representation.pretty));
        });
  };
  auto remove = [this, request, options, fail, remove_marked] {
    registry_->Write(
        request->served, request->ns, request->name, options.dry_run,
        [uid = options.uid, now = registry_->Now()](const Json* pod) {
          return MarkEvicted(pod, uid, now);
        },
        [remove_marked, fail](absl::StatusOr<Registry::Outcome> outcome) {
          if (!outcome.ok()) return fail(outcome.status());
          remove_marked();
        });
  };
  store::ObjectRef found = request->served->cache.Find(
      ObjectKey(request->kind(), request->ns, request->name));
  Served* budgets =
      registry_->Find("policy", "v1", "poddisruptionbudgets");
  if (found == nullptr || budgets == nullptr) return remove();
  Json pod = ParseObject(*request->served, *found), budget;
  std::vector<std::string> names =
      BudgetsOf(*budgets, pod, request->ns, &budget);
  if (names.empty() || NeedsNoBudget(pod)) return remove();
  if (names.size() > 1) {
    return fail(InternalError(
        "This pod has more than one PodDisruptionBudget, which the eviction "
        "subresource does not support."));
  }
  if (!IsReady(pod) && IsFreeWhileUnhealthy(budget)) return remove();
  registry_->Write(
      budgets, request->ns, names[0], options.dry_run,
      [pod_name = request->name, now = registry_->Now()](const Json* before) {
        return TakeDisruption(before, pod_name, now);
      },
      [remove, fail](absl::StatusOr<Registry::Outcome> outcome) {
        if (!outcome.ok()) return fail(outcome.status());
        remove();
      });
}

}  // namespace fairlead::api
