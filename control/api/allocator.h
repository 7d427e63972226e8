// SPDX-License-Identifier: Apache-2.0
// Hands out cluster IPs, node ports and health-check node ports to Services.
//
// The stored Services are the only record: Restore() rebuilds the claims at
// start. A write's claims are held from Admit() to Committed() or Aborted().
//
// Threads: the API server's only.
#ifndef FAIRLEAD_CONTROL_API_ALLOCATOR_H_
#define FAIRLEAD_CONTROL_API_ALLOCATOR_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "control/api/kind.h"
#include "userspace/base/ip_address.h"

namespace fairlead::api {

struct ServiceAllocatorOptions {
  // One range for each family served; the first is the default family.
  std::vector<IpPrefix> service_cidrs;
  Port node_port_first = 30000;
  Port node_port_last = 32767;
  uint64_t seed = 0;  // of the random choice; 0: from the machine
};

// kInvalidArgument: no range, two ranges of one family, or one too small.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Admission>> MakeServiceAllocator(
    const ServiceAllocatorOptions& options);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_ALLOCATOR_H_
