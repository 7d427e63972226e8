// SPDX-License-Identifier: Apache-2.0
#include "control/api/patch.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/api/api_status.h"
#include "control/api/go_format.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr std::string_view kDirective = "$patch";
constexpr std::string_view kRetainKeys = "$retainKeys";
constexpr std::string_view kOrder = "$setElementOrder/";
constexpr std::string_view kDeletePrimitive = "$deleteFromPrimitiveList/";
constexpr size_t kMaxPatchOperations = 10000;
constexpr size_t kMaxCopiedBytes = 3u << 20;

std::string StringAt(const Json& object, std::string_view key) {
  auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

absl::StatusOr<Json> MergeObject(Json current, const Json& patch,
                                 const Type* type);

absl::Status NoMergeKey(const Json& element, std::string_view key) {
  return InternalError(StrCat("map: ", GoMapText(element),
                              " does not contain declared merge key: ", key));
}

// The index of the element whose `key` equals `value`; size() when none.
size_t FindElement(const Json& list, std::string_view key, const Json& value) {
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_object()) continue;
    auto it = list[i].find(key);
    if (it != list[i].end() && *it == value) return i;
  }
  return list.size();
}

// `list` in the order of `order`. Elements that it does not name keep their
// order in `before` among themselves, and come before a named one only if they
// did so in `before`: what is new goes first.
Json OrderedList(const Json& list, const Json& order, const Json& before,
                 std::string_view key) {
  auto id = [&](const Json& element) {
    if (key.empty() || !element.is_object()) return element;
    return element.value(key, Json());
  };
  auto ids = [&](const Json& elements) {
    std::vector<Json> out;
    if (!elements.is_array()) return out;
    for (const Json& element : elements) out.push_back(id(element));
    return out;
  };
  const std::vector<Json> wanted = ids(order), old = ids(before);
  auto rank = [&](const std::vector<Json>& in, const Json& element) {
    return std::find(in.begin(), in.end(), id(element)) - in.begin();
  };
  auto sort = [&](const std::vector<Json>& by, std::vector<const Json*>* row) {
    std::stable_sort(row->begin(), row->end(),
                     [&](const Json* a, const Json* b) {
                       return rank(by, *a) < rank(by, *b);
                     });
  };
  const ptrdiff_t unnamed = wanted.size(), unknown = old.size();
  std::vector<const Json*> named, others;
  for (const Json& element : list) {
    (rank(wanted, element) == unnamed ? others : named).push_back(&element);
  }
  sort(wanted, &named);
  sort(old, &others);
  Json out = Json::array();
  size_t next = 0;
  for (const Json* element : named) {
    ptrdiff_t place = rank(old, *element);
    while (place != unknown && next < others.size() &&
           rank(old, *others[next]) < place) {
      out.push_back(*others[next++]);
    }
    out.push_back(*element);
  }
  while (next < others.size()) out.push_back(*others[next++]);
  return out;
}

// A list of objects that merges by `key`.
absl::StatusOr<Json> MergeKeyedList(Json current, const Json& patch,
                                    std::string_view key,
                                    const Type* element_type) {
  for (const Json& element : patch) {
    if (element.is_object() && StringAt(element, kDirective) == "replace") {
      Json replaced = Json::array();
      for (const Json& other : patch) {
        if (other.is_object() && other.contains(kDirective)) continue;
        replaced.push_back(other);
      }
      return replaced;
    }
  }
  if (!current.is_array()) current = Json::array();
  const Json before = current;
  Json order = Json::array();
  for (const Json& element : patch) {
    if (!element.is_object()) {
      return BadRequest(StrCat("cannot merge ", JsonTypeName(element),
                               " into a list of objects"));
    }
    std::string directive = StringAt(element, kDirective);
    auto id = element.find(key);
    if (id == element.end()) return NoMergeKey(element, key);
    size_t at = FindElement(current, key, *id);
    if (directive == "delete") {
      if (at < current.size()) current.erase(at);
      continue;
    }
    order.push_back(element);
    if (at < current.size()) {
      FL_ASSIGN_OR_RETURN(current[at],
                          MergeObject(current[at], element, element_type));
    } else {
      FL_ASSIGN_OR_RETURN(Json merged, MergeObject(Json::object(), element,
                                                   element_type));
      current.push_back(std::move(merged));
    }
  }
  return OrderedList(current, order, before, key);
}

