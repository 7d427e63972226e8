// SPDX-License-Identifier: Apache-2.0
// Whether a request may be done: the rules for nodes (a kubelet and what
// belongs to its pods), then roles. And what is asked of a write beyond that:
// nobody gives rights away that they don't have, a node writes itself only.
//
// It learns roles and bindings as an Admission that admits everything.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_AUTHORIZATION_H_
#define FAIRLEAD_CONTROL_API_AUTHORIZATION_H_

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "control/api/identity.h"
#include "control/api/kind.h"
#include "control/api/rbac.h"

namespace fairlead::api {

// The pods that are bound to a node, as the node's rules ask for them.
class NodePods {
 public:
  virtual ~NodePods() = default;
  // Whether the pod exists and is bound to the node.
  virtual bool IsOn(std::string_view node, std::string_view ns,
                    std::string_view pod) const = 0;
  // Whether one of the node's pods in `ns` mentions the object: "secrets",
  // "configmaps" or "serviceaccounts".
  virtual bool Mention(std::string_view node, std::string_view resource,
                       std::string_view ns, std::string_view name) const = 0;
};

// "node-1" of "system:node:node-1" in the group system:nodes; else "".
std::string NodeOf(const User& user);
// What a node may; nullopt: it is for the roles to decide.
std::optional<Decision> AuthorizeNode(const NodePods& pods,
                                      std::string_view node,
                                      const Attributes& what);

// An object about to be written.
struct PendingWrite {
  const Kind* kind;
  std::string ns;  // where it will be, whatever its metadata says
  const Json* object;
  const Json* before;  // null for a new one

  std::string_view name() const;
};

class Authorization : public Authorizer, public Admission {
 public:
  // REQUIRES: before the first Authorize; `pods` outlives it.
  void set_node_pods(const NodePods* pods) { pods_ = pods; }

  Decision Authorize(const User& user, const Attributes& what) const override;
  std::vector<PolicyRule> RulesFor(const User& user,
                                   std::string_view ns) const override;
  // OK, or the 403 (404 for a role that does not exist).
  [[nodiscard]] absl::Status CheckWrite(const User& user,
                                        const PendingWrite& write) const;

  FieldErrors Admit(const Kind&, WriteVerb, bool, Json&,
                    const Json*) override {
    return {};
  }
  void Committed(const Kind& kind, const Json* before,
                 const Json* after) override;
  void Aborted(const Kind&, const Json&, const Json*) override {}
  void Restore(const Kind& kind, const Json& object) override;

 private:
  [[nodiscard]] absl::Status CheckGrant(
      const User& user, const PendingWrite& write,
      const std::vector<PolicyRule>& wanted) const;
  [[nodiscard]] absl::Status CheckRole(const User& user,
                                       const PendingWrite& write) const;
  [[nodiscard]] absl::Status CheckBinding(const User& user,
                                          const PendingWrite& write) const;
  bool MayOnRole(const User& user, std::string_view verb,
                 std::string_view role_kind, std::string_view ns,
                 std::string_view name) const;

  const NodePods* pods_ = nullptr;
  Rbac rbac_;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_AUTHORIZATION_H_
