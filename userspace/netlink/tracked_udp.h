// SPDX-License-Identifier: Apache-2.0
// The kernel's memory of translated flows.
//
// Threads: any; of the calling thread's network namespace.
#ifndef FAIRLEAD_USERSPACE_NETLINK_TRACKED_UDP_H_
#define FAIRLEAD_USERSPACE_NETLINK_TRACKED_UDP_H_

#include <functional>

#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"

namespace fairlead::netlink {

// As its first packet was, and who answers.
struct TrackedFlow {
  IpAddress destination;
  Port destination_port = 0;
  IpAddress answers;
};

// Forgets the UDP flows that `which` chooses, so that their next packet is
// looked at like a first one; how many those were.
[[nodiscard]] absl::StatusOr<int> ForgetUdpFlows(
    const std::function<bool(const TrackedFlow&)>& which);

}  // namespace fairlead::netlink

#endif  // FAIRLEAD_USERSPACE_NETLINK_TRACKED_UDP_H_
