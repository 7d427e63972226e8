// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/network/node_routes.h"

#include "userspace/base/status.h"
#include "userspace/kubelet/network/pod_network.h"

namespace fairlead::kubelet {
namespace {

bool IsHostRoute(const IpPrefix& prefix) {
  return prefix.bits() == (prefix.family() == IpFamily::kIpv4 ? 32 : 128);
}

bool Overlap(const IpPrefix& a, const IpPrefix& b) {
  return a.family() == b.family() &&
         (a.Contains(b.address()) || b.Contains(a.address()));
}

}  // namespace

std::set<netlink::OwnedRoute> DesiredNodeRoutes(
    const std::vector<NodeNetwork>& nodes, const std::string& self,
    int uplink_index) {
  std::set<netlink::OwnedRoute> routes;
  std::vector<IpPrefix> own;
  for (const NodeNetwork& node : nodes) {
    if (node.name == self) own = node.pod_cidrs;
  }
  for (const IpPrefix& cidr : own) routes.insert({.destination = cidr});
  if (uplink_index == 0) return routes;
  for (const NodeNetwork& node : nodes) {
    if (node.name == self) continue;
    for (const IpPrefix& cidr : node.pod_cidrs) {
      bool clash = false;
      for (const IpPrefix& ours : own) clash = clash || Overlap(cidr, ours);
      if (clash) continue;
      for (const IpAddress& ip : node.internal_ips) {
        if (ip.family() != cidr.family()) continue;
        routes.insert({.destination = cidr,
                       .link_index = uplink_index,
                       .gateway = ip});
        break;
      }
    }
  }
  return routes;
}

absl::Status ApplyNodeRoutes(const std::set<netlink::OwnedRoute>& desired) {
  FL_ASSIGN_OR_RETURN(auto routes,
                      netlink::OwnedRoutes::Open(kRouteProtocol));
  FL_ASSIGN_OR_RETURN(const auto actual, routes.List());
  absl::Status status;
  std::set<IpPrefix> destinations;
  for (const netlink::OwnedRoute& route : desired) {
    destinations.insert(route.destination);
    if (!actual.contains(route)) status.Update(routes.Replace(route));
  }
  for (const netlink::OwnedRoute& route : actual) {
    if (!destinations.contains(route.destination) &&
        !IsHostRoute(route.destination)) {
      status.Update(routes.Delete(route));
    }
  }
  return status;
}

}  // namespace fairlead::kubelet
