// SPDX-License-Identifier: Apache-2.0
// Commands and probe actions, with real programs and loopback sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <thread>

#include "userspace/base/event_loop.h"
#include "userspace/base/unique_fd.h"
#include "userspace/kubelet/probes/action.h"
#include "userspace/kubelet/probes/prober.h"
#include "userspace/kubelet/runtime/command.h"

namespace fairlead::kubelet {
namespace {

using ::testing::HasSubstr;

// A socket on a loopback port of the kernel's choice.
struct Listener {
  Listener() : fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address),
                   sizeof(address)), 0);
    socklen_t size = sizeof(address);
    getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
  }
  UniqueFd fd;
  Port port = 0;
};

ActionResult Do(const Action& action,
                absl::Duration timeout = absl::Seconds(5)) {
  EventLoop loop;
  std::optional<ActionResult> result;
  std::unique_ptr<ActionCall> call;
  loop.Post([&] {
    call = RunAction(&loop, action, {.host = "127.0.0.1", .enter = {}},
                     timeout, [&](ActionResult r) {
                       result = std::move(r);
                       loop.Stop();
                     });
  });
  loop.Run();
  return *result;
}

Action Exec(std::vector<std::string> command) {
  Action action;
  action.type = Action::Type::kExec;
  action.command = std::move(command);
  return action;
}

TEST(ActionTest, Exec) {
  EXPECT_TRUE(Do(Exec({"/bin/true"})).success);
  const ActionResult failed =
      Do(Exec({"/bin/sh", "-c", "echo why; echo not >&2; exit 1"}));
  EXPECT_FALSE(failed.success);
  EXPECT_EQ(failed.message, "why\nnot\n");
  EXPECT_FALSE(Do(Exec({"/nonexistent"})).success);
}

TEST(ActionTest, ExecTimesOut) {
  const ActionResult result =
      Do(Exec({"/bin/sleep", "60"}), absl::Milliseconds(50));
  EXPECT_FALSE(result.success);
  EXPECT_THAT(result.message, HasSubstr("timed out"));
}

TEST(ActionTest, ExecKeepsOnlyTheStartOfTheOutput) {
  const ActionResult result =
      Do(Exec({"/bin/sh", "-c", "head -c 100000 /dev/zero; exit 1"}));
  EXPECT_FALSE(result.success);
  EXPECT_LE(result.message.size(), 10240u);
}

TEST(ActionTest, TcpSocket) {
  Listener listener;
  Action action;
  action.type = Action::Type::kTcpSocket;
  action.port = listener.port;
  EXPECT_THAT(Do(action).message, HasSubstr("connection refused"));
  ASSERT_EQ(listen(listener.fd.get(), 1), 0);
  EXPECT_TRUE(Do(action).success);
}

// Answers one request with `reply` and returns what was asked.
std::string AskHttp(const std::string& reply, ActionResult* result) {
  Listener listener;
  EXPECT_EQ(listen(listener.fd.get(), 1), 0);
  std::string request;
  std::thread server([&] {
    const UniqueFd fd(accept(listener.fd.get(), nullptr, nullptr));
    char chunk[4096];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t n = recv(fd.get(), chunk, sizeof(chunk), 0);
      if (n <= 0) return;
      request.append(chunk, static_cast<size_t>(n));
    }
    EXPECT_EQ(send(fd.get(), reply.data(), reply.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(reply.size()));
  });
  Action action;
  action.type = Action::Type::kHttpGet;
  action.port = listener.port;
  action.path = "/healthz?x=1";
  action.headers = {{"Host", "shop.example"}, {"X-Probe", "yes"}};
  *result = Do(action);
  server.join();
  return request;
}

TEST(ActionTest, HttpGet) {
  ActionResult result;
  const std::string request = AskHttp("HTTP/1.1 204 No Content\r\n\r\n",
                                      &result);
  EXPECT_TRUE(result.success) << result.message;
  EXPECT_THAT(request, HasSubstr("GET /healthz?x=1 HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("Host: shop.example\r\n"));
  EXPECT_THAT(request, HasSubstr("X-Probe: yes\r\n"));
  AskHttp("HTTP/1.1 302 Found\r\n\r\n", &result);
  EXPECT_TRUE(result.success);
  AskHttp("HTTP/1.1 503 No\r\n\r\n", &result);
  EXPECT_EQ(result.message, "HTTP probe failed with statuscode: 503");
  AskHttp("garbage\r\n", &result);
  EXPECT_FALSE(result.success);
}

TEST(ActionTest, HttpGetTimesOut) {
  Listener listener;
  ASSERT_EQ(listen(listener.fd.get(), 1), 0);
  Action action;
  action.type = Action::Type::kHttpGet;
  action.port = listener.port;
  EXPECT_THAT(Do(action, absl::Milliseconds(50)).message,
              HasSubstr("context deadline exceeded"));
}

TEST(ActionTest, AnActionNeedsAPeer) {
  Action action;
  EXPECT_EQ(Do(action).message, "missing probe handler");
  action.type = Action::Type::kTcpSocket;
  EXPECT_EQ(Do(action).message, "no such port in the container's ports");
  action.port = 1;
  action.host = "db.example";
  EXPECT_EQ(Do(action).message, "not an IP address: db.example");
}

TEST(ProberTest, MayBeDestroyedByItsOwnResult) {
  EventLoop loop;
  std::unique_ptr<Prober> prober;
  Probe probe;
  probe.action = Exec({"/bin/true"});
  loop.Post([&] {
    prober = std::make_unique<Prober>(
        &loop, probe, ActionTarget{}, false, absl::ZeroDuration(),
        [&](const Prober::Result& result) {
          EXPECT_TRUE(result.success);
          EXPECT_TRUE(result.changed);
          prober.reset();
          loop.Stop();
        });
  });
  loop.Run();
  EXPECT_EQ(prober, nullptr);
}

TEST(CommandTest, DestroyingItKillsTheProgram) {
  EventLoop loop;
  bool called = false;
  loop.Post([&] {
    auto command = Command::Start(&loop, {"/bin/sleep", "60"},
                                  absl::Minutes(1),
                                  [&](const auto&) { called = true; });
    ASSERT_TRUE(command.ok()) << command.status();
    command->reset();  // returns only because sleep was killed
    loop.Stop();
  });
  loop.Run();
  EXPECT_FALSE(called);
}

}  // namespace
}  // namespace fairlead::kubelet