// A list of plain values that merges as a set.
Json MergePrimitiveList(const Json& current, const Json& patch) {
  Json all = Json::array();
  for (const Json* list : {&current, &patch}) {
    if (!list->is_array()) continue;
    for (const Json& value : *list) {
      if (std::find(all.begin(), all.end(), value) == all.end()) {
        all.push_back(value);
      }
    }
  }
  return OrderedList(all, patch, current, "");
}

// Without the directives, for what is taken over as it is.
Json WithoutDirectives(const Json& patch) {
  if (patch.is_array()) {
    Json out = Json::array();
    for (const Json& element : patch) {
      if (element.is_object() && element.contains(kDirective) &&
          element.size() == 1) {
        continue;
      }
      out.push_back(WithoutDirectives(element));
    }
    return out;
  }
  if (!patch.is_object()) return patch;
  Json out = Json::object();
  for (const auto& [key, value] : patch.items()) {
    std::string_view name = key;
    if (name == kDirective || name == kRetainKeys ||
        name.starts_with(kOrder) || name.starts_with(kDeletePrimitive)) {
      continue;
    }
    out[key] = WithoutDirectives(value);
  }
  return out;
}

// The type of a member of an object or a map; null when unknown.
const Type* MemberType(const Type* type, const Field* field) {
  if (field != nullptr) return field->type;
  return type != nullptr && type->shape == Shape::kMap ? type->element
                                                       : nullptr;
}

absl::Status MergeMember(Json& current, const std::string& name,
                         const Json& value, const Type* type) {
  const Field* field = type == nullptr ? nullptr : type->Find(name);
  const Type* member = MemberType(type, field);
  if (value.is_null()) {
    current.erase(name);
    return absl::OkStatus();
  }
  if (value.is_object()) {
    auto old = current.find(name);
    bool mergeable = old != current.end() && old->is_object();
    FL_ASSIGN_OR_RETURN(
        Json merged,
        MergeObject(mergeable ? *old : Json::object(), value, member));
    // What "$patch: delete" leaves.
    if (merged.is_null()) {
      current.erase(name);
    } else {
      current[name] = std::move(merged);
    }
    return absl::OkStatus();
  }
  if (value.is_array() && field != nullptr && field->patch_merge) {
    auto old = current.find(name);
    Json before = old == current.end() ? Json() : *old;
    if (field->merge_key.empty()) {
      current[name] = MergePrimitiveList(before, value);
    } else {
      const Type* element = member == nullptr ? nullptr : member->element;
      FL_ASSIGN_OR_RETURN(
          current[name],
          MergeKeyedList(std::move(before), value, field->merge_key, element));
    }
    return absl::OkStatus();
  }
  current[name] = WithoutDirectives(value);
  return absl::OkStatus();
}

void DeleteFromPrimitiveList(Json& current, const std::string& name,
                             const Json& values) {
  auto it = current.find(name);
  if (it == current.end() || !it->is_array()) return;
  Json kept = Json::array();
  for (const Json& value : *it) {
    if (std::find(values.begin(), values.end(), value) == values.end()) {
      kept.push_back(value);
    }
  }
  *it = std::move(kept);
}

