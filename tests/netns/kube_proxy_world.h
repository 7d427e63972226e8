// SPDX-License-Identifier: Apache-2.0
// Rules of the shape that kube-proxy 1.36 writes, on node1 of a Topology: for
// services of a ServiceBed, in all four ways, with masquerade where kube-proxy
// has it.
//
// Threads: one at a time.
#ifndef FAIRLEAD_TESTS_NETNS_KUBE_PROXY_WORLD_H_
#define FAIRLEAD_TESTS_NETNS_KUBE_PROXY_WORLD_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/netns/service_bed.h"

namespace fairlead::harness {

enum class ProxyMode { kNftables, kIptablesNft, kIptablesLegacy };
const char* ProxyModeName(ProxyMode mode);

class KubeProxyWorld {
 public:
  KubeProxyWorld(const Topology& net, ProxyMode mode)
      : net_(net), mode_(mode) {}

  // For services with these numbers, each with these endpoints (stations); and
  // rules that are nobody's business.
  [[nodiscard]] absl::Status Install(const std::vector<int>& services,
                                     const std::vector<std::string>& endpoints);
  // As kube-proxy's own --cleanup.
  [[nodiscard]] absl::Status CleanUp();
  // Everything that is in nf_tables and iptables.
  [[nodiscard]] absl::StatusOr<std::string> Show();
  // As if there had never been any, nor a connection.
  [[nodiscard]] absl::Status Flush();

 private:
  absl::Status Load(const std::string& command, const std::string& rules);
  std::string Tool(IpFamily family) const;

  const Topology& net_;
  ProxyMode mode_;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_KUBE_PROXY_WORLD_H_
