// SPDX-License-Identifier: Apache-2.0
// What is to be done to remove kube-proxy's rules: texts in, texts and commands
// out. Pure.
#ifndef FAIRLEAD_USERSPACE_AGENT_KUBE_PROXY_PLAN_H_
#define FAIRLEAD_USERSPACE_AGENT_KUBE_PROXY_PLAN_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace fairlead::agent {

// What `iptables-restore --noflush` must read so that, of what iptables-save has
// said, kube-proxy's chains and the jumps to them go and all else stays; "" if
// there is nothing to do. The kubelet's own chains stay.
std::string KubeProxyRestoreText(std::string_view saved);

// The virtual servers in the text of /proc/net/ip_vs as arguments for ipvsadm:
// "-t 10.96.0.1:80", each with its real servers, "10.244.1.10:8080".
struct VirtualServer {
  std::string service;
  std::vector<std::string> destinations;
  friend bool operator==(const VirtualServer&, const VirtualServer&) = default;
};
std::vector<VirtualServer> ParseVirtualServers(std::string_view text);
// How many connections the text of /proc/net/ip_vs_conn has. What remembers a
// client's server (session affinity) is there, too, for hours: it is none.
size_t CountConnections(std::string_view text);

// The order of it: no real server takes new connections any more; once there is
// no connection, all goes.
std::vector<std::vector<std::string>> IpvsDrainCommands(
    const std::vector<VirtualServer>& servers);
std::vector<std::vector<std::string>> IpvsRemoveCommands(
    const std::vector<VirtualServer>& servers);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_KUBE_PROXY_PLAN_H_
