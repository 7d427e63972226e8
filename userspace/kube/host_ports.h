// SPDX-License-Identifier: Apache-2.0
// Ports of its node that a pod asks for (core/v1 ContainerPort.hostPort), and
// when two pods ask for the same. Values, pure functions.
#ifndef FAIRLEAD_USERSPACE_KUBE_HOST_PORTS_H_
#define FAIRLEAD_USERSPACE_KUBE_HOST_PORTS_H_

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "userspace/base/ip_address.h"

namespace fairlead::kube {

struct HostPort {
  Port port = 0, container_port = 0;
  Protocol protocol = Protocol::kTcp;
  std::optional<IpAddress> address;  // hostIP; none: every one of the node's

  friend bool operator==(const HostPort&, const HostPort&) = default;
};

// Of the containers and sidecars of `pod`; ports that can't be are left out.
std::vector<HostPort> HostPortsOf(const nlohmann::json& pod);

bool Conflict(const HostPort& a, const HostPort& b);
bool AnyConflict(const std::vector<HostPort>& a,
                 const std::vector<HostPort>& b);

// Why a pod can't be on a node, in the scheduler's and the kubelet's words.
inline constexpr std::string_view kNoFreePorts =
    "node(s) didn't have free ports for the requested pod ports";

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_HOST_PORTS_H_
