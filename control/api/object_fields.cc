// SPDX-License-Identifier: Apache-2.0
#include "control/api/object_fields.h"

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "control/api/go_format.h"
#include "control/api/json_access.h"
#include "userspace/base/strings.h"
#include "userspace/kube/json_text.h"

namespace fairlead::api {
namespace {

using Json = nlohmann::json;

const Json kNothing;

// How the parts of a value are owned.
enum class View { kLeaf, kStruct, kMap, kKeyedList, kSet };

// A place in an object. `field` is null in a map and in a list.
struct Place {
  const Type* type = nullptr;
  const Field* field = nullptr;

  View view() const {
    if (type == nullptr || type->atomic) return View::kLeaf;
    if (field != nullptr && field->list_type == "atomic") return View::kLeaf;
    switch (type->shape) {
      case Shape::kObject:
        return View::kStruct;
      case Shape::kMap:
        return View::kMap;
      case Shape::kList:
        if (field == nullptr) return View::kLeaf;
        if (field->list_type == "map") return View::kKeyedList;
        return field->list_type == "set" ? View::kSet : View::kLeaf;
      default:
        return View::kLeaf;
    }
  }
  bool is_list() const {
    return view() == View::kKeyedList || view() == View::kSet;
  }
  Place Element() const { return {type->element, nullptr}; }
  Place Member(std::string_view name) const {
    if (view() == View::kMap) return Element();
    const Field* found = type->Find(name);
    return found == nullptr ? Place{} : Place{found->type, found};
  }
  // Of a step of a FieldSet, below this place.
  Place Step(std::string_view key) const {
    View seen = view();
    if (seen == View::kLeaf) return {};
    if (seen == View::kStruct || seen == View::kMap) {
      return key.starts_with("f:") ? Member(key.substr(2)) : Place{};
    }
    return Element();
  }
};

// The step to an element of a list. A key that the element leaves out has its
// default; `missing` gets the name of one that has none.
std::string ElementStep(const Place& list, const Json& element,
                        std::string* missing = nullptr) {
  if (list.view() == View::kSet) return "v:" + kube::TextFromJson(element);
  Json keys = Json::object();
  for (const std::string& name : list.field->list_map_keys) {
    const Json& value = Get(element, name);
    if (!value.is_null()) {
      keys[name] = value;
      continue;
    }
    const Field* field = list.type->element->Find(name);
    if (field != nullptr && !field->default_json.empty()) {
      keys[name] = Json::parse(field->default_json, nullptr, false);
    } else if (missing != nullptr && missing->empty()) {
      *missing = name;
    }
  }
  return "k:" + kube::TextFromJson(keys);
}

bool IsEmptyContainer(const Json* value) {
  return value == nullptr || !value->is_structured() || value->empty();
}

// --- problems ---------------------------------------------------------------

std::string_view WantedWord(Shape shape) {
  switch (shape) {
    case Shape::kObject:
    case Shape::kMap:
      return "map";
    case Shape::kList:
      return "list";
    case Shape::kInteger:
    case Shape::kNumber:
      return "numeric (int or float)";
    case Shape::kBoolean:
      return "boolean";
    case Shape::kQuantity:
    case Shape::kIntOrString:
      return "string or number";
    default:
      return "string";
  }
}

bool HasShape(Shape shape, const Json& value) {
  switch (shape) {
    case Shape::kObject:
    case Shape::kMap:
      return value.is_object();
    case Shape::kList:
      return value.is_array();
    case Shape::kInteger:
    case Shape::kNumber:
      return value.is_number();
    case Shape::kBoolean:
      return value.is_boolean();
    case Shape::kQuantity:
    case Shape::kIntOrString:
      return value.is_string() || value.is_number();
    case Shape::kAny:
      return true;
    default:
      return value.is_string();
  }
}

class ProblemFinder {
 public:
  void Look(const Place& place, const Json& value, const std::string& path) {
    if (place.type == nullptr || value.is_null()) return;
    if (!HasShape(place.type->shape, value)) {
      return Add(path, StrCat("expected ", WantedWord(place.type->shape),
                              ", got ", JsonTypeName(value)));
    }
    switch (place.type->shape) {
      case Shape::kObject:
        for (const auto& [name, member] : value.items()) {
          std::string inner = StrCat(path, ".", name);
          const Field* field = place.type->Find(name);
          if (field == nullptr) {
            Add(inner, "field not declared in schema");
          } else {
            Look({field->type, field}, member, inner);
          }
        }
        break;
      case Shape::kMap:
        for (const auto& [name, member] : value.items()) {
          Look(place.Element(), member, StrCat(path, ".", name));
        }
        break;
      case Shape::kList:
        LookAtList(place, value, path);
        break;
      default:
        break;
    }
  }

  std::vector<std::string> found;

 private:
  void Add(const std::string& path, std::string_view problem) {
    found.push_back(StrCat(path, ": ", problem));
  }

