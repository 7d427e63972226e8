// SPDX-License-Identifier: Apache-2.0
// Who a request acts as, what it asks for, and how a refusal reads.
//
// Threads: pure functions.
#ifndef FAIRLEAD_CONTROL_API_IDENTITY_H_
#define FAIRLEAD_CONTROL_API_IDENTITY_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "control/api/http.h"
#include "userspace/kube/transport.h"

namespace fairlead::api {

struct User {
  std::string name, uid;
  std::vector<std::string> groups;
  std::map<std::string, std::vector<std::string>> extra;

  bool InGroup(std::string_view group) const;
  bool is_master() const { return InGroup("system:masters"); }
};

// The administrator: who reached the server without having to say who it is.
User Administrator();
// Who brought no credentials.
User Anonymous();
// "system:serviceaccount:NAMESPACE:NAME" with its groups.
User ServiceAccountUser(std::string_view ns, std::string_view name,
                        std::string_view uid);
// The namespace and name in such a user name; false: it isn't one.
bool ParseServiceAccount(std::string_view user, std::string* ns,
                         std::string* name);

// What a request asks for, as rules speak of it.
struct Attributes {
  std::string verb;          // "list", "deletecollection"; "get" of a path
  bool is_resource = false;  // else it is about `path` alone
  std::string group, version, resource, subresource, ns, name;
  std::string path;
  // fieldSelector of a list or watch.
  std::string field_selector;
};

// By method, path and query alone; the path may lead nowhere. `segments`:
// its decoded parts.
Attributes AttributesOf(std::string_view method, std::string_view path,
                        const std::vector<std::string>& segments,
                        const Query& query);

struct Decision {
  bool allowed = false;
  std::string reason;  // why not; may be empty
};

struct PolicyRule {
  std::vector<std::string> verbs, groups, resources, names, urls;
};

// Decides. The server asks for every request.
class Authorizer {
 public:
  virtual ~Authorizer() = default;
  virtual Decision Authorize(const User& user,
                             const Attributes& what) const = 0;
  // All that the user may in a namespace, for SelfSubjectRulesReview.
  virtual std::vector<PolicyRule> RulesFor(const User& user,
                                           std::string_view ns) const = 0;
};

// 'User "u" cannot list resource "pods" in API group "" in the namespace "n"'
std::string RefusalText(const User& user, const Attributes& what,
                        std::string_view reason);
// The 403 that says so.
absl::Status Refuse(const User& user, const Attributes& what,
                    std::string_view reason);

// Whom the Impersonate-* headers name, and what the impersonator needs to be
// allowed for it. Empty `needed`: there are no such headers.
struct Impersonation {
  User user;
  std::vector<Attributes> needed;
};
// A 400 or 500 for headers that do not fit together.
[[nodiscard]] absl::StatusOr<Impersonation> ImpersonationOf(
    const kube::Headers& headers);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_IDENTITY_H_
