// SPDX-License-Identifier: Apache-2.0
// Connected UDP sockets of a network namespace, and their end (socket diag).
//
// An object works in the network namespace of the thread that opened it, for
// its whole life, whichever thread uses it later (one at a time).
#ifndef FAIRLEAD_USERSPACE_NETLINK_UDP_SOCKETS_H_
#define FAIRLEAD_USERSPACE_NETLINK_UDP_SOCKETS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::netlink {

struct UdpSocket {
  uint64_t cookie = 0;  // SO_COOKIE
  L4Address local;
  L4Address peer;
  bool ipv6 = false;  // its family; an IPv6 one may have mapped addresses
  uint32_t device = 0;  // that it is bound to; 0: none
};

class UdpSockets {
 public:
  // In the calling thread's network namespace. Needs CAP_NET_ADMIN there.
  [[nodiscard]] static absl::StatusOr<UdpSockets> Open();

  // Those that are connected now.
  [[nodiscard]] absl::StatusOr<std::vector<UdpSocket>> Connected();
  // Disconnects it for good: its owner's pending and next call fails
  // (ECONNABORTED, EDESTADDRREQ). kNotFound: it is gone, or its addresses are
  // another socket's. kUnimplemented: a kernel without
  // CONFIG_INET_DIAG_DESTROY.
  [[nodiscard]] absl::Status Destroy(const UdpSocket& socket);

 private:
  explicit UdpSockets(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  uint32_t sequence_ = 0;
};

}  // namespace fairlead::netlink

#endif  // FAIRLEAD_USERSPACE_NETLINK_UDP_SOCKETS_H_
