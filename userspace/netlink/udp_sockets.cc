// SPDX-License-Identifier: Apache-2.0
#include "userspace/netlink/udp_sockets.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <utility>

#include "userspace/base/status.h"
#include "userspace/netlink/message.h"

namespace fairlead::netlink {
namespace {

constexpr char kWhat[] = "UDP sockets";

void PutAddress(const IpAddress& address, bool ipv6, uint32_t (&out)[4]) {
  const IpAddress::Bytes& bytes = address.bytes();
  if (ipv6) {
    std::memcpy(out, bytes.data(), sizeof out);
  } else {
    std::memcpy(out, &bytes[12], 4);
  }
}

IpAddress GetAddress(bool ipv6, const uint32_t (&in)[4]) {
  if (!ipv6) return IpAddress::V4(ntohl(in[0]));
  IpAddress::Bytes bytes;
  std::memcpy(bytes.data(), in, sizeof in);
  return IpAddress(bytes);
}

inet_diag_req_v2 Request(bool ipv6) {
  inet_diag_req_v2 request = {};
  request.sdiag_family = ipv6 ? AF_INET6 : AF_INET;
  request.sdiag_protocol = IPPROTO_UDP;
  // Of UDP sockets, those that are connected.
  request.idiag_states = 1u << TCP_ESTABLISHED;
  return request;
}

UdpSocket ToSocket(const inet_diag_msg& m) {
  UdpSocket socket;
  socket.ipv6 = m.idiag_family == AF_INET6;
  socket.cookie = m.id.idiag_cookie[0] |
                  static_cast<uint64_t>(m.id.idiag_cookie[1]) << 32;
  socket.local = {GetAddress(socket.ipv6, m.id.idiag_src),
                  ntohs(m.id.idiag_sport), Protocol::kUdp};
  socket.peer = {GetAddress(socket.ipv6, m.id.idiag_dst),
                 ntohs(m.id.idiag_dport), Protocol::kUdp};
  socket.device = m.id.idiag_if;
  return socket;
}

// The kernel's errno; 0: all answers were given to `fn`.
absl::StatusOr<int> Ask(int fd, Message message, uint32_t sequence,
                        const std::function<void(const inet_diag_msg&)>& fn) {
  message.header()->nlmsg_seq = sequence;
  const std::vector<char>& bytes = message.Finish();
  if (send(fd, bytes.data(), bytes.size(), 0) < 0) {
    return ErrnoStatus(errno, "ask for", kWhat);
  }
  std::vector<char> input(32 * 1024);
  for (;;) {
    ssize_t size = recv(fd, input.data(), input.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return ErrnoStatus(errno, "receive", kWhat);
    int left = static_cast<int>(size);
    for (auto* m = reinterpret_cast<nlmsghdr*>(input.data());
         NLMSG_OK(m, static_cast<unsigned>(left)); m = NLMSG_NEXT(m, left)) {
      if (m->nlmsg_seq != sequence) continue;
      if (m->nlmsg_type == NLMSG_ERROR || m->nlmsg_type == NLMSG_DONE) {
        int error = 0;
        if (m->nlmsg_len >= NLMSG_LENGTH(sizeof error)) {
          std::memcpy(&error, NLMSG_DATA(m), sizeof error);
        }
        return -error;
      }
      if (m->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg))) continue;
      fn(*static_cast<const inet_diag_msg*>(NLMSG_DATA(m)));
    }
  }
}

}  // namespace

absl::StatusOr<UdpSockets> UdpSockets::Open() {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!fd.valid()) return ErrnoStatus(errno, "socket", "NETLINK_SOCK_DIAG");
  return UdpSockets(std::move(fd));
}

absl::StatusOr<std::vector<UdpSocket>> UdpSockets::Connected() {
  std::vector<UdpSocket> found;
  for (bool ipv6 : {false, true}) {
    FL_ASSIGN_OR_RETURN(
        int error,
        Ask(fd_.get(),
            Message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, Request(ipv6)),
            ++sequence_, [&](const inet_diag_msg& m) {
              found.push_back(ToSocket(m));
            }));
    if (error != 0) return ErrnoStatus(error, "list", kWhat);
  }
  return found;
}

absl::Status UdpSockets::Destroy(const UdpSocket& socket) {
  inet_diag_req_v2 request = Request(socket.ipv6);
  PutAddress(socket.local.address, socket.ipv6, request.id.idiag_src);
  PutAddress(socket.peer.address, socket.ipv6, request.id.idiag_dst);
  request.id.idiag_sport = htons(socket.local.port);
  request.id.idiag_dport = htons(socket.peer.port);
  request.id.idiag_if = socket.device;
  request.id.idiag_cookie[0] = static_cast<uint32_t>(socket.cookie);
  request.id.idiag_cookie[1] = static_cast<uint32_t>(socket.cookie >> 32);
  FL_ASSIGN_OR_RETURN(int error,
                      Ask(fd_.get(), Message(SOCK_DESTROY, NLM_F_ACK, request),
                          ++sequence_, [](const inet_diag_msg&) {}));
  if (error == ENOENT || error == ESTALE) {
    return absl::NotFoundError("the UDP socket is gone");
  }
  if (error == EOPNOTSUPP) {
    return absl::UnimplementedError(
        "this kernel can't destroy sockets (CONFIG_INET_DIAG_DESTROY)");
  }
  return ErrnoStatus(error, "destroy", socket.local.ToString());
}

}  // namespace fairlead::netlink
