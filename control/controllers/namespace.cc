// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/namespace.h"

#include <map>
#include <nlohmann/json.hpp>

#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

constexpr char kDefaultAccount[] = "default";
// How soon to look again for what ends by itself (pods, finalizers).
constexpr absl::Duration kLookAgain = absl::Milliseconds(500);

// What holds a namespace back, in words.
struct Remains {
  std::string resources;   // "pods. has 2 resource instances"
  std::string finalizers;  // "example.com/hold in 1 resource instances"
};

Remains RemainsOf(const NamespaceFacts& facts) {
  Remains out;
  std::map<std::string, int> held;
  auto add = [](std::string* text, const std::string& more) {
    StrAppend(text, text->empty() ? "" : ", ", more);
  };
  for (const auto& [resource, objects] : facts.content) {
    if (objects.empty()) continue;
    add(&out.resources,
        StrCat(resource->plural, ".", resource->group, " has ", objects.size(),
               " resource instances"));
    for (const Json& object : objects) {
      const Json& finalizers = Get(object, {"metadata", "finalizers"});
      if (!finalizers.is_array()) continue;
      for (const Json& finalizer : finalizers) {
        if (finalizer.is_string()) ++held[finalizer.get<std::string>()];
      }
    }
  }
  for (const auto& [finalizer, count] : held) {
    add(&out.finalizers,
        StrCat(finalizer, " in ", count, " resource instances"));
  }
  return out;
}

// The conditions of a namespace that is being deleted; times of those that say
// what they said stay.
Json DeletionConditions(const Json& object, const Remains& remains,
                        absl::Time now) {
  bool content = !remains.resources.empty();
  bool held = !remains.finalizers.empty();
  struct Row {
    std::string type;
    bool status;
    std::string reason, message;
  };
  const Row rows[] = {
      {"NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered",
       "All resources successfully discovered"},
      {"NamespaceDeletionGroupVersionParsingFailure", false,
       "ParsedGroupVersions", "All legacy kube types successfully parsed"},
      {"NamespaceDeletionContentFailure", false, "ContentDeleted",
       "All content successfully deleted, may be waiting on finalization"},
      {"NamespaceContentRemaining", content,
       content ? "SomeResourcesRemain" : "ContentRemoved",
       content ? StrCat("Some resources are remaining: ", remains.resources)
               : "All content successfully removed"},
      {"NamespaceFinalizersRemaining", held,
       held ? "SomeFinalizersRemain" : "ContentHasNoFinalizers",
       held ? StrCat("Some content in the namespace has finalizers remaining: ",
                     remains.finalizers)
            : "All content-preserving finalizers finished"}};
  Json out = Json::array();
  for (const Row& row : rows) {
    Json condition = {{"type", row.type},
                      {"status", row.status ? "True" : "False"},
                      {"lastTransitionTime", Timestamp(now)},
                      {"reason", row.reason},
                      {"message", row.message}};
    const Json* before = Condition(object, row.type);
    if (before != nullptr && Get(*before, {"status"}) == condition["status"]) {
      condition["lastTransitionTime"] = Get(*before, {"lastTransitionTime"});
    }
    out.push_back(std::move(condition));
  }
  return out;
}

Plan PlanDeletion(const NamespaceFacts& facts, absl::Time now) {
  Plan plan;
  for (const auto& [resource, objects] : facts.content) {
    for (const Json& object : objects) {
      if (!IsTerminating(object)) {
        plan.writes.push_back(DeleteOf(*resource, object));
      }
    }
  }
  Remains remains = RemainsOf(facts);
  if (!remains.resources.empty()) {
    plan.again = kLookAgain;
    Json conditions = DeletionConditions(*facts.object, remains, now);
    // What goes at once is not worth a word: it is told of what is still there
    // when looked at again.
    if (plan.writes.empty() &&
        conditions != Get(*facts.object, {"status", "conditions"})) {
      Json updated = *facts.object;
      updated["status"]["conditions"] = std::move(conditions);
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
