// SPDX-License-Identifier: Apache-2.0
// The addresses that a server listens on.
//
// Threads: pure, but for the sockets that are opened.
#ifndef FAIRLEAD_CONTROL_API_LISTEN_ADDRESS_H_
#define FAIRLEAD_CONTROL_API_LISTEN_ADDRESS_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::api {

struct ListenAddress {
  IpAddress address;
  Port port = 0;      // 0: the kernel chooses
  std::string netns;  // "" or a path such as /run/netns/NAME
  bool tls = false;

  // "127.0.0.1:6443", "[fd00::1]:6443", "172.30.0.1:6443@/run/netns/NAME";
  // with "https://" or "http://" before it.
  [[nodiscard]] static absl::StatusOr<ListenAddress> Parse(
      std::string_view text);
};

// A listening socket, opened in the address' network namespace.
[[nodiscard]] absl::StatusOr<UniqueFd> OpenListener(
    const ListenAddress& address);
Port BoundPort(int fd);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_LISTEN_ADDRESS_H_
