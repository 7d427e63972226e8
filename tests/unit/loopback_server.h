// SPDX-License-Identifier: Apache-2.0
// A TCP server on loopback that answers HTTP requests as the test says.
#ifndef FAIRLEAD_TESTS_UNIT_LOOPBACK_SERVER_H_
#define FAIRLEAD_TESTS_UNIT_LOOPBACK_SERVER_H_

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::kube {

// One thread per connection; `serve(fd, request text)` writes the answer and
// returns false to close.
class LoopbackServer {
 public:
  using Serve = std::function<bool(int fd, const std::string& request)>;

  explicit LoopbackServer(Serve serve) : serve_(std::move(serve)) {
    listener_.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address),
                   sizeof address), 0);
    EXPECT_EQ(listen(listener_.get(), 16), 0);
    socklen_t size = sizeof address;
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Accept(); });
  }

  ~LoopbackServer() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      for (int fd : open_) shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& t : connections_) t.join();
  }

  std::string url() const { return StrCat("http://127.0.0.1:", port_); }
  int accepted() const { return accepted_; }

 private:
  void Accept() {
    for (;;) {
      int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      ++accepted_;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        open_.push_back(fd);
      }
      connections_.emplace_back([this, fd] { Connection(fd); });
    }
  }

  void Connection(int fd) {
    UniqueFd owned(fd);
    std::string input;
    char buffer[4096];
    for (;;) {
      size_t end = input.find("\r\n\r\n");
      if (end != input.npos) {
        size_t length = end + 4;
        size_t at = input.find("Content-Length: ");
        int body = 0;
        if (at != input.npos) body = atoi(input.c_str() + at + 16);
        if (input.size() >= length + body) {
          std::string request = input.substr(0, length + body);
          input.erase(0, length + body);
          if (!serve_(fd, request)) break;
          continue;
        }
      }
      ssize_t n = read(fd, buffer, sizeof buffer);
      if (n <= 0) break;
      input.append(buffer, n);
    }
    std::lock_guard<std::mutex> lock(mutex_);
    std::erase(open_, fd);
  }

  Serve serve_;
  UniqueFd listener_;
  int port_ = 0;
  std::atomic<int> accepted_{0};
  std::thread thread_;
  std::vector<std::thread> connections_;
  std::mutex mutex_;
  std::vector<int> open_;
};

}  // namespace fairlead::kube

#endif  // FAIRLEAD_TESTS_UNIT_LOOPBACK_SERVER_H_
