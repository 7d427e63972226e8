// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/garbage.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

constexpr std::string_view kForeground = "foregroundDeletion";
constexpr std::string_view kOrphan = "orphan";

bool HasFinalizer(const Json& object, std::string_view finalizer) {
  const Json& finalizers = Get(object, {"metadata", "finalizers"});
  return finalizers.is_array() &&
         std::any_of(finalizers.begin(), finalizers.end(),
                     [&](const Json& f) { return f == finalizer; });
}

bool IsMarked(const Json& object, std::string_view finalizer) {
  return IsTerminating(object) && HasFinalizer(object, finalizer);
}

const Json& OwnerReferences(const Json& object) {
  return Get(object, {"metadata", "ownerReferences"});
}

Write WithoutFinalizer(const kube::Resource& resource, const Json& object,
                       std::string_view finalizer, int stage) {
  Json rest = Json::array();
  for (const Json& f : Get(object, {"metadata", "finalizers"})) {
    if (f != finalizer) rest.push_back(f);
  }
  return PatchOf(
      resource, object,
      {{"metadata", {{"finalizers", rest.empty() ? Json() : rest}}}}, stage);
}

// `keep(index)` says which references stay.
template <typename Keep>
Write WithoutOwners(const kube::Resource& resource, const Json& object,
                    Keep keep) {
  Json rest = Json::array();
  const Json& owners = OwnerReferences(object);
  for (size_t i = 0; i < owners.size(); ++i) {
    if (keep(i)) rest.push_back(owners[i]);
  }
  return PatchOf(
      resource, object,
      {{"metadata", {{"ownerReferences", rest.empty() ? Json() : rest}}}});
}

bool Blocks(const Json& dependent, std::string_view owner_uid) {
  for (const Json& owner : OwnerReferences(dependent)) {
    if (Text(owner, {"uid"}) == owner_uid) {
      return Flag(owner, {"blockOwnerDeletion"});
    }
  }
  return false;
}

Plan PlanForeground(const GarbageFacts& facts) {
  Plan plan;
  bool blocked = false;
  for (const auto& [resource, dependent] : facts.dependents) {
    if (!Blocks(*dependent, Uid(*facts.object))) continue;
    blocked = true;
    if (IsTerminating(*dependent)) continue;
    Write write = DeleteOf(*resource, *dependent);
    // Down to the last: each level waits for the one below it.
    write.propagation = "Foreground";
    plan.writes.push_back(std::move(write));
  }
  if (!blocked) {
    plan.writes.push_back(
        WithoutFinalizer(*facts.resource, *facts.object, kForeground, 0));
  }
  return plan;
}

Plan PlanOrphaning(const GarbageFacts& facts) {
  Plan plan;
  std::string_view uid = Uid(*facts.object);
  for (const auto& [resource, dependent] : facts.dependents) {
    const Json& owners = OwnerReferences(*dependent);
    plan.writes.push_back(
        WithoutOwners(*resource, *dependent, [&](size_t i) {
          return Text(owners[i], {"uid"}) != uid;
        }));
  }
  plan.writes.push_back(
      WithoutFinalizer(*facts.resource, *facts.object, kOrphan, 1));
  return plan;
}

std::string KeyFor(size_t index, const Json& object) {
  return StrCat(index, "|", kube::KeyOf(object));
}

}  // namespace

Plan PlanGarbage(const GarbageFacts& facts) {
  const Json& object = *facts.object;
  if (IsMarked(object, kOrphan)) return PlanOrphaning(facts);
  if (IsMarked(object, kForeground)) return PlanForeground(facts);
  Plan plan;
  if (IsTerminating(object) || facts.owners.empty()) return plan;
  auto count = [&](OwnerState state) {
    return std::count(facts.owners.begin(), facts.owners.end(), state);
  };
  auto present = count(OwnerState::kPresent);
  auto absent = count(OwnerState::kAbsent);
  if (present > 0 && present < static_cast<long>(facts.owners.size())) {
    plan.writes.push_back(
        WithoutOwners(*facts.resource, object, [&](size_t i) {
          return facts.owners[i] == OwnerState::kPresent;
        }));
  } else if (absent == static_cast<long>(facts.owners.size())) {
    plan.writes.push_back(DeleteOf(*facts.resource, object));
  }
  // Owners that wait delete their dependents themselves.
  return plan;
}

