// SPDX-License-Identifier: Apache-2.0
// Who a request acts as, and whether it may.
//
// There is no authentication yet: whoever reaches the server is the cluster's
// administrator. An administrator may impersonate (kubectl --as), and acts
// with that user's rights alone. No role is bound to anybody, so that what is
// not in the group system:masters may do nothing but what everybody may: ask
// about itself, read health, version and discovery.
//
// Threads: pure functions.
#ifndef FAIRLEAD_CONTROL_API_IDENTITY_H_
#define FAIRLEAD_CONTROL_API_IDENTITY_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "control/api/kind.h"
#include "userspace/kube/transport.h"

namespace fairlead::api {

struct User {
  std::string name, uid;
  std::vector<std::string> groups;

  bool is_master() const;  // in the group system:masters
};

// By the Impersonate-* headers, or the administrator.
User UserOf(const kube::Request& request);

// The verb as authorisation names it: "list", "deletecollection", "watch".
std::string_view VerbOf(std::string_view method, bool collection, bool watch);

// OK, or a 403 that says who may not do what. `subresource` may be empty.
absl::Status Authorize(const User& user, std::string_view verb,
                       const Kind& kind, std::string_view subresource,
                       std::string_view ns, std::string_view name);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_IDENTITY_H_
