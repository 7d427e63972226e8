// SPDX-License-Identifier: Apache-2.0
// Gives each node its pod ranges: a /24 of the IPv4 and a /64 of the IPv6
// cluster range.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_NODE_IPAM_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_NODE_IPAM_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"
#include "userspace/base/ip_address.h"

namespace fairlead::controllers {

// kInvalidArgument: two ranges of one family, or one too small for a node.
[[nodiscard]] absl::Status CheckClusterCidrs(
    const std::vector<IpPrefix>& cluster_cidrs);

// The lowest free ranges; a node keeps what it has. Says in an event when a
// range is used up.
Plan PlanPodCidrs(const Object& node, const std::vector<Object>& nodes,
                  const std::vector<IpPrefix>& cluster_cidrs);

class NodeIpamController {
 public:
  NodeIpamController(const Context& context,
                     std::vector<IpPrefix> cluster_cidrs);
  Shell& shell() { return shell_; }

 private:
  Context context_;
  std::vector<IpPrefix> cluster_cidrs_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_NODE_IPAM_H_
