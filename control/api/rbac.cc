// SPDX-License-Identifier: Apache-2.0
#include "control/api/rbac.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_join.h"
#include "control/api/api_status.h"
#include "control/api/json_access.h"
#include "control/api/validation.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

using Words = std::vector<std::string>;

Words WordsOf(const Json& list) {
  Words out;
  for (const Json& word : List(list)) out.emplace_back(Text(word));
  return out;
}

bool Has(const Words& words, std::string_view word) {
  for (const std::string& each : words) {
    if (each == "*" || each == word) return true;
  }
  return false;
}

// "pods/log" by "*", "pods/log" and "*/log".
bool HasResource(const Words& words, std::string_view resource,
                 std::string_view subresource) {
  const std::string whole =
      subresource.empty() ? std::string(resource)
                          : StrCat(resource, "/", subresource);
  for (const std::string& word : words) {
    if (word == "*" || word == whole) return true;
    if (!subresource.empty() && word.starts_with("*/") &&
        std::string_view(word).substr(2) == subresource) {
      return true;
    }
  }
  return false;
}

// "/apis/*" is all that begins with "/apis/".
bool HasUrl(const Words& words, std::string_view path) {
  for (const std::string& word : words) {
    if (word == path) return true;
    if (word.ends_with('*') &&
        path.starts_with(std::string_view(word).substr(0, word.size() - 1))) {
      return true;
    }
  }
  return false;
}

// The rule split so that each part asks for one thing of each list.
std::vector<PolicyRule> Parts(const PolicyRule& rule) {
  std::vector<PolicyRule> parts;
  const Words any_name = {""};
  for (const std::string& verb : rule.verbs) {
    for (const std::string& url : rule.urls) {
      parts.push_back({{verb}, {}, {}, {}, {url}});
    }
    for (const std::string& group : rule.groups) {
      for (const std::string& resource : rule.resources) {
        for (const std::string& name :
             rule.names.empty() ? any_name : rule.names) {
          parts.push_back({{verb}, {group}, {resource}, {}, {}});
          if (!name.empty()) parts.back().names = {name};
        }
      }
    }
  }
  return parts;
}

bool CoversPart(const PolicyRule& have, const PolicyRule& part) {
  if (!Has(have.verbs, part.verbs[0])) return false;
  if (!part.urls.empty()) return HasUrl(have.urls, part.urls[0]);
  if (!Has(have.groups, part.groups[0])) return false;
  const std::string& resource = part.resources[0];
  const size_t slash = resource.find('/');
  if (!HasResource(have.resources, resource.substr(0, slash),
                   slash == resource.npos ? ""
                                          : resource.substr(slash + 1))) {
    return false;
  }
  return have.names.empty() ||
         (!part.names.empty() &&
          std::find(have.names.begin(), have.names.end(), part.names[0]) !=
              have.names.end());
}

std::pair<std::string, std::string> KeyOf(const Json& object) {
  return {std::string(Text(object, {"metadata", "namespace"})),
          std::string(Text(object, {"metadata", "name"}))};
}

std::pair<std::string, std::string> KeyOfRef(const Json& role_ref,
                                             std::string_view ns) {
  const bool cluster = Text(role_ref, "kind") == "ClusterRole";
  return {cluster ? std::string() : std::string(ns),
          std::string(Text(role_ref, "name"))};
}

bool IsRole(const Json& object) {
  return Text(object, "kind") == "Role" || Text(object, "kind") == "ClusterRole";
}
bool IsBinding(const Json& object) {
  return Text(object, "kind") == "RoleBinding" ||
         Text(object, "kind") == "ClusterRoleBinding";
}

}  // namespace

bool Allows(const PolicyRule& rule, const Attributes& what) {
  if (!Has(rule.verbs, what.verb)) return false;
  if (!what.is_resource) return HasUrl(rule.urls, what.path);
  return Has(rule.groups, what.group) &&
         HasResource(rule.resources, what.resource, what.subresource) &&
         (rule.names.empty() ||
          std::find(rule.names.begin(), rule.names.end(), what.name) !=
              rule.names.end());
}

bool Covers(const std::vector<PolicyRule>& have, const PolicyRule& wanted) {
  const std::vector<PolicyRule> parts = Parts(wanted);
  return std::all_of(parts.begin(), parts.end(), [&](const PolicyRule& part) {
    return std::any_of(have.begin(), have.end(), [&](const PolicyRule& rule) {
      return CoversPart(rule, part);
    });
  });
}

std::string RuleText(const PolicyRule& rule) {
  std::string out;
  auto add = [&](const char* name, const Words& words) {
    if (words.empty()) return;
    StrAppend(&out, out.empty() ? "" : ", ", name, ":[",
              absl::StrJoin(words, " ",
                            [](std::string* to, const std::string& word) {
                              StrAppend(to, Quote(word));
                            }),
              "]");
  };
  add("APIGroups", rule.groups);
  add("Resources", rule.resources);
  add("ResourceNames", rule.names);
  add("NonResourceURLs", rule.urls);
  add("Verbs", rule.verbs);
  return StrCat("{", out, "}");
}

