// SPDX-License-Identifier: Apache-2.0
// Which UDP endpoints may hold the flows of which UDP frontend: those that
// serve its Service port, whatever traffic policy and topology say about new
// flows. Pure; one thread at a time. Copies of the table may go to others.
#ifndef FAIRLEAD_USERSPACE_AGENT_UDP_SERVING_H_
#define FAIRLEAD_USERSPACE_AGENT_UDP_SERVING_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "userspace/base/ip_address.h"
#include "userspace/model/desired.h"

namespace fairlead::agent {

class UdpServing {
 public:
  struct Port {
    std::vector<L4Address> frontends;
    absl::flat_hash_set<L4Address> endpoints;
    // Those of `frontends` for which the socket path leaves this host's clients
    // to the packet path.
    absl::flat_hash_set<L4Address> declined;
  };
  // NodePorts under the unspecified address. A Port never changes.
  using Table = absl::flat_hash_map<L4Address, std::shared_ptr<const Port>>;

  struct Change {
    bool lost = false;  // an endpoint or a frontend
    // Those that weren't there, or were declined.
    std::vector<L4Address> new_frontends;
  };
  // The Service (by its key) as it is now.
  Change Update(const std::string& service,
                const model::DesiredService& desired);
  // Has it, or had it at the last Update(), a UDP frontend?
  bool Knows(const std::string& service) const {
    return services_.contains(service);
  }
  const Table& table() const { return table_; }

  // False also for a frontend that isn't one (any more).
  static bool Serves(const Table& table, const L4Address& frontend,
                     const L4Address& endpoint);

 private:
  Table table_;
  std::map<std::string, std::vector<std::shared_ptr<const Port>>> services_;
};

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_UDP_SERVING_H_
