// SPDX-License-Identifier: Apache-2.0
#include "control/api/identity.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "control/api/api_status.h"
#include "control/api/selector.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

constexpr char kMasters[] = "system:masters";
constexpr char kAuthenticated[] = "system:authenticated";
constexpr char kUnauthenticated[] = "system:unauthenticated";
constexpr char kAnonymous[] = "system:anonymous";
constexpr std::string_view kServiceAccount = "system:serviceaccount:";

std::string ResourceVerb(std::string_view method, bool collection,
                         bool watch) {
  if (method == "GET" || method == "HEAD") {
    return watch ? "watch" : collection ? "list" : "get";
  }
  if (method == "POST") return "create";
  if (method == "PUT") return "update";
  if (method == "PATCH") return "patch";
  if (method == "DELETE") return collection ? "deletecollection" : "delete";
  return absl::AsciiStrToLower(Absl(method));
}

// The name that a list is narrowed to by metadata.name=NAME.
std::string SelectedName(std::string_view field_selector) {
  auto selector = FieldSelector::Parse(field_selector);
  if (!selector.ok()) return "";
  for (const FieldSelector::Term& term : selector->terms()) {
    if (term.field == "metadata.name" && term.equal) return term.value;
  }
  return "";
}

Attributes About(std::string resource, std::string_view name) {
  Attributes what;
  what.is_resource = true;
  what.verb = "impersonate";
  what.resource = std::move(resource);
  what.name = name;
  return what;
}

}  // namespace

bool User::InGroup(std::string_view group) const {
  return std::find(groups.begin(), groups.end(), group) != groups.end();
}

User Administrator() {
  return {"admin", "admin", {kMasters, kAuthenticated}, {}};
}
User Anonymous() { return {kAnonymous, "", {kUnauthenticated}, {}}; }

User ServiceAccountUser(std::string_view ns, std::string_view name,
                        std::string_view uid) {
  return {StrCat(kServiceAccount, ns, ":", name),
          std::string(uid),
          {"system:serviceaccounts", StrCat("system:serviceaccounts:", ns),
           kAuthenticated},
          {}};
}

bool ParseServiceAccount(std::string_view user, std::string* ns,
                         std::string* name) {
  if (!user.starts_with(kServiceAccount)) return false;
  user.remove_prefix(kServiceAccount.size());
  const size_t colon = user.find(':');
  if (colon == user.npos || colon == 0 || colon + 1 == user.size()) {
    return false;
  }
  *ns = user.substr(0, colon);
  *name = user.substr(colon + 1);
  return true;
}

Attributes AttributesOf(std::string_view method, std::string_view path,
                        const std::vector<std::string>& segments,
                        const Query& query) {
  Attributes what;
  what.path = path;
  what.verb = absl::AsciiStrToLower(Absl(method));
  const bool core = segments.size() >= 3 && segments[0] == "api";
  const bool grouped = segments.size() >= 4 && segments[0] == "apis";
  if (!core && !grouped) return what;
  what.is_resource = true;
  size_t at = 1;
  if (grouped) what.group = segments[at++];
  what.version = segments[at++];
  if (segments[at] == "namespaces" && at + 1 < segments.size()) {
    what.ns = segments[at + 1];
    const bool within = at + 2 < segments.size() &&
                        segments[at + 2] != "status" &&
                        segments[at + 2] != "finalize";
    if (within) at += 2;
  }
  what.resource = segments[at++];
  if (at < segments.size()) what.name = segments[at++];
  if (at < segments.size()) what.subresource = segments[at++];
  const bool collection = what.name.empty();
  what.verb = ResourceVerb(method, collection, query.Bool("watch"));
  if (what.verb == "list" || what.verb == "watch" ||
      what.verb == "deletecollection") {
    what.field_selector = query.Get("fieldSelector");
    if (collection) what.name = SelectedName(what.field_selector);
  }
  return what;
}

std::string RefusalText(const User& user, const Attributes& what,
                        std::string_view reason) {
  std::string text = StrCat("User ", Quote(user.name), " cannot ", what.verb);
  if (!what.is_resource) {
    StrAppend(&text, " path ", Quote(what.path));
  } else {
    StrAppend(&text, " resource \"", what.resource,
              what.subresource.empty() ? "" : "/", what.subresource,
              "\" in API group ", Quote(what.group));
    if (what.ns.empty()) {
      text += " at the cluster scope";
    } else {
      StrAppend(&text, " in the namespace ", Quote(what.ns));
    }
  }
  if (!reason.empty()) StrAppend(&text, ": ", reason);
  return text;
}

absl::Status Refuse(const User& user, const Attributes& what,
                    std::string_view reason) {
  return Forbidden(what.group, what.resource, what.name,
                   RefusalText(user, what, reason));
}

absl::StatusOr<Impersonation> ImpersonationOf(const kube::Headers& headers) {
  constexpr std::string_view kExtra = "impersonate-extra-";
  Impersonation out;
  User& user = out.user;
  user.name = FindHeader(headers, "impersonate-user");
  user.uid = FindHeader(headers, "impersonate-uid");
  std::vector<Attributes> more;
  for (const auto& [key, value] : headers) {
    const std::string lower = absl::AsciiStrToLower(key);
    if (lower == "impersonate-group") {
      user.groups.push_back(value);
      more.push_back(About("groups", value));
    } else if (lower.starts_with(kExtra)) {
      const std::string name = lower.substr(kExtra.size());
      user.extra[name].push_back(value);
      more.push_back(About("userextras", value));
      more.back().group = "authentication.k8s.io";
      more.back().subresource = name;
    }
  }
  if (!user.uid.empty()) {
    more.push_back(About("uids", user.uid));
    more.back().group = "authentication.k8s.io";
  }
  if (user.name.empty()) {
    if (more.empty()) return out;
    return InternalError(
        "requested [{UID  " + user.uid + "  authentication.k8s.io/v1  }] "
        "without impersonating a user");
  }
  std::string ns, name;
  const bool account = ParseServiceAccount(user.name, &ns, &name);
  out.needed.push_back(About(account ? "serviceaccounts" : "users",
                             account ? name : user.name));
  out.needed[0].ns = ns;
  out.needed.insert(out.needed.end(), more.begin(), more.end());
  if (account && user.groups.empty()) {
    user.groups = ServiceAccountUser(ns, name, "").groups;
    return out;
  }
  const char* everybody =
      user.name == kAnonymous ? kUnauthenticated : kAuthenticated;
  if (!user.InGroup(everybody)) user.groups.emplace_back(everybody);
  return out;
}

}  // namespace fairlead::api