std::vector<PolicyRule> RulesOf(const Json& role) {
  std::vector<PolicyRule> rules;
  for (const Json& rule : List(role, "rules")) {
    rules.push_back({WordsOf(Get(rule, "verbs")),
                     WordsOf(Get(rule, "apiGroups")),
                     WordsOf(Get(rule, "resources")),
                     WordsOf(Get(rule, "resourceNames")),
                     WordsOf(Get(rule, "nonResourceURLs"))});
  }
  return rules;
}

void Rbac::Put(const Json& object) {
  if (IsRole(object)) {
    const Json& selectors =
        Get(object, {"aggregationRule", "clusterRoleSelectors"});
    // An aggregation's own rules are a copy of what is asked here.
    roles_[KeyOf(object)] = {
        selectors.is_array() ? std::vector<PolicyRule>() : RulesOf(object),
        Map(Get(object, {"metadata", "labels"})), selectors};
    return;
  }
  if (!IsBinding(object)) return;
  auto [ns, name] = KeyOf(object);
  Binding binding{ns, name, {}, KeyOfRef(Get(object, "roleRef"), ns)};
  for (const Json& subject : List(object, "subjects")) {
    binding.subjects.push_back({std::string(Text(subject, "kind")),
                                std::string(Text(subject, "name")),
                                std::string(Text(subject, "namespace"))});
  }
  std::vector<Binding>& list = bindings_[ns];
  auto old = std::find_if(list.begin(), list.end(), [&](const Binding& each) {
    return each.name == name;
  });
  if (old != list.end()) {
    *old = std::move(binding);
  } else {
    list.push_back(std::move(binding));
  }
}

void Rbac::Remove(const Json& object) {
  if (IsRole(object)) roles_.erase(KeyOf(object));
  if (!IsBinding(object)) return;
  auto [ns, name] = KeyOf(object);
  auto it = bindings_.find(ns);
  if (it == bindings_.end()) return;
  std::erase_if(it->second,
                [&](const Binding& each) { return each.name == name; });
  if (it->second.empty()) bindings_.erase(it);
}

bool Rbac::Binds(const Binding& binding, const User& user) {
  for (const Subject& subject : binding.subjects) {
    if (subject.kind == "User" && subject.name == user.name) return true;
    if (subject.kind == "Group" && user.InGroup(subject.name)) return true;
    if (subject.kind != "ServiceAccount") continue;
    std::string ns, name;
    const std::string& home =
        subject.ns.empty() ? binding.ns : subject.ns;
    if (ParseServiceAccount(user.name, &ns, &name) && ns == home &&
        name == subject.name) {
      return true;
    }
  }
  return false;
}

bool Rbac::VisitRole(const RoleKey& key, const Visitor& visit) const {
  auto found = roles_.find(key);
  if (found == roles_.end()) return true;
  // A role is taken once: aggregations may go round in a circle.
  std::vector<const Role*> taken = {&found->second};
  for (size_t i = 0; i < taken.size(); ++i) {
    for (const PolicyRule& rule : taken[i]->rules) {
      if (!visit(rule)) return false;
    }
    for (const Json& selector : List(taken[i]->selectors)) {
      for (const auto& [other, role] : roles_) {
        if (other.first.empty() && SelectorMatches(selector, role.labels) &&
            std::find(taken.begin(), taken.end(), &role) == taken.end()) {
          taken.push_back(&role);
        }
      }
    }
  }
  return true;
}

void Rbac::Visit(const User& user, std::string_view ns,
                 const Visitor& visit) const {
  for (std::string_view home : {std::string_view(), ns}) {
    auto it = bindings_.find(home);
    if (it != bindings_.end()) {
      for (const Binding& binding : it->second) {
        if (Binds(binding, user) && !VisitRole(binding.role, visit)) return;
      }
    }
    if (ns.empty()) return;
  }
}

std::optional<std::vector<PolicyRule>> Rbac::RulesOfRef(
    const Json& role_ref, std::string_view ns) const {
  const RoleKey key = KeyOfRef(role_ref, ns);
  if (!roles_.contains(key)) return std::nullopt;
  std::vector<PolicyRule> rules;
  VisitRole(key, [&](const PolicyRule& rule) {
    rules.push_back(rule);
    return true;
  });
  return rules;
}

std::vector<PolicyRule> Rbac::RulesFor(const User& user,
                                       std::string_view ns) const {
  std::vector<PolicyRule> rules;
  Visit(user, ns, [&](const PolicyRule& rule) {
    rules.push_back(rule);
    return true;
  });
  return rules;
}

Decision Rbac::Authorize(const User& user, const Attributes& what) const {
  // Also before the roles have been read, and when they are all deleted.
  if (user.is_master()) return {true, ""};
  bool allowed = false;
  Visit(user, what.ns, [&](const PolicyRule& rule) {
    allowed = Allows(rule, what);
    return !allowed;
  });
  return {allowed, ""};
}

}  // namespace fairlead::api
