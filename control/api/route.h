// SPDX-License-Identifier: Apache-2.0
// Where the path of a request leads.
//
// Threads: pure functions.
#ifndef FAIRLEAD_CONTROL_API_ROUTE_H_
#define FAIRLEAD_CONTROL_API_ROUTE_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "control/api/registry.h"

namespace fairlead::api {

struct Route {
  Served* served = nullptr;
  std::string ns, name, subresource;
};

// The decoded segments of a path; nullopt when it is malformed ("//").
std::optional<std::vector<std::string>> PathSegments(std::string_view path);

// kNotFound with a Status: a known group, but no such resource. nullopt: not
// an API path at all.
std::optional<absl::StatusOr<Route>> FindRoute(
    Registry& registry, const std::vector<std::string>& segments);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_ROUTE_H_
