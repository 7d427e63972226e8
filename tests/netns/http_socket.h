// SPDX-License-Identifier: Apache-2.0
// A client that sends a server on loopback whatever bytes a test likes.
// Threads: one at a time.
#ifndef FAIRLEAD_TESTS_NETNS_HTTP_SOCKET_H_
#define FAIRLEAD_TESTS_NETNS_HTTP_SOCKET_H_

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "userspace/base/unique_fd.h"

namespace fairlead {

class HttpSocket {
 public:
  // `url`: "http://127.0.0.1:PORT". `receive_buffer`: bytes; 0: as usual.
  explicit HttpSocket(const std::string& url, int receive_buffer = 0)
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) {
      setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer,
                 sizeof receive_buffer);
    }
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(
        static_cast<uint16_t>(std::stoi(url.substr(url.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
      fd_.reset();
    }
  }
  bool connected() const { return fd_.valid(); }

  // False: the server takes no more.
  bool Send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      text.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  void EndSending() { shutdown(fd_.get(), SHUT_WR); }

  // What came, up to the connection's end (then ended() is true), `enough` or
  // the limit.
  std::string Read(absl::Duration limit = absl::Seconds(30),
                   const std::function<bool(const std::string&)>& enough =
                       nullptr) {
    const absl::Time end = absl::Now() + limit;
    std::string text;
    while (!ended_ && (enough == nullptr || !enough(text))) {
      const absl::Duration left = end - absl::Now();
      pollfd waiting{fd_.get(), POLLIN, 0};
      if (left <= absl::ZeroDuration() ||
          poll(&waiting, 1,
               static_cast<int>(absl::ToInt64Milliseconds(left)) + 1) <= 0) {
        break;
      }
      char buffer[65536];
      const ssize_t n = recv(fd_.get(), buffer, sizeof buffer, 0);
      if (n <= 0) {
        ended_ = true;
      } else {
        text.append(buffer, static_cast<size_t>(n));
      }
    }
    return text;
  }
  bool ended() const { return ended_; }

 private:
  UniqueFd fd_;
  bool ended_ = false;
};

// The answer to a GET, with its head.
inline std::string GetPage(const std::string& url, const std::string& path) {
  HttpSocket client(url);
  if (!client.Send("GET " + path +
                   " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) {
    return "";
  }
  return client.Read();
}

// A number of /metrics; -1: it isn't there.
inline int64_t MetricOf(const std::string& url, const std::string& name) {
  const std::string page = GetPage(url, "/metrics");
  const size_t at = page.find("\n" + name + " ");
  return at == std::string::npos ? -1
                                 : std::stoll(page.substr(at + name.size() + 2));
}

}  // namespace fairlead

#endif  // FAIRLEAD_TESTS_NETNS_HTTP_SOCKET_H_
