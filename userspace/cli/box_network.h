// SPDX-License-Identifier: Apache-2.0
// The namespaces, devices and routes of a cluster in a box. Nothing touches
// the caller's own namespace. Threads: any.
#ifndef FAIRLEAD_USERSPACE_CLI_BOX_NETWORK_H_
#define FAIRLEAD_USERSPACE_CLI_BOX_NETWORK_H_

#include <vector>

#include "absl/status/status.h"
#include "userspace/base/ip_address.h"
#include "userspace/cli/box.h"

namespace fairlead::cli {

// Makes what is missing; OK when all is there.
[[nodiscard]] absl::Status BuildNetwork(const Box& box);

// How the fabric reaches a node's pods: the API server answers them, and is in
// the fabric.
[[nodiscard]] absl::Status RouteToPods(const Box& box, int node,
                                       const std::vector<IpPrefix>& pods);

// Removes the box's namespaces, its pods' too; OK when there are none.
[[nodiscard]] absl::Status RemoveNetwork(const Box& box);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_BOX_NETWORK_H_
