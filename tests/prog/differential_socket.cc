// SPDX-License-Identifier: Apache-2.0
#include "tests/prog/differential_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "absl/time/time.h"
#include "bpf/abi/types.h"
#include "tests/harness/sockets.h"
#include "userspace/base/netns.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/attach.h"

namespace fairlead::differential {
namespace {

using harness::SocketFamily;

constexpr const char* kLocal[] = {
    "10.1.0.0/16",      "8.0.0.0/16",         "203.0.113.0/24",
    "2001:db8:3::/64",  "2001:db8:10::/48",   "2001:db8:86dd::/64"};
constexpr const char* kLoopback[] = {"127.0.0.0/8", "::1/128"};
constexpr Port kTcpPorts[] = {53, 80, 8080, 8081};
constexpr Port kUdpPorts[] = {53, 80, 5353, 5354};
constexpr absl::Duration kPatience = absl::Seconds(2);

// Of the bed that was entered last. Process-wide, as cgroups are.
const SocketBed* entered = nullptr;

SocketFamily FamilyOf(const SocketCall& call) {
  return call.mapped ? SocketFamily::kMapped : SocketFamily::kNative;
}

// On all addresses of both families.
absl::StatusOr<UniqueFd> OpenServer(Protocol protocol, Port port) {
  const bool tcp = protocol == Protocol::kTcp;
  UniqueFd fd(socket(AF_INET6,
                     (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK |
                         SOCK_CLOEXEC,
                     0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket");
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  setsockopt(fd.get(), IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
  // Answers come from addresses that no device has.
  setsockopt(fd.get(), IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on));
  sockaddr_in6 any = {};
  any.sin6_family = AF_INET6;
  any.sin6_port = htons(port);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)) != 0 ||
      (tcp && listen(fd.get(), 16) != 0)) {
    return ErrnoStatus(errno, "bind or listen", StrCat(port));
  }
  return fd;
}

// Neither end waits for the other one.
void Reset(int fd) {
  const linger now = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

L4Address AcceptOne(int server) {
  UniqueFd fd(accept4(server, nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd.valid()) return {};
  Reset(fd.get());
  return harness::LocalName(fd.get()).value_or(L4Address());
}

// A datagram is answered from where it went to.
L4Address AnswerOne(int server, const std::string& text) {
  char bytes[64];
  alignas(cmsghdr) char control[256];
  sockaddr_in6 from = {};
  iovec piece = {bytes, sizeof(bytes)};
  msghdr message = {&from, sizeof(from), &piece, 1,
                    control, sizeof(control), 0};
  const ssize_t size = recvmsg(server, &message, MSG_DONTWAIT);
  if (size < 0 || std::string_view(bytes, static_cast<size_t>(size)) != text) {
    return {};
  }
  L4Address reached;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr;
       c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != IPPROTO_IPV6 || c->cmsg_type != IPV6_PKTINFO) {
      continue;
    }
    in6_pktinfo info;
    memcpy(&info, CMSG_DATA(c), sizeof(info));
    IpAddress::Bytes address;
    memcpy(address.data(), &info.ipi6_addr, address.size());
    reached = {IpAddress(address),
               harness::LocalName(server).value_or(L4Address()).port,
               Protocol::kUdp};
  }
  piece.iov_len = static_cast<size_t>(size);
  message.msg_flags = 0;
  (void)sendmsg(server, &message, MSG_DONTWAIT);
  return reached;
}

}  // namespace

std::string SocketCall::ToString() const {
  return StrCat(host ? "host" : "pod", mapped ? " mapped" : "",
                connected ? " connect " : " sendto ", to.ToString());
}

absl::StatusOr<std::unique_ptr<SocketBed>> SocketBed::Create() {
  FL_ASSIGN_OR_RETURN(harness::CgroupScope cgroup,
                      harness::CgroupScope::Create());
  UniqueFd home(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home.valid()) return ErrnoStatus(errno, "open", "ns/net");
  std::unique_ptr<SocketBed> bed(
      new SocketBed(std::move(cgroup), std::move(home)));
  for (const bool host : {false, true}) {
    FL_RETURN_IF_ERROR(bed->AddNamespace(host));
  }
  return bed;
}

SocketBed::~SocketBed() {
  if (entered == this) entered = nullptr;
}

absl::Status SocketBed::AddNamespace(bool host) {
  FL_ASSIGN_OR_RETURN(harness::NetnsScope scope, harness::NetnsScope::Create());
  for (const char* range : kLocal) {
    FL_RETURN_IF_ERROR(
        scope.Command(StrCat("ip route add local ", range, " dev lo"))
            .status());
  }
  std::vector<Server> servers;
  FL_RETURN_IF_ERROR(scope.Run([&]() -> absl::Status {
    if (host) host_netns_ = NetnsCookie().value_or(0);
    auto add = [&servers](Protocol protocol, Port port) -> absl::Status {
      FL_ASSIGN_OR_RETURN(UniqueFd fd, OpenServer(protocol, port));
      servers.push_back({std::move(fd), protocol});
      return absl::OkStatus();
    };
    for (Port port : kTcpPorts) FL_RETURN_IF_ERROR(add(Protocol::kTcp, port));
    for (Port port : kUdpPorts) FL_RETURN_IF_ERROR(add(Protocol::kUdp, port));
    return absl::OkStatus();
  }));
  namespaces_.push_back({std::move(scope), std::move(servers)});
  return absl::OkStatus();
}

absl::Status SocketBed::Attach(const datapath::PinLayout& layout,
                               const datapath::Programs& programs) {
  return datapath::AttachCgroup(layout, programs, cgroup_.path());
}

absl::Status SocketBed::Enter() {
  if (entered == this) return absl::OkStatus();
  FL_RETURN_IF_ERROR(cgroup_.Join());
  entered = this;
  return absl::OkStatus();
}

bool SocketBed::IsLocal(const IpAddress& address) {
  auto holds = [&address](const char* text) {
    const IpPrefix range = *IpPrefix::Parse(text);
    return range.family() == address.family() && range.Contains(address);
  };
  return address.is_unspecified() ||
         std::any_of(std::begin(kLocal), std::end(kLocal), holds) ||
         std::any_of(std::begin(kLoopback), std::end(kLoopback), holds);
}

bool SocketBed::IsServed(const L4Address& address) {
  auto is = [&address](Port port) { return port == address.port; };
  if (address.address.is_unspecified()) {
    return IsServed({*IpAddress::Parse(address.address.is_v4() ? "127.0.0.1"
                                                               : "::1"),
                     address.port, address.protocol});
  }
  if (!IsLocal(address.address)) return false;
  return address.protocol == Protocol::kTcp
             ? std::any_of(std::begin(kTcpPorts), std::end(kTcpPorts), is)
             : std::any_of(std::begin(kUdpPorts), std::end(kUdpPorts), is);
}

absl::StatusOr<UniqueFd> SocketBed::OpenClient(const SocketCall& call) {
  const harness::NetnsScope& scope = namespaces_[call.host].scope;
  if (setns(scope.fd(), CLONE_NEWNET) != 0) return ErrnoStatus(errno, "setns");
  UniqueFd fd = harness::OpenSocket(call.to, FamilyOf(call));
  if (setns(home_.get(), CLONE_NEWNET) != 0) {
    return ErrnoStatus(errno, "setns", "back");
  }
  if (!fd.valid()) return ErrnoStatus(errno, "socket");
  Reset(fd.get());
  return fd;
}

L4Address SocketBed::ServeOnce(const SocketCall& call,
                               const std::string& text) {
  for (const Server& server : namespaces_[call.host].servers) {
    if (server.protocol != call.to.protocol) continue;
    const L4Address reached = server.protocol == Protocol::kTcp
                                  ? AcceptOne(server.fd.get())
                                  : AnswerOne(server.fd.get(), text);
    if (reached.port != 0) return reached;
  }
  return {};
}

L4Address SocketBed::Serve(const SocketCall& call, const std::string& text) {
  L4Address reached = ServeOnce(call, text);
  if (reached.port != 0) return reached;
  (void)harness::Eventually(
      [&] {
        reached = ServeOnce(call, text);
        return reached.port != 0;
      },
      kPatience);
  return reached;
}

absl::StatusOr<SocketOutcome> SocketBed::Again(const SocketCall& call, int fd,
                                               const Counted& counted) {
  SocketOutcome out;
  const std::string text = StrCat("call ", ++sent_);
  // Answers that nobody has waited for, and errors.
  char bytes[64];
  while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) >= 0 ||
         errno == ECONNREFUSED) {
  }
  FL_RETURN_IF_ERROR(counted().status());
  out.error = harness::SendTo(fd, call.to, FamilyOf(call), text);
  FL_ASSIGN_OR_RETURN(out.counted, counted());
  if (out.error != 0) return out;
  if (out.counted == std::vector<uint32_t>{FL_COUNTER_SOCKET_TRANSLATED} ||
      (!call.connected && IsServed(call.to))) {
    out.reached = Serve(call, text);
  }
  if (out.reached.port != 0) {
    if (auto answer = harness::Receive(fd, kPatience)) out.shown = answer->from;
  }
  FL_RETURN_IF_ERROR(counted().status());
  return out;
}

