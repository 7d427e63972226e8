// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/udp_client.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "tests/netns/socket_address.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

// A refusal of what an unconnected socket sent is told to those who ask.
void WantErrors(int fd) {
  const int yes = 1;
  (void)setsockopt(fd, IPPROTO_IP, IP_RECVERR, &yes, sizeof yes);
  (void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &yes, sizeof yes);
}

// To all addresses of the socket's family; 0 or an errno.
int Bind(int fd, Port port) {
  int family = 0;
  socklen_t size = sizeof family;
  (void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
  SocketAddress own({IpAddress::Unspecified(family == AF_INET
                                                ? IpFamily::kIpv4
                                                : IpFamily::kIpv6),
                     port, Protocol::kUdp});
  return bind(fd, own.get(), own.size()) == 0 ? 0 : errno;
}

std::string ErrorName(int error) {
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : "?";
}

}  // namespace

const char* UdpClient::Name(Socket socket) {
  switch (socket) {
    case Socket::kConnected:
      return "connected";
    case Socket::kUnconnected:
      return "unconnected";
    case Socket::kConnectedMapped:
      return "connected, mapped";
    case Socket::kUnconnectedMapped:
      return "unconnected, mapped";
  }
  return "?";
}

SocketFamily UdpClient::family() const {
  const bool mapped = socket_ == Socket::kConnectedMapped ||
                      socket_ == Socket::kUnconnectedMapped;
  return mapped ? SocketFamily::kMapped : SocketFamily::kNative;
}

UdpClient::UdpClient(const Station& station, const L4Address& to,
                     Socket socket, Port source_port)
    : socket_(socket), to_(to) {
  absl::Status status = station.netns.Run([&]() -> absl::Status {
    fd_ = OpenSocket(to_, family());
    WantErrors(fd_.get());
    if (source_port != 0) error_ = Bind(fd_.get(), source_port);
    if (error_ == 0 && connected()) error_ = Connect(fd_.get(), to_, family());
    return absl::OkStatus();
  });
  if (!status.ok()) error_ = EIO;
}

std::string UdpClient::Ask(absl::Duration patience) {
  const std::string question = StrCat("?", ++asked_);
  int error = error_;
  if (error == 0 && connected()) {
    const bool sent = send(fd_.get(), question.data(), question.size(),
                           MSG_NOSIGNAL) >= 0;
    error = sent ? 0 : errno;
  } else if (error == 0) {
    error = SendTo(fd_.get(), to_, family(), question);
  }
  if (error != 0) return ErrorName(error);
  const timeval limit = absl::ToTimeval(patience);
  (void)setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  for (;;) {
    std::array<char, 256> buffer;
    SocketAddress from;
    const ssize_t size = recvfrom(fd_.get(), buffer.data(), buffer.size(), 0,
                                  from.get(), from.size_pointer());
    if (size < 0) return errno == EAGAIN ? "" : ErrorName(errno);
    const std::string_view answer(buffer.data(), static_cast<size_t>(size));
    // One to an earlier question may have come late.
    const size_t end = answer.find('\n');
    if (end == answer.npos || answer.substr(end + 1) != question) continue;
    if (from.address() != to_.address || from.port() != to_.port) return "";
    const size_t space = answer.find(' ');
    source_ = answer.substr(space + 1, end - space - 1);
    return std::string(answer.substr(0, space));
  }
}

}  // namespace fairlead::harness
