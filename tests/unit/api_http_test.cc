// SPDX-License-Identifier: Apache-2.0
// The server on a loopback socket: framing, keep-alive, limits.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "control/api/http.h"
#include "control/api/http_server.h"
#include "control/api/listen_address.h"
#include "tests/unit/api_fixture.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::api {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// A blocking client; the server runs on a thread of its own.
class Client {
 public:
  explicit Client(Port port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_.get(), reinterpret_cast<sockaddr*>(&address),
                      sizeof address),
              0);
  }
  void Write(std::string_view text) {
    while (!text.empty()) {
      ssize_t n = send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      text.remove_prefix(n);
    }
  }
  // Until `done` or the end or a deadline.
  std::string ReadUntil(const std::function<bool(const std::string&)>& done) {
    while (!done(text_)) {
      pollfd waiting{fd_.get(), POLLIN, 0};
      if (poll(&waiting, 1, 10000) <= 0) break;
      char buffer[65536];
      ssize_t n = recv(fd_.get(), buffer, sizeof buffer, 0);
      if (n <= 0) {
        closed_ = true;
        break;
      }
      text_.append(buffer, n);
    }
    return std::exchange(text_, "");
  }
  std::string ReadAll() {
    return ReadUntil([](const std::string&) { return false; });
  }
  // One answer with a Content-Length.
  std::string ReadAnswer() {
    return ReadUntil([](const std::string& text) {
      size_t head = text.find("\r\n\r\n");
      size_t length = text.find("Content-Length: ");
      if (head == text.npos || length == text.npos) return false;
      return text.size() >= head + 4 + std::stoul(text.substr(length + 16));
    });
  }
  bool closed() const { return closed_; }

 private:
  UniqueFd fd_;
  std::string text_;
  bool closed_ = false;
};

