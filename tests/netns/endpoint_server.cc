// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/endpoint_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "tests/netns/socket_address.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

constexpr size_t kLargestDatagram = 65536;

// Waits for a slow reader: a bulk transfer has the server for itself.
bool SendAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      text.remove_prefix(static_cast<size_t>(sent));
      continue;
    }
    pollfd wait = {fd, POLLOUT, 0};
    if (errno != EAGAIN || poll(&wait, 1, 5000) <= 0) return false;
  }
  return true;
}

std::string Greeting(const std::string& name, const SocketAddress& peer) {
  return StrCat(name, " ", peer.address().ToString(), "\n");
}

}  // namespace

EndpointServer::EndpointServer()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = stop_.get();
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), &event);
}

EndpointServer::~EndpointServer() {
  if (process_ > 0) {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  if (!thread_.joinable()) return;
  (void)eventfd_write(stop_.get(), 1);
  thread_.join();
}

absl::Status EndpointServer::Add(const Station& station, Port port) {
  FL_RETURN_IF_ERROR(Add(station, station.v4, port));
  return Add(station, station.v6, port);
}

absl::Status EndpointServer::Add(const Station& station, const IpAddress& ip,
                                 Port port) {
  FL_RETURN_IF_ERROR(AddSocket(station, {ip, port, Protocol::kTcp}));
  return AddSocket(station, {ip, port, Protocol::kUdp});
}

absl::Status EndpointServer::AddSocket(const Station& station,
                                       const L4Address& address) {
  const bool tcp = address.protocol == Protocol::kTcp;
  UniqueFd fd;
  FL_RETURN_IF_ERROR(station.netns.Run([&]() -> absl::Status {
    fd.reset(socket(address.address.is_v4() ? AF_INET : AF_INET6,
                    (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC |
                        SOCK_NONBLOCK,
                    0));
    const int yes = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    SocketAddress at(address);
    if (bind(fd.get(), at.get(), at.size()) != 0 ||
        (tcp && listen(fd.get(), 4096) != 0)) {
      return ErrnoStatus(errno, "serve", address.ToString());
    }
    return absl::OkStatus();
  }));
  Watch(std::move(fd), tcp ? Kind::kListener : Kind::kDatagrams, station.name);
  return absl::OkStatus();
}

void EndpointServer::Watch(UniqueFd fd, Kind kind, const std::string& name) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = fd.get();
  const int number = fd.get();
  sockets_.insert_or_assign(number, Socket{std::move(fd), kind, name});
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, number, &event);
}

void EndpointServer::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void EndpointServer::StartApart() {
  process_ = fork();
  if (process_ != 0) {
    sockets_.clear();
    return;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  Loop();
  _exit(0);
}

void EndpointServer::Loop() {
  std::array<epoll_event, 64> events;
  for (;;) {
    int count = epoll_wait(epoll_.get(), events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd == stop_.get()) return;
      auto it = sockets_.find(events[i].data.fd);
      if (it != sockets_.end()) Serve(&it->second);
    }
  }
}

void EndpointServer::Serve(Socket* socket) {
  switch (socket->kind) {
    case Kind::kListener:
      return AcceptAll(*socket);
    case Kind::kDatagrams:
      return AnswerAll(*socket);
    case Kind::kConnection:
      if (!Echo(*socket)) sockets_.erase(socket->fd.get());
  }
}

void EndpointServer::AcceptAll(const Socket& listener) {
  for (;;) {
    SocketAddress peer;
    UniqueFd fd(accept4(listener.fd.get(), peer.get(), peer.size_pointer(),
                        SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) return;
    const std::string text = Greeting(listener.name, peer);
    (void)send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
    Watch(std::move(fd), Kind::kConnection, listener.name);
  }
}

void EndpointServer::AnswerAll(const Socket& socket) {
  static std::array<char, kLargestDatagram> buffer;
  for (;;) {
    SocketAddress peer;
    ssize_t size = recvfrom(socket.fd.get(), buffer.data(), buffer.size(), 0,
                            peer.get(), peer.size_pointer());
    if (size < 0 && errno == EAGAIN) return;
    if (size < 0) continue;  // an ICMP error about an answer
    std::string text = Greeting(socket.name, peer);
    text.append(buffer.data(), static_cast<size_t>(size));
    (void)sendto(socket.fd.get(), text.data(), text.size(), 0, peer.get(),
                 peer.size());
  }
}

bool EndpointServer::Echo(const Socket& connection) {
  static std::array<char, kLargestDatagram> buffer;
  ssize_t size = read(connection.fd.get(), buffer.data(), buffer.size());
  if (size <= 0) return size < 0 && errno == EAGAIN;
  return SendAll(connection.fd.get(),
                 std::string_view(buffer.data(), static_cast<size_t>(size)));
}

}  // namespace fairlead::harness