GarbageCollector::GarbageCollector(const Context& context)
    : context_(context),
      shell_(context, "garbage-collector",
             [this](const std::string& key, const Shell::Answers& answers) {
               return Make(key, answers);
             }) {
  for (const kube::Resource& resource : context.informers->resources()) {
    context.informers->Of(resource).Subscribe(
        [this, &resource](const Object& before, const Object& after) {
          Changed(resource, before, after);
        });
  }
}

void GarbageCollector::Add(const kube::Resource& resource,
                           const Json& object) {
  size_t index = &resource - context_.informers->resources().data();
  shell_.Add(KeyFor(index, object));
}

std::vector<std::pair<const kube::Resource*, Object>>
GarbageCollector::Dependents(std::string_view uid) const {
  std::vector<std::pair<const kube::Resource*, Object>> result;
  for (const kube::Resource& resource : context_.informers->resources()) {
    for (Object& object :
         context_.informers->Of(resource).ByIndex("owner", uid)) {
      result.emplace_back(&resource, std::move(object));
    }
  }
  return result;
}

void GarbageCollector::Changed(const kube::Resource& resource,
                               const Object& before, const Object& after) {
  if (after != nullptr) {
    bool owners_changed =
        before == nullptr
            ? OwnerReferences(*after).is_array()
            : OwnerReferences(*before) != OwnerReferences(*after);
    if (owners_changed || IsMarked(*after, kForeground) ||
        IsMarked(*after, kOrphan)) {
      Add(resource, *after);
    }
    return;
  }
  for (const auto& [kind, dependent] : Dependents(Uid(*before))) {
    Add(*kind, *dependent);
  }
  // An owner may have waited for this one.
  const Json& owners = OwnerReferences(*before);
  if (!owners.is_array()) return;
  for (const Json& owner : owners) {
    const kube::Resource* kind = context_.informers->FindKind(
        Text(owner, {"apiVersion"}), Text(owner, {"kind"}));
    if (kind == nullptr) continue;
    std::string_view ns = kind->namespaced ? Namespace(*before) : "";
    Object object = context_.informers->Of(*kind).Get(
        ns.empty() ? std::string(Text(owner, {"name"}))
                   : StrCat(ns, "/", Text(owner, {"name"})));
    if (object != nullptr && IsMarked(*object, kForeground)) {
      Add(*kind, *object);
    }
  }
}

Plan GarbageCollector::Make(const std::string& key,
                            const Shell::Answers& answers) {
  size_t bar = key.find('|');
  size_t index = 0;
  if (!absl::SimpleAtoi(key.substr(0, bar), &index)) return {};
  const kube::Resource& resource = context_.informers->resources()[index];
  Object object = context_.informers->Of(resource).Get(key.substr(bar + 1));
  if (object == nullptr) return {};
  GarbageFacts facts{.resource = &resource, .object = object};
  if (IsMarked(*object, kForeground) || IsMarked(*object, kOrphan)) {
    facts.dependents = Dependents(Uid(*object));
    return PlanGarbage(facts);
  }
  const Json& owners = OwnerReferences(*object);
  Plan look;
  if (!owners.is_array()) return look;
  for (const Json& owner : owners) {
    const kube::Resource* kind = context_.informers->FindKind(
        Text(owner, {"apiVersion"}), Text(owner, {"kind"}));
    // Of a kind that nobody watches nothing is known: it is left in peace.
    facts.owners.push_back(OwnerState::kPresent);
    if (kind == nullptr) continue;
    std::string ns(kind->namespaced ? Namespace(*object) : "");
    std::string name(Text(owner, {"name"}));
    Object known = context_.informers->Of(*kind).Get(
        ns.empty() ? name : StrCat(ns, "/", name));
    if (known != nullptr && Uid(*known) == Text(owner, {"uid"})) {
      if (IsMarked(*known, kForeground) &&
          Flag(owner, {"blockOwnerDeletion"})) {
        facts.owners.back() = OwnerState::kWaiting;
      }
      continue;
    }
    // The owner's informer may just be behind this one's.
    look.reads.push_back({.resource = kind, .ns = ns, .name = name});
    if (look.reads.size() > answers.size()) continue;
    const auto& answer = answers[look.reads.size() - 1];
    bool absent = answer.ok() ? Uid(*answer) != Text(owner, {"uid"})
                              : absl::IsNotFound(answer.status());
    if (absent) facts.owners.back() = OwnerState::kAbsent;
  }
  if (look.reads.size() > answers.size()) return look;
  return PlanGarbage(facts);
}

}  // namespace fairlead::controllers
