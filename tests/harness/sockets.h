// SPDX-License-Identifier: Apache-2.0
// Real sockets, one call each, in terms of L4Address. A call returns 0 or an
// errno where a test looks at the errno. Stateless; any thread.
#ifndef FAIRLEAD_TESTS_HARNESS_SOCKETS_H_
#define FAIRLEAD_TESTS_HARNESS_SOCKETS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::harness {

// How an application writes an IPv4 address: as itself, or mapped through an
// IPv6 socket. IPv6 addresses take an IPv6 socket in any case.
enum class SocketFamily { kNative, kMapped };

UniqueFd OpenSocket(const L4Address& peer, SocketFamily family);

// Listens (TCP) or binds (UDP) on a free port of `address`.
struct Server {
  UniqueFd fd;
  L4Address address;
};
[[nodiscard]] absl::StatusOr<Server> OpenServer(const IpAddress& address,
                                                Protocol protocol);

[[nodiscard]] int Connect(int fd, const L4Address& peer, SocketFamily family);
// connect(AF_UNSPEC)
[[nodiscard]] int Disconnect(int fd);
[[nodiscard]] int SendTo(int fd, const L4Address& peer, SocketFamily family,
                         std::string_view text);
// The kernel's view; nullopt if it has none. The protocol is the socket's.
std::optional<L4Address> PeerName(int fd);
std::optional<L4Address> LocalName(int fd);
uint64_t SocketCookie(int fd);

struct Datagram {
  std::string text;
  L4Address from;
};
// Waits up to `timeout`.
std::optional<Datagram> Receive(int fd,
                                absl::Duration timeout = absl::Seconds(5));
// Is there something to read or accept within `timeout`?
bool Readable(int fd, absl::Duration timeout);
// Waits up to 5 s for a connection.
UniqueFd Accept(int fd);

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_HARNESS_SOCKETS_H_
