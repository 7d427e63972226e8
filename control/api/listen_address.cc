// SPDX-License-Identifier: Apache-2.0
#include "control/api/listen_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/numbers.h"
#include "userspace/base/netns.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

absl::StatusOr<UniqueFd> OpenHere(const ListenAddress& listen) {
  bool v6 = !listen.address.is_v4();
  UniqueFd fd(socket(v6 ? AF_INET6 : AF_INET,
                     SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  std::string name = StrCat(listen.address.ToString(), " port ", listen.port);
  if (!fd.valid()) return ErrnoStatus(errno, "socket for", name);
  int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_storage storage{};
  socklen_t size;
  if (v6) {
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    auto* address = reinterpret_cast<sockaddr_in6*>(&storage);
    address->sin6_family = AF_INET6;
    address->sin6_port = htons(listen.port);
    std::copy(listen.address.bytes().begin(), listen.address.bytes().end(),
              address->sin6_addr.s6_addr);
    size = sizeof *address;
  } else {
    auto* address = reinterpret_cast<sockaddr_in*>(&storage);
    address->sin_family = AF_INET;
    address->sin_port = htons(listen.port);
    address->sin_addr.s_addr = htonl(listen.address.v4_host_order());
    size = sizeof *address;
  }
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0) {
    return ErrnoStatus(errno, "bind to", name);
  }
  if (::listen(fd.get(), SOMAXCONN) != 0) {
    return ErrnoStatus(errno, "listen on", name);
  }
  return fd;
}

}  // namespace

absl::StatusOr<UniqueFd> OpenListener(const ListenAddress& address) {
  if (address.netns.empty()) return OpenHere(address);
  absl::StatusOr<UniqueFd> fd = absl::UnknownError("not opened");
  FL_RETURN_IF_ERROR(RunInNetns(address.netns, [&] {
    fd = OpenHere(address);
    return fd.status();
  }));
  return fd;
}

Port BoundPort(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size);
  return ntohs(storage.ss_family == AF_INET6
                   ? reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port
                   : reinterpret_cast<sockaddr_in*>(&storage)->sin_port);
}

absl::StatusOr<ListenAddress> ListenAddress::Parse(std::string_view text) {
  ListenAddress out;
  auto bad = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        StrCat("\"", text, "\" is not [https://]ADDRESS:PORT[@/NETNS/PATH]: ", why));
  };
  std::string_view rest = text;
  for (std::string_view scheme : {"https://", "http://"}) {
    if (!rest.starts_with(scheme)) continue;
    rest.remove_prefix(scheme.size());
    out.tls = scheme == "https://";
  }
  if (size_t at = rest.find('@'); at != rest.npos) {
    out.netns = std::string(rest.substr(at + 1));
    rest = rest.substr(0, at);
  }
  size_t colon = rest.rfind(':');
  if (colon == rest.npos) return bad("no port");
  std::string_view host = rest.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  int port;
  if (!absl::SimpleAtoi(Absl(rest.substr(colon + 1)), &port) || port < 0 ||
      port > 65535) {
    return bad("bad port");
  }
  absl::StatusOr<IpAddress> address = IpAddress::Parse(host);
  if (!address.ok()) return bad(Std(address.status().message()));
  out.address = *address;
  out.port = static_cast<Port>(port);
  return out;
}

}  // namespace fairlead::api
