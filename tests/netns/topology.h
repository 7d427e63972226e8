// SPDX-License-Identifier: Apache-2.0
// The network that service tests run in, of namespaces without a way out:
//
//   outside ---+
//              +-- router --+-- node1 --+-- a, l1, l2, l3   (pods)
//                           |
//                           +-- node2 --+-- r1, r2          (pods)
//
// The router sends everything that is a Service's to node1, the one with the
// agent, but nothing back to where it came from. Every device checks reverse paths strictly (rp_filter=1). Both
// families everywhere.
//
// Threads: create and destroy on the main thread; the rest is constant.
#ifndef FAIRLEAD_TESTS_NETNS_TOPOLOGY_H_
#define FAIRLEAD_TESTS_NETNS_TOPOLOGY_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/harness/scopes.h"
#include "userspace/base/ip_address.h"

namespace fairlead::harness {

// One namespace and the addresses that it is known by.
struct Station {
  std::string name;
  NetnsScope netns;
  IpAddress v4;
  IpAddress v6;

  const IpAddress& address(IpFamily family) const {
    return family == IpFamily::kIpv4 ? v4 : v6;
  }
};

class Topology {
 public:
  // node1's second address, on the device of the first.
  static constexpr char kSecondV4[] = "172.31.1.3";
  static constexpr char kSecondV6[] = "fd31:1::3";

  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Topology>> Create();

  // REQUIRES: the name is in the picture above.
  const Station& at(const std::string& name) const {
    return stations_.at(name);
  }
  const Station& node() const { return at("node1"); }
  // Pods that can be endpoints, and node1 itself (host network).
  static std::vector<std::string> Endpoints() {
    return {"a", "l1", "l2", "l3", "r1", "r2", "node1"};
  }

  // Packets above `mtu` (1280..1500) don't get past the router towards this
  // station: it answers that they are too big.
  [[nodiscard]] absl::Status LimitPath(const std::string& name, int mtu) const;

 private:
  Topology() = default;
  [[nodiscard]] absl::Status AddStation(const std::string& name,
                                        const std::string& v4,
                                        const std::string& v6);
  [[nodiscard]] absl::Status ConnectToRouter(const std::string& name);
  [[nodiscard]] absl::Status AddPod(const std::string& name,
                                    const std::string& node, int number);
  [[nodiscard]] absl::Status Build();
  [[nodiscard]] absl::Status Run(const std::string& name,
                                 const std::string& commands) const;

  std::map<std::string, Station> stations_;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_TOPOLOGY_H_
