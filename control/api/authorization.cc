// SPDX-License-Identifier: Apache-2.0
#include "control/api/authorization.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_join.h"
#include "control/api/api_status.h"
#include "control/api/json_access.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

bool IsRbac(const Kind& kind) { return kind.resource.group == kRbacGroup; }

// The rule without the verbs that are held already.
PolicyRule Missing(const std::vector<PolicyRule>& have,
                   const PolicyRule& wanted) {
  PolicyRule missing = wanted;
  std::erase_if(missing.verbs, [&](const std::string& verb) {
    PolicyRule one = wanted;
    one.verbs = {verb};
    return Covers(have, one);
  });
  return missing;
}

std::string GroupsText(const User& user) {
  return StrCat("[",
                absl::StrJoin(user.groups, " ",
                              [](std::string* out, const std::string& group) {
                                StrAppend(out, Quote(group));
                              }),
                "]");
}

}  // namespace

std::string_view PendingWrite::name() const {
  return Text(*object, {"metadata", "name"});
}

Decision Authorization::Authorize(const User& user,
                                  const Attributes& what) const {
  const std::string node = NodeOf(user);
  std::optional<Decision> by_node;
  if (!node.empty()) by_node = AuthorizeNode(*pods_, node, what);
  if (by_node && by_node->allowed) return *by_node;
  Decision by_role = rbac_.Authorize(user, what);
  if (!by_role.allowed && by_node) by_role.reason = by_node->reason;
  return by_role;
}

std::vector<PolicyRule> Authorization::RulesFor(const User& user,
                                                std::string_view ns) const {
  return rbac_.RulesFor(user, ns);
}

absl::Status Authorization::CheckWrite(const User& user,
                                       const PendingWrite& write) const {
  if (user.is_master()) return absl::OkStatus();
  const Kind& kind = *write.kind;
  if (IsRbac(kind)) {
    return kind.resource.kind.ends_with("Binding") ? CheckBinding(user, write)
                                                   : CheckRole(user, write);
  }
  const std::string node = NodeOf(user);
  if (node.empty() || write.name() == node) return absl::OkStatus();
  if (kind.resource.kind == "Node") {
    return Forbidden(kind, write.name(),
                     StrCat("node ", Quote(node),
                            " is not allowed to modify node ",
                            Quote(write.name())));
  }
  if (kind.resource.kind == "Lease") {
    return Forbidden(kind, write.name(),
                     "can only access node lease with the same name as the "
                     "requesting node");
  }
  return absl::OkStatus();
}

bool Authorization::MayOnRole(const User& user, std::string_view verb,
                              std::string_view role_kind, std::string_view ns,
                              std::string_view name) const {
  Attributes what;
  what.is_resource = true;
  what.verb = verb;
  what.group = kRbacGroup;
  what.version = "v1";
  what.resource = role_kind == "ClusterRole" ? "clusterroles" : "roles";
  what.ns = ns;
  what.name = name;
  return rbac_.Authorize(user, what).allowed;
}

absl::Status Authorization::CheckGrant(
    const User& user, const PendingWrite& write,
    const std::vector<PolicyRule>& wanted) const {
  const std::vector<PolicyRule> have = rbac_.RulesFor(user, write.ns);
  std::string missing;
  for (const PolicyRule& rule : wanted) {
    const PolicyRule rest = Missing(have, rule);
    if (!rest.verbs.empty()) StrAppend(&missing, "\n", RuleText(rest));
  }
  if (missing.empty()) return absl::OkStatus();
  return Forbidden(*write.kind, write.name(),
                   StrCat("user ", Quote(user.name), " (groups=",
                          GroupsText(user),
                          ") is attempting to grant RBAC permissions not "
                          "currently held:",
                          missing));
}

absl::Status Authorization::CheckRole(const User& user,
                                      const PendingWrite& write) const {
  const Json& object = *write.object;
  const Json& aggregation = Get(object, "aggregationRule");
  if (write.before != nullptr &&
      Get(object, "rules") == Get(*write.before, "rules") &&
      aggregation == Get(*write.before, "aggregationRule")) {
    return absl::OkStatus();
  }
  if (MayOnRole(user, "escalate", write.kind->resource.kind, write.ns,
                write.name())) {
    return absl::OkStatus();
  }
  const std::vector<PolicyRule> everything = {
      {{"*"}, {"*"}, {"*"}, {}, {}}, {{"*"}, {}, {}, {}, {"*"}}};
  if (aggregation.is_object() && !CheckGrant(user, write, everything).ok()) {
    return Forbidden(*write.kind, write.name(),
                     "must have cluster-admin privileges to use an "
                     "aggregationRule");
  }
  return CheckGrant(user, write, RulesOf(object));
}

absl::Status Authorization::CheckBinding(const User& user,
                                         const PendingWrite& write) const {
  const Json& object = *write.object;
  const Json& ref = Get(object, "roleRef");
  if (write.before != nullptr && ref == Get(*write.before, "roleRef") &&
      Get(object, "subjects") == Get(*write.before, "subjects")) {
    return absl::OkStatus();
  }
  if (MayOnRole(user, "bind", Text(ref, "kind"), write.ns,
                Text(ref, "name"))) {
    return absl::OkStatus();
  }
  std::optional<std::vector<PolicyRule>> rules =
      rbac_.RulesOfRef(ref, write.ns);
  if (!rules) {
    return NotFound(kRbacGroup,
                    Text(ref, "kind") == "ClusterRole" ? "clusterroles"
                                                       : "roles",
                    Text(ref, "name"));
  }
  return CheckGrant(user, write, *rules);
}

void Authorization::Committed(const Kind& kind, const Json* before,
                              const Json* after) {
  if (!IsRbac(kind)) return;
  if (after != nullptr) {
    rbac_.Put(*after);
  } else if (before != nullptr) {
    rbac_.Remove(*before);
  }
}

void Authorization::Restore(const Kind& kind, const Json& object) {
  if (IsRbac(kind)) rbac_.Put(object);
}

}  // namespace fairlead::api
