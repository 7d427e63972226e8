// SPDX-License-Identifier: Apache-2.0
// Very many clients that say nothing, or half of something, and one that asks.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "tests/netns/controller_process.h"
#include "userspace/base/unique_fd.h"

namespace fairlead {
namespace {

constexpr rlim_t kUsualLimit = 1024;
constexpr rlim_t kOfTheTestItself = 100;
constexpr rlim_t kClients = 10'000;

class ConnectionsTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    if (before_.rlim_max < 2 * kUsualLimit) {
      GTEST_SKIP() << "no more than " << before_.rlim_max
                   << " file descriptors here";
    }
    // The controller begins with what a login shell usually gives.
    SetLimit(std::min(before_.rlim_max, kUsualLimit));
    controller_.Start();
    SetLimit(before_.rlim_max);
    const std::string& url = controller_.url();
    ASSERT_TRUE(absl::SimpleAtoi(url.substr(url.rfind(':') + 1), &port_));
  }
  void TearDown() override { setrlimit(RLIMIT_NOFILE, &before_); }

  void SetLimit(rlim_t files) {
    rlimit limit = before_;
    limit.rlim_cur = files;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  }

  UniqueFd Connect() const {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    timeval patience{.tv_sec = 30, .tv_usec = 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port_));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
      return UniqueFd();
    }
    return fd;
  }

  static bool Send(const UniqueFd& fd, std::string_view text) {
    return send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(text.size());
  }

  // The whole answer, or what came of it in 30 s.
  std::string Ask() const {
    UniqueFd fd = Connect();
    if (!fd.valid() ||
        !Send(fd, "GET /readyz HTTP/1.1\r\nHost: a\r\n"
                  "Connection: close\r\n\r\n")) {
      return "no connection";
    }
    std::string answer;
    char buffer[4096];
    for (ssize_t n; (n = recv(fd.get(), buffer, sizeof buffer, 0)) > 0;) {
      answer.append(buffer, static_cast<size_t>(n));
    }
    return answer;
  }

  rlimit before_{};
  ControllerProcess controller_;
  int port_ = 0;
};

TEST_F(ConnectionsTest, TenThousandIdleOnesKeepNobodyOut) {
  const rlim_t clients =
      std::min(kClients, before_.rlim_max - kOfTheTestItself);
  std::vector<UniqueFd> idle;
  for (rlim_t i = 0; i < clients; ++i) {
    idle.push_back(Connect());
    ASSERT_TRUE(idle.back().valid()) << i;
    // Every other one begins a request and stops in the middle.
    if (i % 2 == 1) {
      ASSERT_TRUE(Send(idle.back(), "GET /readyz HT")) << i;
    }
  }
  EXPECT_TRUE(Ask().starts_with("HTTP/1.1 200")) << Ask();
  // The halves are whole requests still.
  ASSERT_TRUE(Send(idle[1], "TP/1.1\r\nHost: a\r\n\r\n"));
  char word[12];
  ASSERT_EQ(recv(idle[1].get(), word, sizeof word, MSG_WAITALL), 12);
  EXPECT_EQ(std::string_view(word, sizeof word), "HTTP/1.1 200");

  idle.clear();
  EXPECT_TRUE(Ask().starts_with("HTTP/1.1 200")) << Ask();
  EXPECT_EQ(controller_.Terminate(), 0);
}

}  // namespace
}  // namespace fairlead
