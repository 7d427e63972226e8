// SPDX-License-Identifier: Apache-2.0
// Routes to the pod CIDRs of the other nodes, and an "unreachable" one for
// this node's own: a packet to a pod that is gone gets an ICMP error at once
// and never takes the default route.
#ifndef FAIRLEAD_USERSPACE_KUBELET_NETWORK_NODE_ROUTES_H_
#define FAIRLEAD_USERSPACE_KUBELET_NETWORK_NODE_ROUTES_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "userspace/base/ip_address.h"
#include "userspace/netlink/owned_routes.h"

namespace fairlead::kubelet {

struct NodeNetwork {
  std::string name;
  std::vector<IpAddress> internal_ips;
  std::vector<IpPrefix> pod_cidrs;

  friend bool operator==(const NodeNetwork&, const NodeNetwork&) = default;
};

// Pure. A CIDR of another node without an address of its family, or one that
// overlaps our own, has no route.
std::set<netlink::OwnedRoute> DesiredNodeRoutes(
    const std::vector<NodeNetwork>& nodes, const std::string& self,
    int uplink_index);

// Makes the node's table hold `desired` and, of the other routes with our
// protocol, only those to single pods. Adds before it deletes.
[[nodiscard]] absl::Status ApplyNodeRoutes(
    const std::set<netlink::OwnedRoute>& desired);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_NETWORK_NODE_ROUTES_H_
