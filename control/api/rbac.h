// SPDX-License-Identifier: Apache-2.0
// Role-based access control: the rules of roles, who is bound to them, and
// what follows. Roles and bindings come from whoever watches them; nothing
// here reads or stores objects.
//
// Threads: the owner's only.
#ifndef FAIRLEAD_CONTROL_API_RBAC_H_
#define FAIRLEAD_CONTROL_API_RBAC_H_

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/api/identity.h"
#include "control/api/kind.h"

namespace fairlead::api {

inline constexpr char kRbacGroup[] = "rbac.authorization.k8s.io";

// Whether the rule allows that.
bool Allows(const PolicyRule& rule, const Attributes& what);
// Whether all that `wanted` allows is allowed by the rules of `have`.
bool Covers(const std::vector<PolicyRule>& have, const PolicyRule& wanted);
// "{APIGroups:[""], Resources:["pods"], Verbs:["get"]}", as the API prints it.
std::string RuleText(const PolicyRule& rule);
std::vector<PolicyRule> RulesOf(const Json& role);

class Rbac : public Authorizer {
 public:
  // A Role, ClusterRole, RoleBinding or ClusterRoleBinding as it is now;
  // other kinds are ignored.
  void Put(const Json& object);
  void Remove(const Json& object);

  Decision Authorize(const User& user, const Attributes& what) const override;
  std::vector<PolicyRule> RulesFor(const User& user,
                                   std::string_view ns) const override;
  // The rules of the role that a binding in `ns` ("" for a cluster-wide one)
  // refers to, with those that aggregation adds. nullopt: there is no such
  // role.
  std::optional<std::vector<PolicyRule>> RulesOfRef(const Json& role_ref,
                                                    std::string_view ns) const;

 private:
  // Namespace ("" for ClusterRoles) and name.
  using RoleKey = std::pair<std::string, std::string>;
  struct Role {
    std::vector<PolicyRule> rules;
    Json labels;
    Json selectors;  // of an aggregated ClusterRole; else null
  };
  struct Subject {
    std::string kind, name, ns;
  };
  struct Binding {
    std::string ns, name;
    std::vector<Subject> subjects;
    RoleKey role;
  };
  // False to stop.
  using Visitor = std::function<bool(const PolicyRule&)>;

  static bool Binds(const Binding& binding, const User& user);

  // False when the visitor stopped it.
  bool VisitRole(const RoleKey& key, const Visitor& visit) const;
  void Visit(const User& user, std::string_view ns,
             const Visitor& visit) const;

  std::map<RoleKey, Role> roles_;
  // In the order in which they came; "" for ClusterRoleBindings.
  std::map<std::string, std::vector<Binding>, std::less<>> bindings_;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_RBAC_H_
