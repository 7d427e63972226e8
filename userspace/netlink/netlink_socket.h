// SPDX-License-Identifier: Apache-2.0
// Synchronous rtnetlink operations: devices, addresses, routes.
//
// A socket works in the network namespace of the thread that opened it, for
// its whole life, whichever thread uses it later (one at a time). Every call
// waits for the kernel's acknowledgement; errors are ErrnoStatus with the
// operation and the device's name: a missing device is kNotFound, one that is
// there already kAlreadyExists, missing CAP_NET_ADMIN kPermissionDenied.
#ifndef FAIRLEAD_USERSPACE_NETLINK_NETLINK_SOCKET_H_
#define FAIRLEAD_USERSPACE_NETLINK_NETLINK_SOCKET_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"

namespace fairlead::netlink {

struct Link {
  int index = 0;
  std::string name;
  std::string kind;  // "veth", "bridge", ...; empty for hardware and lo
  bool up = false;   // administratively (IFF_UP)
  bool loopback = false;
  int master = 0;  // index of the bridge or bond it belongs to; 0: none
  uint32_t mtu = 0;

  friend bool operator==(const Link&, const Link&) = default;
};

struct LinkAddress {
  int link_index = 0;
  IpAddress address;
  int prefix_bits = 0;
  bool link_scope = false;  // fe80::/10, 169.254.0.0/16
  bool host_scope = false;  // 127.0.0.1, ::1

  friend auto operator<=>(const LinkAddress&, const LinkAddress&) = default;
};

struct Route {
  IpPrefix destination;              // bits 0: the default route
  std::string link;                  // output device
  std::optional<IpAddress> gateway;  // none: on-link
  bool gateway_onlink = false;       // don't ask for a route to the gateway
  std::optional<IpAddress> source;   // preferred source address
};

class NetlinkSocket {
 public:
  // In the calling thread's network namespace.
  [[nodiscard]] static absl::StatusOr<NetlinkSocket> Open();
  NetlinkSocket(NetlinkSocket&&) noexcept;
  NetlinkSocket& operator=(NetlinkSocket&&) noexcept;
  ~NetlinkSocket();

  // A veth pair: `name` here, `peer` in the namespace of `peer_netns_fd` (-1:
  // here too). Both are down.
  [[nodiscard]] absl::Status CreateVeth(const std::string& name,
                                        const std::string& peer,
                                        int peer_netns_fd = -1);
  [[nodiscard]] absl::Status CreateBridge(const std::string& name);
  [[nodiscard]] absl::Status CreateDummy(const std::string& name);
  // OK if there is none.
  [[nodiscard]] absl::Status DeleteLink(const std::string& name);
  [[nodiscard]] absl::Status SetUp(const std::string& name);
  [[nodiscard]] absl::Status SetMtu(const std::string& name, uint32_t mtu);
  // An empty `master` releases the device.
  [[nodiscard]] absl::Status SetMaster(const std::string& name,
                                       const std::string& master);
  // Moves a device into another network namespace; it goes down there.
  [[nodiscard]] absl::Status SetNetns(const std::string& name, int netns_fd);
  // "aa:bb:cc:dd:ee:ff"
  [[nodiscard]] absl::Status SetMac(const std::string& name,
                                    const std::string& mac);

  // Adds or replaces; IPv6 addresses are usable at once (no duplicate address
  // detection). OK if it is there already.
  [[nodiscard]] absl::Status AddAddress(const std::string& name,
                                        const IpAddress& address, int bits);
  // OK if there is none.
  [[nodiscard]] absl::Status DeleteAddress(const std::string& name,
                                           const IpAddress& address, int bits);
  // Adds to the main table, or replaces the route to the same destination.
  [[nodiscard]] absl::Status AddRoute(const Route& route);
  // OK if there is none.
  [[nodiscard]] absl::Status DeleteRoute(const Route& route);

  [[nodiscard]] absl::StatusOr<int> LinkIndex(const std::string& name);
  [[nodiscard]] absl::StatusOr<std::vector<Link>> ListLinks();
  [[nodiscard]] absl::StatusOr<std::vector<LinkAddress>> ListAddresses();

 private:
  struct Impl;
  explicit NetlinkSocket(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::netlink

#endif  // FAIRLEAD_USERSPACE_NETLINK_NETLINK_SOCKET_H_
