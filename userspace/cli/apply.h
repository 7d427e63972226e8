// SPDX-License-Identifier: Apache-2.0
// `fairleadctl apply`, `get` and `delete`: for machines without kubectl.
// Threads: one.
#ifndef FAIRLEAD_USERSPACE_CLI_APPLY_H_
#define FAIRLEAD_USERSPACE_CLI_APPLY_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "userspace/cli/api_session.h"

namespace fairlead::cli {

// Applies each object of each file ("-": standard input; a folder: its .yaml,
// .yml and .json files) as client-side apply does: create it, or patch what
// changed since the last apply, leaving alone what others have set. Prints
// "deployment.apps/web created". Goes on after an error and returns the first.
[[nodiscard]] absl::Status Apply(ApiSession& api,
                                 const std::vector<std::string>& files,
                                 const std::string& default_namespace);

// The merge patch that takes `live` to `wanted`: fields that `last` had and
// `wanted` has not are removed; fields that only `live` has are left alone.
// Pure. An empty object means nothing to do.
nlohmann::json ThreeWayMergePatch(const nlohmann::json& last,
                                  const nlohmann::json& wanted,
                                  const nlohmann::json& live);

struct GetOptions {
  std::string resource;  // "pods", "deploy", "svc", "deployments.apps"
  std::string name;
  std::string ns = "default";
  bool all_namespaces = false;
  std::string selector;
  std::string output;  // "", "wide", "json"
};
// Prints the server's own table, or JSON.
[[nodiscard]] absl::Status Get(ApiSession& api, const GetOptions& options);

// Asks the server to delete an object and prints what it was; does not wait.
// `grace_period_seconds` < 0: the object's own.
[[nodiscard]] absl::Status Delete(ApiSession& api, const GetOptions& options,
                                  int grace_period_seconds);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_APPLY_H_
