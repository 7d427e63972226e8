// SPDX-License-Identifier: Apache-2.0
// What the daemons of a box's nodes show the API server, and a kubelet the API
// server. Threads: one.
#ifndef FAIRLEAD_USERSPACE_CLI_CREDENTIALS_H_
#define FAIRLEAD_USERSPACE_CLI_CREDENTIALS_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "userspace/cli/box.h"

namespace fairlead::cli {

// A kubeconfig for each kubelet, which is its node and may what nodes may, and
// for each agent, which may what kube-proxy may; and each kubelet's serving
// certificate. What holds a key has mode 0600. The box's authority signs them,
// and is made if there is none. Each call makes new certificates, good for
// pki::kLeafLife, which running daemons take within seconds.
[[nodiscard]] absl::Status WriteNodeCredentials(const Box& box,
                                                absl::Time now);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_CREDENTIALS_H_
