// SPDX-License-Identifier: Apache-2.0
#include "control/api/route.h"

#include <utility>

#include "absl/strings/str_split.h"
#include "control/api/api_status.h"
#include "control/api/http.h"
#include "userspace/base/strings.h"

namespace fairlead::api {

std::optional<std::vector<std::string>> PathSegments(std::string_view path) {
  if (!path.starts_with('/')) return std::nullopt;
  path.remove_prefix(1);
  if (path.ends_with('/')) path.remove_suffix(1);
  std::vector<std::string> out;
  if (path.empty()) return out;  // "/"
  for (absl::string_view part : absl::StrSplit(Absl(path), '/')) {
    std::optional<std::string> decoded = PercentDecode(Std(part), false);
    if (!decoded.has_value() || decoded->empty()) return std::nullopt;
    out.push_back(*std::move(decoded));
  }
  return out;
}

std::optional<absl::StatusOr<Route>> FindRoute(
    Registry& registry, const std::vector<std::string>& segments) {
  size_t at;
  std::string group;
  if (segments.empty()) return std::nullopt;
  if (segments[0] == "api") {
    at = 1;
  } else if (segments[0] == "apis" && segments.size() > 1) {
    group = segments[1];
    at = 2;
    bool known = false;
    for (const auto& served : registry.served()) {
      known |= served->kind->resource.group == group;
    }
    if (!known) return std::nullopt;
  } else {
    return std::nullopt;
  }
  if (segments.size() < at + 2) return NoSuchResource();
  std::string version = segments[at++];
  Route route;
  // "namespaces/x/pods" is pods in x; "namespaces/x" and
  // "namespaces/x/status" are the namespace itself.
  bool in_namespace = segments[at] == "namespaces" &&
                      segments.size() >= at + 3 &&
                      registry.Find(group, version, segments[at + 2]) &&
                      registry.Find(group, version, segments[at + 2])
                          ->kind->resource.namespaced;
  if (in_namespace) {
    route.ns = segments[at + 1];
    at += 2;
  }
  route.served = registry.Find(group, version, segments[at++]);
  if (route.served == nullptr || segments.size() > at + 2) {
    return NoSuchResource();
  }
  if (at < segments.size()) route.name = segments[at++];
  if (at < segments.size()) route.subresource = segments[at++];
  // An object of a namespaced kind needs its namespace.
  if (!route.name.empty() && route.served->kind->resource.namespaced &&
      route.ns.empty()) {
    return NoSuchResource();
  }
  return route;
}

}  // namespace fairlead::api