absl::StatusOr<SocketOutcome> SocketBed::Try(const SocketCall& call,
                                             const Counted& counted,
                                             UniqueFd* keep) {
  SocketOutcome out;
  const bool tcp = call.to.protocol == Protocol::kTcp;
  const std::string text = StrCat("call ", ++sent_);
  FL_ASSIGN_OR_RETURN(*keep, OpenClient(call));
  const UniqueFd& fd = *keep;
  auto send_text = [&] {
    return harness::SendTo(fd.get(), call.to, FamilyOf(call), text);
  };
  out.error = call.connected
                  ? harness::Connect(fd.get(), call.to, FamilyOf(call))
                  : send_text();
  FL_ASSIGN_OR_RETURN(out.counted, counted());
  if (out.error != 0) return out;
  const bool translated =
      out.counted == std::vector<uint32_t>{FL_COUNTER_SOCKET_TRANSLATED};
  if (call.connected) {
    out.shown = harness::PeerName(fd.get()).value_or(L4Address());
    if (!tcp) (void)send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
  }
  if (translated || IsServed(call.to)) out.reached = Serve(call, text);
  if (!call.connected && out.reached.port != 0) {
    if (auto answer = harness::Receive(fd.get(), kPatience)) {
      out.shown = answer->from;
    }
    if (send_text() == 0) out.again = Serve(call, text);
  }
  FL_RETURN_IF_ERROR(counted().status());
  return out;
}

}  // namespace fairlead::differential
