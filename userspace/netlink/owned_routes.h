// SPDX-License-Identifier: Apache-2.0
// The routes of the main table that carry one protocol number (`ip route`
// shows it as "proto N"): how a program without memory recognises its own.
// And permanent neighbour entries, which go with their device.
//
// Threads: as NetlinkSocket: one at a time, in the network namespace of the
// thread that opened it. Errors carry the operation and the object.
#ifndef FAIRLEAD_USERSPACE_NETLINK_OWNED_ROUTES_H_
#define FAIRLEAD_USERSPACE_NETLINK_OWNED_ROUTES_H_

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"

namespace fairlead::netlink {

struct OwnedRoute {
  IpPrefix destination;
  int link_index = 0;  // 0: unreachable
  std::optional<IpAddress> gateway;  // taken to be on-link
  std::optional<IpAddress> source;   // preferred source address

  friend auto operator<=>(const OwnedRoute&, const OwnedRoute&) = default;
  std::string ToString() const;
};

class OwnedRoutes {
 public:
  [[nodiscard]] static absl::StatusOr<OwnedRoutes> Open(uint8_t protocol);
  OwnedRoutes(OwnedRoutes&&) noexcept;
  OwnedRoutes& operator=(OwnedRoutes&&) noexcept;
  ~OwnedRoutes();

  [[nodiscard]] absl::StatusOr<std::set<OwnedRoute>> List();
  // Adds, or replaces what leads to the same destination.
  [[nodiscard]] absl::Status Replace(const OwnedRoute& route);
  // OK when there is none.
  [[nodiscard]] absl::Status Delete(const OwnedRoute& route);
  // `mac`: "aa:bb:cc:dd:ee:ff".
  [[nodiscard]] absl::Status SetNeighbour(int link_index,
                                          const IpAddress& address,
                                          const std::string& mac);

 private:
  struct Impl;
  explicit OwnedRoutes(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::netlink

#endif  // FAIRLEAD_USERSPACE_NETLINK_OWNED_ROUTES_H_
