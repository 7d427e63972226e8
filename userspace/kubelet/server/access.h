// SPDX-License-Identifier: Apache-2.0
// Who may ask the kubelet: the API server's kubelet client and the group
// system:masters, by client certificate. In Kubernetes the kubelet asks the API
// server about all others (TokenReview, SubjectAccessReview); here they are
// refused.
//
// Threads: pure functions.
#ifndef FAIRLEAD_USERSPACE_KUBELET_SERVER_ACCESS_H_
#define FAIRLEAD_USERSPACE_KUBELET_SERVER_ACCESS_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "userspace/kubelet/server/connection.h"
#include "userspace/pki/certificate.h"

namespace fairlead::kubelet {

struct Refusal {
  int status = 0;    // 401: who are you, 403: not you
  std::string text;  // the answer's body, in the kubelet's words
  std::string why;   // for the log only
};

// nullopt: `request` may be served. `shown`: the connection's certificate,
// verified by nobody yet; `now` is wall-clock time.
std::optional<Refusal> CheckAccess(
    const pki::Certificate& client_authority,
    const std::optional<pki::Certificate>& shown, const StreamRequest& request,
    absl::Time now);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_SERVER_ACCESS_H_
