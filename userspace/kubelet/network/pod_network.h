// SPDX-License-Identifier: Apache-2.0
// A pod's network: one veth pair, routed. The node's end is named after the
// pod's uid, so that a kubelet without memory recognises it. All of the pod's
// traffic passes the node's end, where tc programs see it. Neighbour entries
// are permanent at both ends: nothing is resolved, and the first packet of a
// connection never waits.
//
// Threads: any, one call at a time for a pod; the caller's thread is in the
// node's network namespace.
#ifndef FAIRLEAD_USERSPACE_KUBELET_NETWORK_POD_NETWORK_H_
#define FAIRLEAD_USERSPACE_KUBELET_NETWORK_POD_NETWORK_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"

namespace fairlead::kubelet {

// `ip route` shows it; the number is free in iproute2's table.
inline constexpr uint8_t kRouteProtocol = 202;
inline constexpr char kVethPrefix[] = "flp";

// "flp" and ten hex digits that depend on nothing but the uid.
std::string VethName(std::string_view pod_uid);

struct PodNetwork {
  std::string uid;
  std::string netns;  // path
  std::vector<IpAddress> addresses;
  std::vector<IpAddress> node_addresses;  // source of what the node sends
  uint32_t mtu = 0;  // 0: the device's default
};

// Idempotent: what is there is made anew.
[[nodiscard]] absl::Status SetUpPodNetwork(const PodNetwork& network);
// The device goes with its routes and neighbours. OK if there is none.
[[nodiscard]] absl::Status TearDownPodNetwork(std::string_view uid);
// The node's ends of pod networks that exist.
[[nodiscard]] absl::StatusOr<std::vector<std::string>> ListPodVeths();

// Forwarding on, in the calling thread's network namespace.
[[nodiscard]] absl::Status PrepareNode();
// 0 when the device doesn't exist.
uint32_t MtuOf(const std::string& device);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_NETWORK_POD_NETWORK_H_