  void LookAtList(const Place& place, const Json& list,
                  const std::string& path) {
    std::set<std::string> seen;
    for (size_t i = 0; i < list.size(); ++i) {
      std::string step = StrCat("i:", i);
      if (place.is_list()) {
        std::string missing;
        step = ElementStep(place, list[i], &missing);
        if (!missing.empty()) {
          return Add(path, StrCat("element ", i,
                                  ": associative list with keys has an "
                                  "element that omits key field ",
                                  Json(missing).dump(),
                                  " (and doesn't have default value)"));
        }
      }
      FieldSet one = {{step, FieldSet::object()}};
      std::string text = FieldPaths(one).front();
      if (!seen.insert(step).second) {
        Add(path, StrCat("duplicate entries for key ", text));
      }
      Look(place.Element(), list[i], path + text);
    }
  }
};

// --- fields of one object ---------------------------------------------------

FieldSet FieldsAt(const Place& place, const Json& value);

void AddMemberFields(const Place& place, const Json& value, FieldSet* out) {
  for (const auto& [name, member] : value.items()) {
    Place inner = place.Member(name);
    bool self = place.view() == View::kMap ||
                inner.view() == View::kLeaf || member.is_null() ||
                (member.is_object() && member.empty());
    PutNode(*out, "f:" + name, FieldsAt(inner, member), self);
  }
}

FieldSet FieldsAt(const Place& place, const Json& value) {
  FieldSet out = FieldSet::object();
  switch (place.view()) {
    case View::kLeaf:
      break;
    case View::kStruct:
    case View::kMap:
      if (value.is_object()) AddMemberFields(place, value, &out);
      break;
    case View::kKeyedList:
    case View::kSet:
      for (const Json& element : List(value)) {
        PutNode(out, ElementStep(place, element),
                FieldsAt(place.Element(), element), true);
      }
      break;
  }
  return out;
}

// --- differences ------------------------------------------------------------

class Comparer {
 public:
  // Null: none. Most parts have nothing in one of the two.
  FieldSet changed, removed;

  // Null: not there.
  void Members(const Place& place, const Json* before, const Json* after) {
    const Json& a = Map(before == nullptr ? kNothing : *before);
    const Json& b = Map(after == nullptr ? kNothing : *after);
    auto left = a.begin();
    auto right = b.begin();
    while (left != a.end() || right != b.end()) {
      int order = left == a.end()    ? 1
                  : right == b.end() ? -1
                                     : left.key().compare(right.key());
      std::string name = order <= 0 ? left.key() : right.key();
      Value(place.Member(name), "f:" + name, order <= 0 ? &*left : nullptr,
            order >= 0 ? &*right : nullptr);
      if (order <= 0) ++left;
      if (order >= 0) ++right;
    }
  }

 private:
  void Value(const Place& place, const std::string& step, const Json* before,
             const Json* after) {
    if (before != nullptr && after != nullptr && *before == *after) return;
    Comparer inner;
    View view = place.view();
    bool leaf = view == View::kLeaf ||
                (IsEmptyContainer(before) && IsEmptyContainer(after));
    if (!leaf && (view == View::kStruct || view == View::kMap)) {
      inner.Members(place, before, after);
    } else if (!leaf) {
      inner.Elements(place, before, after);
    }
    PutNode(changed, step, std::move(inner.changed),
            before == nullptr || (leaf && after != nullptr));
    PutNode(removed, step, std::move(inner.removed), after == nullptr);
  }

