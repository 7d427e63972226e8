// SPDX-License-Identifier: Apache-2.0
// What a kubelet may: read what its own pods need, write itself and them.
#include "control/api/authorization.h"
#include "control/api/selector.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr std::string_view kNodeUser = "system:node:";
constexpr char kLeaseNamespace[] = "kube-node-lease";

Decision Yes() { return {true, ""}; }
Decision No(std::string reason) { return {false, std::move(reason)}; }

bool IsRead(const std::string& verb) {
  return verb == "get" || verb == "list" || verb == "watch";
}
bool IsUpdate(const std::string& verb) {
  return verb == "update" || verb == "patch";
}

// Whether a list asks for the pods of one node only.
bool SelectsNode(const std::string& selector, std::string_view node) {
  auto parsed = FieldSelector::Parse(selector);
  if (!parsed.ok()) return false;
  for (const FieldSelector::Term& term : parsed->terms()) {
    if (term.field == "spec.nodeName" && term.equal && term.value == node) {
      return true;
    }
  }
  return false;
}

Decision NoRelation(std::string_view node) {
  return No(StrCat("no relationship found between node '", node,
                   "' and this object"));
}

std::optional<Decision> ForPods(const NodePods& pods, std::string_view node,
                                const Attributes& what) {
  const bool own = !what.name.empty() && pods.IsOn(node, what.ns, what.name);
  if (IsRead(what.verb) && what.subresource.empty()) {
    if (what.verb != "get" && SelectsNode(what.field_selector, node)) {
      return Yes();
    }
    if (own) return Yes();
    return what.verb == "get" ? NoRelation(node)
                              : No("can only list/watch pods with "
                                   "spec.nodeName field selector");
  }
  const bool writes_own =
      (what.subresource.empty() && what.verb == "delete") ||
      (what.subresource == "status" && IsUpdate(what.verb)) ||
      (what.subresource == "eviction" && what.verb == "create");
  if (!writes_own) return std::nullopt;
  return own ? Yes() : NoRelation(node);
}

std::optional<Decision> ForNodes(std::string_view node,
                                 const Attributes& what) {
  if (!what.subresource.empty() && what.subresource != "status") {
    return std::nullopt;
  }
  // Who it is that is made stands in the body (Authorization::CheckWrite).
  if (what.verb == "create") return Yes();
  if (IsRead(what.verb)) {
    return what.name == node
               ? Yes()
               : No(StrCat("node '", node, "' cannot read '", what.name,
                           "', only its own Node object"));
  }
  if (!IsUpdate(what.verb)) return std::nullopt;
  return what.name == node
             ? Yes()
             : No(StrCat("node '", node, "' is not allowed to modify node '",
                         what.name, "'"));
}

std::optional<Decision> ForLeases(std::string_view node,
                                  const Attributes& what) {
  if (what.ns != kLeaseNamespace) {
    return No(StrCat("can only access leases in the \"", kLeaseNamespace,
                     "\" system namespace"));
  }
  if (what.verb == "create" && what.name.empty()) return Yes();
  const bool verb = what.verb == "get" || IsUpdate(what.verb) ||
                    what.verb == "delete";
  if (!verb) return No("can only get, create, update, patch, or delete a node "
                       "lease");
  return what.name == node
             ? Yes()
             : No("can only access node lease with the same name as the "
                  "requesting node");
}

std::optional<Decision> ForMentioned(const NodePods& pods,
                                     std::string_view node,
                                     const Attributes& what) {
  if (what.resource == "serviceaccounts") {
    if (what.subresource != "token" || what.verb != "create") {
      return std::nullopt;
    }
  } else if (!IsRead(what.verb) || !what.subresource.empty()) {
    return std::nullopt;
  }
  if (what.name.empty()) {
    return No("can only read resources of this type by name");
  }
  return pods.Mention(node, what.resource, what.ns, what.name)
             ? Yes()
             : NoRelation(node);
}

}  // namespace

std::string NodeOf(const User& user) {
  if (!user.InGroup("system:nodes")) return "";
  if (!user.name.starts_with(kNodeUser)) return "";
  return user.name.substr(kNodeUser.size());
}

std::optional<Decision> AuthorizeNode(const NodePods& pods,
                                      std::string_view node,
                                      const Attributes& what) {
  if (!what.is_resource) return std::nullopt;
  if (what.group.empty()) {
    if (what.resource == "pods") return ForPods(pods, node, what);
    if (what.resource == "nodes") return ForNodes(node, what);
    if (what.resource == "secrets" || what.resource == "configmaps" ||
        what.resource == "serviceaccounts") {
      return ForMentioned(pods, node, what);
    }
    if (what.resource == "events" && what.subresource.empty() &&
        (what.verb == "create" || IsUpdate(what.verb))) {
      return Yes();
    }
    if (what.resource == "services" && IsRead(what.verb)) return Yes();
  }
  if (what.group == "coordination.k8s.io" && what.resource == "leases") {
    return ForLeases(node, what);
  }
  const bool asks =
      what.verb == "create" &&
      ((what.group == "authorization.k8s.io" &&
        what.resource == "subjectaccessreviews") ||
       (what.group == "authentication.k8s.io" &&
        what.resource == "tokenreviews"));
  return asks ? std::optional(Yes()) : std::nullopt;
}

}  // namespace fairlead::api
