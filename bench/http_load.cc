// SPDX-License-Identifier: Apache-2.0
#include "bench/http_load.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead {
namespace {

constexpr int kPatienceMs = 60'000;

absl::Duration Now() { return Clock::Real().Monotonic(); }

// Invalid with errno set if nobody listens.
UniqueFd Connect(uint16_t port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    return UniqueFd();
  }
  return fd;
}

bool SendAll(int fd, std::string_view text) {
  while (!text.empty()) {
    ssize_t n = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

void Follow(int poll, int fd, uint64_t index) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = index}};
  epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
}

// One client: a connection and the answer that it waits for.
struct Client {
  UniqueFd fd;
  std::string answer;
  size_t whole = 0;  // bytes of head and body; 0: the head isn't there yet
  size_t body = 0;
  absl::Duration asked;
};

// True: the answer is whole.
absl::StatusOr<bool> Take(Client& client, std::string_view bytes) {
  client.answer.append(bytes);
  if (client.whole == 0) {
    size_t head = client.answer.find("\r\n\r\n");
    if (head == std::string::npos) return false;
    if (client.answer.compare(0, 10, "HTTP/1.1 2") != 0) {
      return absl::InternalError(client.answer);
    }
    size_t length = client.answer.find("Content-Length: ");
    if (length > head) return absl::InternalError("no Content-Length");
    client.body = strtoul(client.answer.c_str() + length + 16, nullptr, 10);
    client.whole = head + 4 + client.body;
    client.answer.reserve(client.whole);
  }
  return client.answer.size() >= client.whole;
}

class Load {
 public:
  Load(uint16_t port, int n, int clients,
       const std::function<std::string(int)>& request)
      : n_(n), request_(request), poll_(epoll_create1(EPOLL_CLOEXEC)) {
    clients_.resize(static_cast<size_t>(std::min(n, clients)));
    for (Client& client : clients_) client.fd = Connect(port);
  }

  absl::StatusOr<LoadResult> Run() {
    const absl::Duration began = Now();
    for (size_t i = 0; i < clients_.size(); ++i) {
      if (!clients_[i].fd.valid()) return ErrnoStatus(errno, "connect");
      Follow(poll_.get(), clients_[i].fd.get(), i);
      FL_RETURN_IF_ERROR(Ask(clients_[i]));
    }
    std::array<epoll_event, 64> events;
    while (times_.size() < static_cast<size_t>(n_)) {
      int ready = epoll_wait(poll_.get(), events.data(), events.size(),
                             kPatienceMs);
      if (ready <= 0) return absl::DeadlineExceededError("no answer");
      for (int i = 0; i < ready; ++i) {
        FL_RETURN_IF_ERROR(OnReadable(clients_[events[i].data.u64]));
      }
    }
    LoadResult result{.took = Now() - began, .bytes = bytes_};
    auto p99 = times_.begin() + static_cast<ptrdiff_t>(times_.size()) * 99 / 100;
    std::nth_element(times_.begin(), p99, times_.end());
    result.p99 = *p99;
    return result;
  }

 private:
  absl::Status Ask(Client& client) {
    if (next_ == n_) return absl::OkStatus();
    const std::string text = request_(next_++);
    client.answer.clear();
    client.whole = 0;
    client.asked = Now();
    return SendAll(client.fd.get(), text) ? absl::OkStatus()
                                          : ErrnoStatus(errno, "send");
  }

  absl::Status OnReadable(Client& client) {
    ssize_t n = recv(client.fd.get(), buffer_.data(), buffer_.size(), 0);
    if (n <= 0) return absl::UnavailableError("closed by the server");
    FL_ASSIGN_OR_RETURN(
        bool whole, Take(client, {buffer_.data(), static_cast<size_t>(n)}));
    if (!whole) return absl::OkStatus();
    times_.push_back(Now() - client.asked);
    bytes_ += client.body;
    return Ask(client);
  }

  const int n_;
  const std::function<std::string(int)>& request_;
  UniqueFd poll_;
  std::vector<Client> clients_;
  std::vector<char> buffer_ = std::vector<char>(256u << 10);
  std::vector<absl::Duration> times_;
  size_t bytes_ = 0;
  int next_ = 0;
};

}  // namespace

std::string HttpRequest(std::string_view method, std::string_view target,
                        std::string_view body, std::string_view headers) {
  return StrCat(method, " ", target, " HTTP/1.1\r\nHost: bench\r\n", headers,
                body.empty() ? ""
                             : StrCat("Content-Length: ", body.size(), "\r\n"),
                "\r\n", body);
}

absl::StatusOr<LoadResult> RunLoad(
    uint16_t port, int n, int clients,
    const std::function<std::string(int)>& request) {
  return Load(port, n, clients, request).Run();
}

Watchers::Watchers(uint16_t port, int n, const std::string& request,
                   std::string mark)
    : mark_(std::move(mark)),
      poll_(epoll_create1(EPOLL_CLOEXEC)),
      stop_(eventfd(0, EFD_CLOEXEC)) {
  for (int i = 0; i < n; ++i) {
    UniqueFd fd = Connect(port);
    if (!fd.valid() || !SendAll(fd.get(), request)) continue;
    Follow(poll_.get(), fd.get(), watchers_.size());
    watchers_.push_back({std::move(fd), ""});
  }
  Follow(poll_.get(), stop_.get(), watchers_.size());
  thread_ = std::thread([this] { Read(); });
}

Watchers::~Watchers() {
  const uint64_t one = 1;
  (void)!write(stop_.get(), &one, sizeof one);
  thread_.join();
}

// Leaves of `text` what may be the beginning of the next one.
int64_t Watchers::CountMarks(std::string& text) const {
  int64_t count = 0;
  size_t from = 0;
  for (size_t at; (at = text.find(mark_, from)) != text.npos;) {
    ++count;
    from = at + mark_.size();
  }
  const size_t keep = std::min(mark_.size() - 1, text.size() - from);
  text.erase(0, text.size() - keep);
  return count;
}

void Watchers::Read() {
  std::vector<char> buffer(256u << 10);
  std::array<epoll_event, 64> events;
  while (true) {
    int ready = epoll_wait(poll_.get(), events.data(), events.size(), -1);
    for (int i = 0; i < ready; ++i) {
      if (events[i].data.u64 == watchers_.size()) return;
      Watcher& watcher = watchers_[events[i].data.u64];
      ssize_t n = recv(watcher.fd.get(), buffer.data(), buffer.size(), 0);
      if (n <= 0) {
        epoll_ctl(poll_.get(), EPOLL_CTL_DEL, watcher.fd.get(), nullptr);
        continue;
      }
      watcher.read.append(buffer.data(), static_cast<size_t>(n));
      bytes_ += n;
      marks_ += CountMarks(watcher.read);
    }
  }
}

}  // namespace fairlead
