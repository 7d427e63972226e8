// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/sockets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "userspace/base/status.h"

namespace fairlead::harness {
namespace {

struct Address {
  sockaddr_storage storage = {};
  socklen_t size = sizeof(sockaddr_storage);
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

Address ToSockaddr(const L4Address& from, SocketFamily family) {
  Address to;
  if (from.address.is_v4() && family == SocketFamily::kNative) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&to.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(from.port);
    v4->sin_addr.s_addr = htonl(from.address.v4_host_order());
    to.size = sizeof(*v4);
    return to;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&to.storage);
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(from.port);
  memcpy(&v6->sin6_addr, from.address.bytes().data(), 16);
  to.size = sizeof(*v6);
  return to;
}

Protocol ProtocolOf(int fd) {
  int protocol = 0;
  socklen_t size = sizeof(protocol);
  getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size);
  return static_cast<Protocol>(protocol);
}

L4Address FromSockaddr(const sockaddr_storage& from, Protocol protocol) {
  if (from.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&from);
    return {IpAddress::V4(ntohl(v4->sin_addr.s_addr)), ntohs(v4->sin_port),
            protocol};
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&from);
  IpAddress::Bytes bytes;
  memcpy(bytes.data(), &v6->sin6_addr, bytes.size());
  return {IpAddress(bytes), ntohs(v6->sin6_port), protocol};
}

int SocketType(Protocol protocol) {
  return protocol == Protocol::kUdp ? SOCK_DGRAM : SOCK_STREAM;
}

}  // namespace

UniqueFd OpenSocket(const L4Address& peer, SocketFamily family) {
  bool v4 = peer.address.is_v4() && family == SocketFamily::kNative;
  return UniqueFd(socket(v4 ? AF_INET : AF_INET6,
                         SocketType(peer.protocol) | SOCK_CLOEXEC, 0));
}

absl::StatusOr<Server> OpenServer(const IpAddress& address,
                                  Protocol protocol) {
  Server server;
  L4Address wanted{address, 0, protocol};
  server.fd = OpenSocket(wanted, SocketFamily::kNative);
  Address at = ToSockaddr(wanted, SocketFamily::kNative);
  if (bind(server.fd.get(), at.get(), at.size) != 0) {
    return ErrnoStatus(errno, "bind", wanted.ToString());
  }
  if (protocol == Protocol::kTcp && listen(server.fd.get(), 1024) != 0) {
    return ErrnoStatus(errno, "listen", wanted.ToString());
  }
  server.address = *LocalName(server.fd.get());
  return server;
}

int Connect(int fd, const L4Address& peer, SocketFamily family) {
  Address to = ToSockaddr(peer, family);
  return connect(fd, to.get(), to.size) == 0 ? 0 : errno;
}

int Disconnect(int fd) {
  sockaddr nobody = {};
  nobody.sa_family = AF_UNSPEC;
  return connect(fd, &nobody, sizeof(nobody)) == 0 ? 0 : errno;
}

int SendTo(int fd, const L4Address& peer, SocketFamily family,
           std::string_view text) {
  Address to = ToSockaddr(peer, family);
  return sendto(fd, text.data(), text.size(), 0, to.get(), to.size) >= 0
             ? 0
             : errno;
}

std::optional<L4Address> PeerName(int fd) {
  Address peer;
  if (getpeername(fd, peer.get(), &peer.size) != 0) return std::nullopt;
  return FromSockaddr(peer.storage, ProtocolOf(fd));
}

std::optional<L4Address> LocalName(int fd) {
  Address local;
  if (getsockname(fd, local.get(), &local.size) != 0) return std::nullopt;
  return FromSockaddr(local.storage, ProtocolOf(fd));
}

uint64_t SocketCookie(int fd) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size);
  return cookie;
}

bool Readable(int fd, absl::Duration timeout) {
  pollfd wait = {fd, POLLIN, 0};
  return poll(&wait, 1,
              static_cast<int>(absl::ToInt64Milliseconds(timeout))) > 0;
}

std::optional<Datagram> Receive(int fd, absl::Duration timeout) {
  if (!Readable(fd, timeout)) return std::nullopt;
  char text[2048];
  Address from;
  ssize_t size =
      recvfrom(fd, text, sizeof(text), MSG_DONTWAIT, from.get(), &from.size);
  if (size < 0) return std::nullopt;
  return Datagram{std::string(text, static_cast<size_t>(size)),
                  FromSockaddr(from.storage, ProtocolOf(fd))};
}

UniqueFd Accept(int fd) {
  if (!Readable(fd, absl::Seconds(5))) return UniqueFd();
  return UniqueFd(accept4(fd, nullptr, nullptr, SOCK_CLOEXEC));
}

}  // namespace fairlead::harness