absl::StatusOr<Json> MergeObject(Json current, const Json& patch,
                                 const Type* type) {
  std::string directive = StringAt(patch, kDirective);
  if (directive == "replace") return WithoutDirectives(patch);
  if (directive == "delete") return Json();
  if (!directive.empty() && directive != "merge") {
    return BadRequest(StrCat("unknown patch type found: ", directive));
  }
  if (auto retain = patch.find(kRetainKeys); retain != patch.end()) {
    if (!retain->is_array()) {
      return BadRequest("value for $retainKeys must be a list");
    }
    for (auto it = current.begin(); it != current.end();) {
      bool kept = std::find(retain->begin(), retain->end(), Json(it.key())) !=
                  retain->end();
      it = kept ? std::next(it) : current.erase(it);
    }
  }
  Json before = Json::object();  // lists that are put in order below
  for (const auto& [key, value] : patch.items()) {
    std::string name = key;
    if (!name.starts_with(kOrder)) continue;
    name.erase(0, kOrder.size());
    if (auto it = current.find(name); it != current.end()) before[name] = *it;
  }
  for (const auto& [key, value] : patch.items()) {
    std::string_view name = key;
    if (name == kDirective || name == kRetainKeys) continue;
    if (name.starts_with(kOrder)) continue;
    if (name.starts_with(kDeletePrimitive)) {
      DeleteFromPrimitiveList(
          current, std::string(name.substr(kDeletePrimitive.size())), value);
      continue;
    }
    FL_RETURN_IF_ERROR(MergeMember(current, key, value, type));
  }
  for (const auto& [key, value] : patch.items()) {
    std::string_view name = key;
    if (!name.starts_with(kOrder) || !value.is_array()) continue;
    name.remove_prefix(kOrder.size());
    auto it = current.find(name);
    if (it == current.end() || !it->is_array() || it->empty()) continue;
    const Field* field = type == nullptr ? nullptr : type->Find(name);
    auto old = before.find(name);
    *it = OrderedList(*it, value, old == before.end() ? Json() : *old,
                      field == nullptr ? "" : field->merge_key);
  }
  return current;
}

// Where the patch has a shape that the schema does not.
const Json* MisplacedList(const Json& patch, const Type* type) {
  if (!patch.is_object() || type == nullptr) return nullptr;
  for (const auto& [key, value] : patch.items()) {
    const Field* field = type->Find(key);
    const Type* member = MemberType(type, field);
    if (member == nullptr || value.is_null()) continue;
    if (member->shape == Shape::kList && !value.is_array()) return &value;
    if (const Json* found = MisplacedList(value, member)) return found;
  }
  return nullptr;
}

absl::StatusOr<Json> ApplyJsonPatch(const Json& object, const Json& patch) {
  absl::Status rejected = MakeStatus(
      {422, "Invalid",
       "the server rejected our request due to an error in our request", "{}",
       ""});
  Json out = object;
  size_t copied = 0;
  // One operation at a time, because `copy` can double the object each time.
  for (const Json& operation : patch) {
    try {
      if (operation.is_object() && StringAt(operation, "op") == "copy") {
        Json::json_pointer from(StringAt(operation, "from"));
        copied += out.at(from).dump().size();
        if (copied > kMaxCopiedBytes) return rejected;
      }
      out.patch_inplace(Json::array({operation}));
    } catch (const Json::exception&) {
      return rejected;
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<Json> ParsePatch(PatchKind kind, std::string_view text) {
  absl::StatusOr<Json> patch = ParseJson(text);
  if (!patch.ok()) {
    return BadRequest(
        StrCat("error decoding patch: ", patch.status().message()));
  }
  bool list = kind == PatchKind::kJson;
  if (list ? !patch->is_array() : !patch->is_object()) {
    return BadRequest(StrCat(
        "error decoding patch: json: cannot unmarshal ", JsonTypeName(*patch),
        " into Go value of type ",
        list ? "[]handlers.jsonPatchOp" : "map[string]interface {}"));
  }
  if (list && patch->size() > kMaxPatchOperations) {
    return MakeStatus(
        {413, "RequestEntityTooLarge",
         StrCat("The allowed maximum operations in a JSON patch is ",
                kMaxPatchOperations, ", got ", patch->size()),
         "", ""});
  }
  return patch;
}

absl::StatusOr<Json> ApplyPatch(PatchKind kind, const Json& object,
                                const Json& patch, const Type* type) {
  switch (kind) {
    case PatchKind::kJson:
      return ApplyJsonPatch(object, patch);
    case PatchKind::kMerge: {
      Json out = object;
      out.merge_patch(patch);
      return out;
    }
    case PatchKind::kStrategic:
      break;
  }
  if (const Json* bad = MisplacedList(patch, type)) {
    return Invalid(
        "", "", "",
        {FieldInvalid("patch", Quote(GoMapText(patch)),
                      StrCat("cannot restore slice from ",
                             JsonTypeName(*bad)))});
  }
  FL_ASSIGN_OR_RETURN(Json merged, MergeObject(object, patch, type));
  if (merged.is_null()) {
    return BadRequest("a patch cannot delete the whole object");
  }
  return merged;
}

}  // namespace fairlead::api
