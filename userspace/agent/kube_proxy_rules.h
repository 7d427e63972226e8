// SPDX-License-Identifier: Apache-2.0
// Has kube-proxy left rules on this node, and of which kind?
//
// Looks at the calling thread's network namespace, and changes nothing there.
#ifndef FAIRLEAD_USERSPACE_AGENT_KUBE_PROXY_RULES_H_
#define FAIRLEAD_USERSPACE_AGENT_KUBE_PROXY_RULES_H_

#include <string>

#include "absl/status/statusor.h"

namespace fairlead::agent {

struct KubeProxyRules {
  bool nftables = false;         // tables `ip kube-proxy`, `ip6 kube-proxy`
  bool iptables_nft = false;     // chain KUBE-SERVICES of table `nat`, ...
  bool iptables_legacy = false;  // ... as the older iptables have it
  bool ipvs = false;             // virtual servers, or the device kube-ipvs0

  bool any() const {
    return nftables || iptables_nft || iptables_legacy || ipvs;
  }
  // "nftables, iptables (legacy)", or "none".
  std::string ToString() const;
};

// Needs CAP_NET_ADMIN.
[[nodiscard]] absl::StatusOr<KubeProxyRules> FindKubeProxyRules();

// kube-proxy's table of nf_tables.
inline constexpr char kKubeProxyTable[] = "kube-proxy";
// The device that has the addresses of all Services in its mode ipvs.
inline constexpr char kIpvsDevice[] = "kube-ipvs0";

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_KUBE_PROXY_RULES_H_
