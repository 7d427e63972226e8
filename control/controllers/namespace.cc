// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/namespace.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

constexpr char kDefaultAccount[] = "default";
// How soon to look again for what ends by itself (pods, finalizers).
constexpr absl::Duration kLookAgain = absl::Milliseconds(500);

Json ConditionFor(std::string_view remaining, absl::Time now) {
  return {{"type", "NamespaceContentRemaining"},
          {"status", "True"},
          {"lastTransitionTime", Timestamp(now)},
          {"reason", "SomeResourcesRemain"},
          {"message", StrCat("Some resources are remaining: ", remaining)}};
}

Plan PlanDeletion(const NamespaceFacts& facts, absl::Time now) {
  Plan plan;
  std::string remaining;
  for (const auto& [resource, objects] : facts.content) {
    if (objects.empty()) continue;
    StrAppend(&remaining, remaining.empty() ? "" : ", ", resource->plural,
              resource->group.empty() ? "." : StrCat(".", resource->group),
              " has ", objects.size(), " resource instances");
    for (const Json& object : objects) {
      if (!IsTerminating(object)) {
        plan.writes.push_back(DeleteOf(*resource, object));
      }
    }
  }
  if (!remaining.empty()) {
    plan.again = kLookAgain;
    const Json* before = Condition(*facts.object, "NamespaceContentRemaining");
    if (before == nullptr) {
      Json updated = *facts.object;
      updated["status"]["conditions"] =
          Json::array({ConditionFor(remaining, now)});
      plan.writes.push_back(StatusOf(kube::Namespaces(), updated, 1));
    }
    return plan;
  }
  Json finalized = *facts.object;
  Json rest = Json::array();
  const Json& finalizers = Get(*facts.object, {"spec", "finalizers"});
  for (const Json& f : finalizers.is_array() ? finalizers : rest) {
    if (f != "kubernetes") rest.push_back(f);
  }
  if (!finalizers.is_array() || rest.size() == finalizers.size()) return plan;
  finalized["spec"]["finalizers"] = rest;
  Write write = UpdateOf(kube::Namespaces(), std::move(finalized));
  write.verb = Verb::kFinalize;
  plan.writes.push_back(std::move(write));
  return plan;
}

}  // namespace

Plan PlanNamespace(const NamespaceFacts& facts, absl::Time now) {
  if (IsTerminating(*facts.object)) return PlanDeletion(facts, now);
  Plan plan;
  if (!facts.has_default_account) {
    plan.writes.push_back(CreateOf(
        kube::ServiceAccounts(),
        {{"metadata",
          {{"namespace", Name(*facts.object)}, {"name", kDefaultAccount}}}}));
  }
  return plan;
}

NamespaceController::NamespaceController(const Context& context)
    : context_(context),
      shell_(context, "namespace-controller",
             [this](const std::string& key, const Shell::Answers& answers) {
               return Make(key, answers);
             }) {
  context.informers->Of(kube::Namespaces())
      .Subscribe([this](const Object&, const Object& after) {
        if (after != nullptr) shell_.Add(kube::KeyOf(*after));
      });
  context.informers->Of(kube::ServiceAccounts())
      .Subscribe([this](const Object& before, const Object& after) {
        if (after == nullptr) shell_.Add(std::string(Namespace(*before)));
      });
}

Plan NamespaceController::Make(const std::string& key,
                               const Shell::Answers& answers) {
  Informers& informers = *context_.informers;
  Object object = informers.Of(kube::Namespaces()).Get(key);
  if (object == nullptr) return {};
  NamespaceFacts facts{.object = object};
  facts.has_default_account =
      informers.Of(kube::ServiceAccounts())
          .Get(StrCat(key, "/", kDefaultAccount)) != nullptr;
  if (!IsTerminating(*object)) {
    return PlanNamespace(facts, context_.clock->Now());
  }
  Plan look;
  for (const kube::Resource& resource : informers.resources()) {
    if (!resource.namespaced) continue;
    look.reads.push_back({.resource = &resource, .ns = key});
  }
  look.reads.push_back({.resource = &kube::Events(), .ns = key});
  if (answers.size() < look.reads.size()) return look;
  Plan failed;
  failed.again = kLookAgain;
  for (size_t i = 0; i < look.reads.size(); ++i) {
    // Unknown is not empty.
    if (!answers[i].ok()) return failed;
    std::vector<Json> objects;
    const Json& items = Get(*answers[i], {"items"});
    if (items.is_array()) objects.assign(items.begin(), items.end());
    facts.content.emplace_back(look.reads[i].resource, std::move(objects));
  }
  return PlanNamespace(facts, context_.clock->Now());
}

}  // namespace fairlead::controllers
