// SPDX-License-Identifier: Apache-2.0
// Ports of the node that lead to its pods: destination translation by rules of
// the kernel in one table of the kubelet's own, so that they work on while no
// kubelet runs. Every change replaces the table's rules in one step.
//
// Threads: any, one call at a time; of the calling thread's network namespace.
#ifndef FAIRLEAD_USERSPACE_KUBELET_NETWORK_HOST_PORTS_H_
#define FAIRLEAD_USERSPACE_KUBELET_NETWORK_HOST_PORTS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "userspace/base/ip_address.h"
#include "userspace/kube/host_ports.h"

namespace fairlead::kubelet {

inline constexpr char kHostPortTable[] = "fairlead-hostports";

struct PodPorts {
  std::vector<kube::HostPort> ports;
  std::vector<IpAddress> addresses;  // the pod's, at most one of each family
};

// The rules as nft reads them; without ports only that the table goes. Pure.
// A port leads to the pod from outside, from other pods, from the node and
// from the pod itself, at the node's addresses or at its hostIP. Loopback
// addresses are left alone.
std::string FormatHostPorts(const std::vector<PodPorts>& pods);

// Makes it so, and forgets UDP flows to `node_addresses` that lead elsewhere: a
// client that keeps its port would be sent to a pod that is gone for as long
// as it asks.
[[nodiscard]] absl::Status ApplyHostPorts(
    const std::vector<PodPorts>& pods,
    const std::vector<IpAddress>& node_addresses);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_NETWORK_HOST_PORTS_H_
