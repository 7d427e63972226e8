// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/network/host_ports.h"

#include <algorithm>
#include <map>
#include <set>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/netlink/tracked_udp.h"
#include "userspace/netlink/nft.h"

namespace fairlead::kubelet {
namespace {

const char* NftName(Protocol protocol) {
  switch (protocol) {
    case Protocol::kTcp: return "tcp";
    case Protocol::kUdp: return "udp";
    case Protocol::kSctp: return "sctp";
  }
  return "tcp";
}

// One line for each of the pod's addresses that the port can lead to.
void AddPort(const kube::HostPort& port, const PodPorts& pod,
             std::string* rules) {
  for (const IpAddress& to : pod.addresses) {
    if (port.address && port.address->family() != to.family()) continue;
    const char* ip = to.is_v4() ? "ip" : "ip6";
    const std::string target =
        to.is_v4() ? to.ToString() : StrCat("[", to.ToString(), "]");
    StrAppend(rules, "    ",
              port.address ? StrCat(ip, " daddr ", port.address->ToString())
                           : StrCat("meta nfproto ipv", to.is_v4() ? 4 : 6),
              " ", NftName(port.protocol), " dport ", port.port, " dnat ", ip,
              " to ", target, ":", port.container_port, "\n");
  }
}

}  // namespace

std::string FormatHostPorts(const std::vector<PodPorts>& pods) {
  // Added first, so that there is one to delete.
  std::string text = StrCat("table inet ", kHostPortTable,
                            "\ndelete table inet ", kHostPortTable, "\n");
  std::string ports, hairpins;
  for (const PodPorts& pod : pods) {
    if (pod.ports.empty()) continue;
    for (const kube::HostPort& port : pod.ports) AddPort(port, pod, &ports);
    // Its own answer would come from an address that it did not ask.
    for (const IpAddress& a : pod.addresses) {
      const char* ip = a.is_v4() ? "ip" : "ip6";
      StrAppend(&hairpins, "    ", ip, " saddr ", a.ToString(), " ", ip,
                " daddr ", a.ToString(), " ct status dnat masquerade\n");
    }
  }
  if (ports.empty()) return text;
  const std::string ours =
      "    ip daddr 127.0.0.0/8 return\n    ip6 daddr ::1 return\n"
      "    fib daddr type local jump ports\n  }\n";
  StrAppend(&text, "table inet ", kHostPortTable, " {\n  chain ports {\n",
            ports, "  }\n  chain arriving {\n",
            "    type nat hook prerouting priority -100\n", ours,
            "  chain from-node {\n    type nat hook output priority -100\n",
            ours, "  chain to-itself {\n",
            "    type nat hook postrouting priority 100\n", hairpins,
            "  }\n}\n");
  return text;
}

absl::Status ApplyHostPorts(const std::vector<PodPorts>& pods,
                            const std::vector<IpAddress>& node_addresses) {
  const std::string text = FormatHostPorts(pods);
  std::map<Port, std::set<IpAddress>> udp;
  for (const PodPorts& pod : pods) {
    for (const kube::HostPort& port : pod.ports) {
      if (port.protocol == Protocol::kUdp)
        udp[port.port].insert(pod.addresses.begin(), pod.addresses.end());
    }
  }
  FL_RETURN_IF_ERROR(netlink::RunNft(text));
  if (udp.empty()) return absl::OkStatus();
  return netlink::ForgetUdpFlows([&](const netlink::TrackedFlow& flow) {
           const auto it = udp.find(flow.destination_port);
           return it != udp.end() && !it->second.contains(flow.answers) &&
                  std::find(node_addresses.begin(), node_addresses.end(),
                            flow.destination) != node_addresses.end();
         })
      .status();
}

}  // namespace fairlead::kubelet
