// SPDX-License-Identifier: Apache-2.0
// Which of the host's addresses mean what: which take NodePorts, and which
// one a masqueraded flow gets. Pure, but for PrimaryAddress().
#ifndef FAIRLEAD_USERSPACE_AGENT_LOCAL_ADDRESSES_H_
#define FAIRLEAD_USERSPACE_AGENT_LOCAL_ADDRESSES_H_

#include <optional>
#include <set>
#include <vector>

#include "userspace/agent/config.h"
#include "userspace/base/ip_address.h"
#include "userspace/model/cluster.h"
#include "userspace/netlink/netlink_socket.h"

namespace fairlead::agent {

// The address that the kernel gives to what leaves by the default route, in
// the calling thread's network namespace. Sends nothing.
std::optional<IpAddress> PrimaryAddress(IpFamily family);

// The node's own address of one family: configured, else the API's (`node`)
// if it is local, else `primary`, else the first local one that isn't of a
// loopback or link scope. nullopt: the host has none.
std::optional<IpAddress> NodeIp(IpFamily family, const AgentConfig& config,
                                const std::vector<IpAddress>& node,
                                std::optional<IpAddress> primary,
                                const std::set<netlink::LinkAddress>& local);

// For the model: all local addresses but link-scope ones, sorted.
std::vector<model::NodeAddress> NodeAddresses(
    const AgentConfig& config, const std::set<netlink::LinkAddress>& local,
    const std::vector<IpAddress>& node_ips);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_LOCAL_ADDRESSES_H_
