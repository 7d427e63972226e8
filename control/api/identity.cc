// SPDX-License-Identifier: Apache-2.0
#include "control/api/identity.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "control/api/api_status.h"
#include "control/api/http.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr char kMasters[] = "system:masters";
constexpr char kAuthenticated[] = "system:authenticated";
constexpr char kUnauthenticated[] = "system:unauthenticated";
constexpr char kAnonymous[] = "system:anonymous";

}  // namespace

bool User::is_master() const {
  return std::find(groups.begin(), groups.end(), kMasters) != groups.end();
}

User UserOf(const kube::Request& request) {
  std::string_view name = FindHeader(request.headers, "impersonate-user");
  if (name.empty()) return {"admin", "admin", {kMasters, kAuthenticated}};
  User user{std::string(name),
            std::string(FindHeader(request.headers, "impersonate-uid")),
            {}};
  for (const auto& [key, value] : request.headers) {
    if (absl::EqualsIgnoreCase(key, "impersonate-group")) {
      user.groups.push_back(value);
    }
  }
  user.groups.emplace_back(name == kAnonymous ? kUnauthenticated
                                              : kAuthenticated);
  return user;
}

std::string_view VerbOf(std::string_view method, bool collection, bool watch) {
  if (method == "GET" || method == "HEAD") {
    return watch ? "watch" : collection ? "list" : "get";
  }
  if (method == "POST") return "create";
  if (method == "PUT") return "update";
  if (method == "PATCH") return "patch";
  if (method == "DELETE") return collection ? "deletecollection" : "delete";
  return "";
}

absl::Status Authorize(const User& user, std::string_view verb,
                       const Kind& kind, std::string_view subresource,
                       std::string_view ns, std::string_view name) {
  // Everybody may ask about themselves.
  if (user.is_master() || kind.review) return absl::OkStatus();
  std::string resource = kind.resource.plural;
  if (!subresource.empty()) StrAppend(&resource, "/", subresource);
  std::string where = ns.empty() ? std::string(" at the cluster scope")
                                 : StrCat(" in the namespace \"", ns, "\"");
  return Forbidden(
      kind, name,
      StrCat("User \"", user.name, "\" cannot ", verb, " resource \"",
             resource, "\" in API group \"", kind.resource.group, "\"",
             where));
}

}  // namespace fairlead::api