  void Elements(const Place& place, const Json* before, const Json* after) {
    struct Sides {
      std::vector<const Json*> before, after;
    };
    std::map<std::string, Sides> steps;
    auto collect = [&](const Json* list,
                       std::vector<const Json*> Sides::*side) {
      for (const Json& element : List(list == nullptr ? kNothing : *list)) {
        (steps[ElementStep(place, element)].*side).push_back(&element);
      }
    };
    collect(before, &Sides::before);
    collect(after, &Sides::after);
    for (const auto& [step, sides] : steps) {
      if (sides.before.size() <= 1 && sides.after.size() <= 1) {
        auto only = [](const std::vector<const Json*>& all) {
          return all.empty() ? nullptr : all[0];
        };
        Value(place.Element(), step, only(sides.before), only(sides.after));
        continue;
      }
      // An element that is there twice is compared as the list of them.
      auto list = [](const std::vector<const Json*>& all) {
        Json out = Json::array();
        for (const Json* element : all) out.push_back(*element);
        return out;
      };
      const Json left = list(sides.before), right = list(sides.after);
      Value(Place{}, step, sides.before.empty() ? nullptr : &left,
            sides.after.empty() ? nullptr : &right);
    }
  }
};

// --- merge ------------------------------------------------------------------

Json MergeAt(const Place& place, const Json& live, const Json& config);

Json MergeLists(const Place& place, const Json& live, const Json& config) {
  std::vector<std::string> live_steps, config_steps;
  std::unordered_map<std::string, const Json*> in_live, in_config;
  for (const Json& element : live) {
    live_steps.push_back(ElementStep(place, element));
    in_live.emplace(live_steps.back(), &element);
  }
  for (const Json& element : config) {
    config_steps.push_back(ElementStep(place, element));
    in_config.emplace(config_steps.back(), &element);
  }
  Json out = Json::array();
  auto put = [&](size_t at) {
    auto old = in_live.find(config_steps[at]);
    out.push_back(old == in_live.end()
                      ? config[at]
                      : MergeAt(place.Element(), *old->second, config[at]));
  };
  // Elements of both, in the order of `config`, divide the two lists; what is
  // before such an element in `live` goes before what is in `config`.
  size_t next = 0;
  std::set<std::string> done;
  for (size_t i = 0; i < live.size(); ++i) {
    const std::string& step = live_steps[i];
    if (!in_config.contains(step)) {
      out.push_back(live[i]);
      continue;
    }
    if (done.contains(step)) continue;
    // `config` up to this element, unless one that comes first there is still
    // to be met in `live`: then this one moves behind it.
    size_t end = next;
    bool waits = false;
    while (end < config.size() && config_steps[end] != step) {
      waits |= in_live.contains(config_steps[end]);
      ++end;
    }
    if (waits) continue;
    for (; next <= end && next < config.size(); ++next) {
      put(next);
      done.insert(config_steps[next]);
    }
  }
  for (; next < config.size(); ++next) put(next);
  return out;
}

Json MergeAt(const Place& place, const Json& live, const Json& config) {
  switch (place.view()) {
    case View::kLeaf:
      return config;
    case View::kStruct:
    case View::kMap: {
      if (!config.is_object()) return live;
      if (!live.is_object()) return config;
      Json out = live;
      for (const auto& [name, value] : config.items()) {
        auto old = out.find(name);
        if (old == out.end()) {
          out[name] = value;
        } else {
          Json merged = MergeAt(place.Member(name), *old, value);
          *old = std::move(merged);
        }
      }
      return out;
    }
    case View::kKeyedList:
    case View::kSet:
      if (!config.is_array()) return live;
      if (!live.is_array() || live.empty()) return config;
      return MergeLists(place, live, config);
  }
  return config;
}

// --- removal ----------------------------------------------------------------

// nullopt: nothing is left.
std::optional<Json> Without(const Place& place, const Json& value,
                            const FieldSet& set) {
  View view = place.view();
  if (view == View::kLeaf || !value.is_structured() || set.empty()) {
    return value;
  }
  bool list = place.is_list();
  Json out = list ? Json::array() : Json::object();
  for (auto it = value.begin(); it != value.end(); ++it) {
    std::string step = list ? ElementStep(place, *it) : "f:" + it.key();
    auto node = set.find(step);
    std::optional<Json> kept = *it;
    if (node != set.end()) {
      if (IsMember(*node)) continue;
      kept = Without(list ? place.Element() : place.Member(it.key()), *it,
                     *node);
    }
    if (!kept.has_value()) continue;
    if (list) {
      out.push_back(*std::move(kept));
    } else {
      out[it.key()] = *std::move(kept);
    }
  }
  if (out.empty()) return std::nullopt;
  return out;
}

FieldSet Named(const Place& place, const FieldSet& set) {
  FieldSet out = FieldSet::object();
  for (const auto& [key, node] : set.items()) {
    if (key == kSelf) continue;
    bool named = place.view() == View::kStruct && key.starts_with("f:") &&
                 place.type->Find(std::string_view(key).substr(2)) != nullptr;
    PutNode(out, key, Named(place.Step(key), node), named || IsMember(node));
  }
  return out;
}

}  // namespace

Json EmptyObject(const Type& type) {
  Json out = Json::object();
  for (const Field& field : type.fields) {
    if (field.presence != Presence::kAlways) continue;
    bool object =
        field.type != nullptr && field.type->shape == Shape::kObject;
    out[field.name] = object ? EmptyObject(*field.type) : Json();
  }
  return out;
}

std::vector<std::string> ApplyProblems(const Type& type, const Json& object) {
  ProblemFinder finder;
  finder.Look({&type, nullptr}, object, "");
  return std::move(finder.found);
}

FieldSet FieldsOf(const Type& type, const Json& object) {
  return FieldsAt({&type, nullptr}, object);
}

FieldChanges CompareFields(const Type& type, const Json& before,
                           const Json& after) {
  Comparer comparer;
  comparer.Members({&type, nullptr}, &before, &after);
  auto whole = [](FieldSet& set) {
    return set.is_null() ? FieldSet::object() : std::move(set);
  };
  return {whole(comparer.changed), whole(comparer.removed)};
}

Json MergeApplied(const Type& type, const Json& live, const Json& config) {
  return MergeAt({&type, nullptr}, live, config);
}

Json WithoutFields(const Type& type, const Json& object, const FieldSet& set) {
  return Without({&type, nullptr}, object, set).value_or(Json::object());
}

FieldSet WithNamedFields(const Type& type, const FieldSet& set) {
  return Named({&type, nullptr}, set);
}

}  // namespace fairlead::api
