// SPDX-License-Identifier: Apache-2.0
// This machine, as a Node object of the API.
#ifndef FAIRLEAD_USERSPACE_KUBELET_NODE_STATUS_H_
#define FAIRLEAD_USERSPACE_KUBELET_NODE_STATUS_H_

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/time/time.h"
#include "userspace/kubelet/options.h"

namespace fairlead::kubelet {

// Of what the node has too little.
struct Shortages {
  bool memory = false, disk = false, pids = false;
};

// What is read from the machine, once.
struct Machine {
  Shortages shortages;
  int cpus = 1;
  uint64_t memory_bytes = 0;
  uint64_t disk_bytes = 0;
  std::string machine_id, boot_id, kernel, os_image;
};
Machine ReadMachine(const std::string& root_dir);

// What pods may ask for together: the machine without what is reserved and
// what --eviction-hard keeps free, as in Kubernetes.
ResourceAmounts AllocatableOf(const Options& options, const Machine& machine);

// Labels and the specification for the first registration. Pure, as below.
[[nodiscard]] nlohmann::json BuildNode(const Options& options,
                                       const Machine& machine);

// `not_ready` is empty when pods can run, else why not. Transition times are
// kept from `current`.
[[nodiscard]] nlohmann::json BuildNodeStatus(const Options& options,
                                             const Machine& machine,
                                             const std::string& not_ready,
                                             const nlohmann::json& current,
                                             absl::Time now);

// Whether `status` says something other than `current` does, heartbeat times
// aside.
[[nodiscard]] bool NodeStatusDiffers(const nlohmann::json& current,
                                     const nlohmann::json& status);

[[nodiscard]] nlohmann::json BuildLease(const std::string& node,
                                        const std::string& node_uid,
                                        absl::Time now);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_NODE_STATUS_H_