class HttpTest : public ApiServerTest {
 protected:
  HttpTest() {
    auto address = ListenAddress::Parse("127.0.0.1:0");
    EXPECT_TRUE(address.ok());
    EXPECT_TRUE(server_->Listen(*address).ok());
    port_ = server_->ports()[0];
    thread_ = std::thread([this] { loop_->Run(); });
  }
  ~HttpTest() override {
    loop_->Stop();
    thread_.join();
  }
  static std::string Post(const std::string& target, const std::string& body,
                          const std::string& more = "") {
    return "POST " + target +
           " HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n" + more +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  static constexpr const char* kWidgets =
      "/apis/test.io/v1/namespaces/default/widgets";
  Port port_ = 0;
  std::thread thread_;
};

TEST_F(HttpTest, KeepsAConnectionForManyRequests) {
  Client client(port_);
  client.Write(Post(kWidgets, R"({"metadata":{"name":"a"}})"));
  std::string made = client.ReadAnswer();
  EXPECT_THAT(made, StartsWith("HTTP/1.1 201 Created\r\n"));
  EXPECT_THAT(made, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_THAT(made, HasSubstr("Cache-Control: no-cache, private\r\n"));
  client.Write("GET " + std::string(kWidgets) +
               "/a HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(client.ReadAnswer(), StartsWith("HTTP/1.1 200 OK\r\n"));
  // Two at once.
  client.Write("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
               "GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  std::string both = client.ReadAll();
  EXPECT_EQ(both.find("200 OK"), 9u);
  EXPECT_NE(both.rfind("200 OK"), 9u);
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpTest, ABodyOverTheLimitIs413) {
  Client client(port_);
  client.Write(Post(kWidgets, std::string(4 << 20, 'x')));
  std::string answer = client.ReadAll();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(answer, HasSubstr("Request entity too large: limit is 3145728"));
}

TEST_F(HttpTest, ExpectContinue) {
  Client client(port_);
  std::string body = R"({"metadata":{"name":"e"}})";
  std::string request = Post(kWidgets, body, "Expect: 100-continue\r\n");
  client.Write(request.substr(0, request.size() - body.size()));
  EXPECT_THAT(client.ReadUntil([](const std::string& text) {
    return text.find("\r\n\r\n") != text.npos;
  }),
              StartsWith("HTTP/1.1 100 Continue"));
  client.Write(body);
  EXPECT_THAT(client.ReadAnswer(), StartsWith("HTTP/1.1 201"));
}

TEST_F(HttpTest, GarbageIs400AndHeadHasNoBody) {
  Client garbage(port_);
  garbage.Write("\x16\x03\x01 this is not HTTP\r\n\r\n");
  EXPECT_THAT(garbage.ReadAll(), StartsWith("HTTP/1.1 400 "));
  Client head(port_);
  head.Write("HEAD " + std::string(kWidgets) +
             "/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  std::string answer = head.ReadAll();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(answer, testing::EndsWith("\r\n\r\n"));
}

TEST_F(HttpTest, AWatchIsChunkedAndTheConnectionLivesOn) {
  Client client(port_);
  client.Write("GET " + std::string(kWidgets) +
               "?watch=1&timeoutSeconds=1&resourceVersion=0 HTTP/1.1\r\n"
               "Host: h\r\n\r\n");
  std::string head = client.ReadUntil([](const std::string& text) {
    return text.find("\r\n\r\n") != text.npos;
  });
  EXPECT_THAT(head, HasSubstr("Transfer-Encoding: chunked"));
  Client writer(port_);
  writer.Write(Post(kWidgets, R"({"metadata":{"name":"a"}})"));
  EXPECT_THAT(writer.ReadAnswer(), StartsWith("HTTP/1.1 201"));
  std::string events = client.ReadUntil([](const std::string& text) {
    return text.find("\r\n0\r\n\r\n") != text.npos;
  });
  EXPECT_THAT(events, HasSubstr("{\"type\":\"ADDED\",\"object\":{"));
  client.Write("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(client.ReadAnswer(), StartsWith("HTTP/1.1 200 OK"));
}

// A server whose patience is short and whose answers are long.
class HttpLimitsTest : public testing::Test {
 protected:
  static constexpr size_t kAnswer = 64u << 20;

  HttpLimitsTest() {
    auto listener = OpenListener(*ListenAddress::Parse("127.0.0.1:0"));
    EXPECT_TRUE(listener.ok()) << listener.status();
    port_ = BoundPort(listener->get());
    EXPECT_TRUE(server_.Accept(*std::move(listener), false).ok());
    thread_ = std::thread([this] { loop_.Run(); });
  }
  ~HttpLimitsTest() override {
    loop_.Stop();
    thread_.join();
  }
  // Whether the server ends the connection, and not at once.
  void ExpectEnded(Client& client, absl::Duration after) {
    const absl::Time begin = absl::Now();
    EXPECT_EQ(client.ReadAll(), "");
    EXPECT_TRUE(client.closed());
    EXPECT_GE(absl::Now() - begin, after - absl::Milliseconds(200));
    EXPECT_LT(absl::Now() - begin, after + absl::Seconds(2));
  }

  EventLoop loop_;
  HttpServer server_{&loop_,
                     {.header_timeout = absl::Seconds(1),
                      .request_timeout = absl::Seconds(1),
                      .write_timeout = absl::Seconds(1)},
                     [](kube::Request, const Peer&, ResponderRef responder) {
                       responder->Send(
                           TextResponse(200, std::string(kAnswer, 'x')));
                     }};
  Port port_ = 0;
  std::thread thread_;
};

TEST_F(HttpLimitsTest, ARequestArrivesInTimeOrNotAtAll) {
  Client head(port_);
  head.Write("GET /x HTTP/1.1\r\nHost: h\r\nX: ");
  ExpectEnded(head, absl::Seconds(1));
  Client body(port_);
  body.Write("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx");
  ExpectEnded(body, absl::Seconds(1));
  // A byte now and then gains no time.
  Client slow(port_);
  std::thread feeder([&] {
    for (int i = 0; i < 20; ++i) {
      slow.Write(i == 0 ? "GET /" : "x");
      absl::SleepFor(absl::Milliseconds(200));
    }
  });
  ExpectEnded(slow, absl::Seconds(1));
  feeder.join();
}

TEST_F(HttpLimitsTest, WhoReadsNothingOfAnAnswerIsCutOff) {
  Client stuck(port_);
  stuck.Write("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
  Client slow(port_);
  slow.Write("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
  // Little, but something, in each part of the time that is given.
  size_t read = 0;
  for (int i = 0; i < 10; ++i) {
    absl::SleepFor(absl::Milliseconds(400));
    read += slow.ReadUntil([](const std::string& text) {
                  return text.size() > (4u << 20);
                }).size();
  }
  EXPECT_FALSE(slow.closed());
  read += slow.ReadUntil([&](const std::string& text) {
                return read + text.size() > kAnswer;
              }).size();
  EXPECT_GT(read, kAnswer);
  EXPECT_LT(stuck.ReadAll().size(), kAnswer);
  EXPECT_TRUE(stuck.closed());
}

TEST(ListenAddressTest, Parse) {
  auto plain = ListenAddress::Parse("172.30.0.1:6443@/run/netns/x");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->address.ToString(), "172.30.0.1");
  EXPECT_EQ(plain->port, 6443);
  EXPECT_EQ(plain->netns, "/run/netns/x");
  auto v6 = ListenAddress::Parse("[fd00::1]:80");
  ASSERT_TRUE(v6.ok());
  EXPECT_EQ(v6->address.ToString(), "fd00::1");
  for (const char* bad : {"", "1.2.3.4", "1.2.3.4:99999", "x:1", "[::1:5"}) {
    EXPECT_FALSE(ListenAddress::Parse(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace fairlead::api
