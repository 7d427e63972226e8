// SPDX-License-Identifier: Apache-2.0
// Addresses of one pod CIDR. Hands out the one after the last, so that an
// address rests as long as possible before another pod gets it: a client with
// an old endpoint then meets an error, not a stranger. Not thread-safe.
#ifndef FAIRLEAD_USERSPACE_KUBELET_NETWORK_IP_POOL_H_
#define FAIRLEAD_USERSPACE_KUBELET_NETWORK_IP_POOL_H_

#include <cstdint>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"

namespace fairlead::kubelet {

class IpPool {
 public:
  explicit IpPool(const IpPrefix& prefix);

  // ResourceExhausted when all are in use.
  [[nodiscard]] absl::StatusOr<IpAddress> Allocate();
  // Marks an address as in use (re-learnt after a restart). InvalidArgument
  // outside the prefix, AlreadyExists when it is in use.
  [[nodiscard]] absl::Status Take(const IpAddress& address);
  // OK when it wasn't in use.
  void Release(const IpAddress& address);

  const IpPrefix& prefix() const { return prefix_; }
  size_t in_use() const { return used_.size(); }

 private:
  IpPrefix prefix_;
  uint64_t first_, last_;  // offsets that may be handed out
  uint64_t next_;
  absl::flat_hash_set<IpAddress> used_;
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_NETWORK_IP_POOL_H_
