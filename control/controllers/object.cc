// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/object.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

const Json& Null() {
  static const Json null;
  return null;
}

bool Contains(const Json& list, std::string_view text) {
  if (!list.is_array()) return false;
  return std::any_of(list.begin(), list.end(), [&](const Json& item) {
    const auto* s = item.get_ptr<const std::string*>();
    return s != nullptr && *s == text;
  });
}

bool ExpressionMatches(const Json& expression, const Json& labels) {
  std::string_view key = Text(expression, {"key"});
  std::string_view op = Text(expression, {"operator"});
  const Json& values = Get(expression, {"values"});
  const std::string* value = nullptr;
  if (labels.is_object()) {
    if (auto it = labels.find(key); it != labels.end()) {
      value = it->get_ptr<const std::string*>();
    }
  }
  if (op == "Exists") return value != nullptr;
  if (op == "DoesNotExist") return value == nullptr;
  if (op == "In") return value != nullptr && Contains(values, *value);
  if (op == "NotIn") return value == nullptr || !Contains(values, *value);
  return false;
}

}  // namespace

const Json& Get(const Json& object, Path path) {
  const Json* at = &object;
  for (const char* step : path) {
    if (!at->is_object()) return Null();
    auto it = at->find(step);
    if (it == at->end()) return Null();
    at = &*it;
  }
  return *at;
}

std::string_view Text(const Json& object, Path path) {
  const auto* text = Get(object, path).get_ptr<const std::string*>();
  return text == nullptr ? std::string_view() : *text;
}

int64_t Number(const Json& object, Path path, int64_t otherwise) {
  const Json& value = Get(object, path);
  return value.is_number() ? value.get<int64_t>() : otherwise;
}

bool Flag(const Json& object, Path path) {
  const Json& value = Get(object, path);
  return value.is_boolean() && value.get<bool>();
}

std::string_view Name(const Json& o) { return Text(o, {"metadata", "name"}); }
std::string_view Namespace(const Json& o) {
  return Text(o, {"metadata", "namespace"});
}
std::string_view Uid(const Json& o) { return Text(o, {"metadata", "uid"}); }

int64_t ResourceVersion(const Json& object) {
  int64_t version = 0;
  std::string_view text = Text(object, {"metadata", "resourceVersion"});
  return absl::SimpleAtoi(Absl(text), &version) ? version : 0;
}

int64_t Generation(const Json& o) {
  return Number(o, {"metadata", "generation"});
}

absl::Time CreationTime(const Json& object) {
  return TimeOf(Text(object, {"metadata", "creationTimestamp"}))
      .value_or(absl::UnixEpoch());
}

bool IsTerminating(const Json& object) {
  return Get(object, {"metadata", "deletionTimestamp"}).is_string();
}

std::string_view Label(const Json& object, const char* key) {
  return Text(object, {"metadata", "labels", key});
}

std::string_view Annotation(const Json& object, const char* key) {
  return Text(object, {"metadata", "annotations", key});
}

std::string Timestamp(absl::Time t) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", t, absl::UTCTimeZone());
}

std::optional<absl::Time> TimeOf(std::string_view text) {
  absl::Time t;
  if (text.empty() ||
      !absl::ParseTime(absl::RFC3339_full, Absl(text), &t, nullptr)) {
    return std::nullopt;
  }
  return t;
}

const Json* ControllerOf(const Json& object) {
  const Json& owners = Get(object, {"metadata", "ownerReferences"});
  if (!owners.is_array()) return nullptr;
  for (const Json& owner : owners) {
    if (Flag(owner, {"controller"})) return &owner;
  }
  return nullptr;
}

std::string_view ControllerUid(const Json& object) {
  const Json* owner = ControllerOf(object);
  return owner == nullptr ? std::string_view() : Text(*owner, {"uid"});
}

Json ControllerReference(const kube::Resource& resource, const Json& owner) {
  return {{"apiVersion", resource.ApiVersion()},
          {"kind", resource.kind},
          {"name", Name(owner)},
          {"uid", Uid(owner)},
          {"controller", true},
          {"blockOwnerDeletion", true}};
}

const Json* Condition(const Json& object, std::string_view type) {
  const Json& conditions = Get(object, {"status", "conditions"});
  if (!conditions.is_array()) return nullptr;
  for (const Json& condition : conditions) {
    if (Text(condition, {"type"}) == type) return &condition;
  }
  return nullptr;
}

bool IsConditionTrue(const Json& object, std::string_view type) {
  const Json* condition = Condition(object, type);
  return condition != nullptr && Text(*condition, {"status"}) == "True";
}

bool MapSelects(const Json& wanted, const Json& labels) {
  if (!wanted.is_object()) return true;
  for (const auto& [key, value] : wanted.items()) {
    if (!labels.is_object()) return false;
    auto it = labels.find(key);
    if (it == labels.end() || *it != value) return false;
  }
  return true;
}

bool SelectorMatches(const Json& selector, const Json& labels) {
  if (!selector.is_object()) return false;
  if (!MapSelects(Get(selector, {"matchLabels"}), labels)) return false;
  const Json& expressions = Get(selector, {"matchExpressions"});
  if (!expressions.is_array()) return true;
  return std::all_of(
      expressions.begin(), expressions.end(),
      [&](const Json& e) { return ExpressionMatches(e, labels); });
}

bool IsPodReady(const Json& pod) { return IsConditionTrue(pod, "Ready"); }

bool IsPodAvailable(const Json& pod, absl::Duration min_ready, absl::Time now,
                    absl::Duration* again) {
  const Json* ready = Condition(pod, "Ready");
  if (ready == nullptr || Text(*ready, {"status"}) != "True") return false;
  if (min_ready <= absl::ZeroDuration()) return true;
  auto since = TimeOf(Text(*ready, {"lastTransitionTime"}));
  if (!since) return false;
  absl::Duration left = *since + min_ready - now;
  if (left <= absl::ZeroDuration()) return true;
  *again = std::min(*again, left);
  return false;
}

bool IsPodTerminated(const Json& pod) {
  std::string_view phase = Text(pod, {"status", "phase"});
  return phase == "Succeeded" || phase == "Failed";
}

bool IsPodActive(const Json& pod) {
  return !IsPodTerminated(pod) && !IsTerminating(pod);
}

const Json* FindToleration(const Json& tolerations, const Json& taint) {
  if (!tolerations.is_array()) return nullptr;
  std::string_view key = Text(taint, {"key"});
  for (const Json& t : tolerations) {
    std::string_view effect = Text(t, {"effect"});
    if (!effect.empty() && effect != Text(taint, {"effect"})) continue;
    std::string_view wanted = Text(t, {"key"});
    if (!wanted.empty() && wanted != key) continue;
    std::string_view op = Text(t, {"operator"});
    if (op == "Exists") return &t;
    // An empty key tolerates everything, but only with Exists.
    if (wanted.empty()) continue;
    if (Text(t, {"value"}) == Text(taint, {"value"})) return &t;
  }
  return nullptr;
}

bool IsTolerated(const Json& tolerations, const Json& taint) {
  return FindToleration(tolerations, taint) != nullptr;
}

}  // namespace fairlead::controllers
