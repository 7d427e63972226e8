// SPDX-License-Identifier: Apache-2.0
// How many Service ports have a policy "Local" and endpoints, but none on this
// node: kube-proxy's sync_proxy_rules_no_local_endpoints_total. Pure; one
// thread at a time.
#ifndef FAIRLEAD_USERSPACE_AGENT_NO_LOCAL_ENDPOINTS_H_
#define FAIRLEAD_USERSPACE_AGENT_NO_LOCAL_ENDPOINTS_H_

#include <array>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "userspace/base/ip_address.h"
#include "userspace/model/desired.h"

namespace fairlead::agent {

class NoLocalEndpoints {
 public:
  struct Counts {
    int internal = 0;
    int external = 0;
  };
  // The Service (by its key) as it is now.
  void Update(const std::string& service,
              const model::DesiredService& desired);
  Counts total(IpFamily family) const;

 private:
  using ByFamily = std::array<Counts, 2>;  // IPv4, IPv6
  // Only those with something to count.
  absl::flat_hash_map<std::string, ByFamily> services_;
  ByFamily total_ = {};
};

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_NO_LOCAL_ENDPOINTS_H_
