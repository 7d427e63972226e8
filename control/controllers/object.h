// SPDX-License-Identifier: Apache-2.0
// Reading Kubernetes objects as JSON without ceremony: every accessor takes
// an absent or wrongly typed field for an empty one.
//
// Pure functions; views live as long as the object.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_OBJECT_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_OBJECT_H_

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "userspace/kube/informer.h"
#include "userspace/kube/resource.h"

namespace fairlead::controllers {

using Json = nlohmann::json;
using kube::Object;
using Path = std::initializer_list<const char*>;

// A JSON null when any step is missing.
const Json& Get(const Json& object, Path path);
std::string_view Text(const Json& object, Path path);
int64_t Number(const Json& object, Path path, int64_t otherwise = 0);
bool Flag(const Json& object, Path path);

std::string_view Name(const Json& object);
std::string_view Namespace(const Json& object);
std::string_view Uid(const Json& object);
int64_t ResourceVersion(const Json& object);
int64_t Generation(const Json& object);
absl::Time CreationTime(const Json& object);
bool IsTerminating(const Json& object);  // has a deletionTimestamp
std::string_view Label(const Json& object, const char* key);
std::string_view Annotation(const Json& object, const char* key);

// RFC 3339 to whole seconds, as metav1.Time; nullopt for what is not a time.
std::string Timestamp(absl::Time t);
std::optional<absl::Time> TimeOf(std::string_view text);

// The owner with controller: true; null when there is none.
const Json* ControllerOf(const Json& object);
std::string_view ControllerUid(const Json& object);
Json ControllerReference(const kube::Resource& resource, const Json& owner);

// The entry of status.conditions with this type; null when there is none.
const Json* Condition(const Json& object, std::string_view type);
bool IsConditionTrue(const Json& object, std::string_view type);

// A metav1.LabelSelector. Null or absent selects nothing; `{}` everything.
bool SelectorMatches(const Json& selector, const Json& labels);
// A plain map of labels, as in Service.spec.selector.
bool MapSelects(const Json& wanted, const Json& labels);

// --- pods
bool IsPodReady(const Json& pod);
// Ready for at least `min_ready`. When it is not yet, but will be by the mere
// passing of time, `*again` is brought forward to how long that takes.
bool IsPodAvailable(const Json& pod, absl::Duration min_ready, absl::Time now,
                    absl::Duration* again);
bool IsPodTerminated(const Json& pod);  // phase Succeeded or Failed
bool IsPodActive(const Json& pod);      // not terminated, not being deleted

// Whether a toleration of `tolerations` covers `taint`.
bool IsTolerated(const Json& tolerations, const Json& taint);
const Json* FindToleration(const Json& tolerations, const Json& taint);

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_OBJECT_H_
