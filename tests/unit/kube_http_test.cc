// SPDX-License-Identifier: Apache-2.0
// The HTTP transport against a real server on loopback.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>


#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/unit/loopback_server.h"
#include "userspace/base/strings.h"
#include "userspace/kube/http_transport.h"

namespace fairlead::kube {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void Send(int fd, const std::string& text) {
  EXPECT_EQ(send(fd, text.data(), text.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(text.size()));
}

std::string Ok(const std::string& body) {
  return StrCat("HTTP/1.1 200 OK\r\nContent-Length: ", body.size(), "\r\n\r\n",
                body);
}

std::string Chunk(const std::string& body) {
  return absl::StrCat(absl::Hex(body.size()), "\r\n", body, "\r\n");
}

class HttpTest : public ::testing::Test {
 protected:
  void Connect(const std::string& url, HttpTransportOptions options = {}) {
    ApiServer server;
    server.url = url;
    server.bearer_token = "t0ken";
    auto transport = MakeHttpTransport(&loop_, server, options);
    ASSERT_TRUE(transport.ok()) << transport.status();
    transport_ = *std::move(transport);
  }

  absl::StatusOr<Response> Do(Request request) {
    absl::StatusOr<Response> result = absl::UnknownError("no answer");
    auto call = transport_->Do(std::move(request), [&](auto response) {
      result = std::move(response);
      loop_.Stop();
    });
    loop_.Run();
    return result;
  }

  absl::StatusOr<Response> Get(const std::string& target) {
    Request request;
    request.target = target;
    return Do(std::move(request));
  }

  EventLoop loop_;
  std::unique_ptr<Transport> transport_;
};

TEST_F(HttpTest, KeepsAConnectionAlive) {
  std::vector<std::string> seen;
  LoopbackServer server([&](int fd, const std::string& request) {
    seen.push_back(request);
    Send(fd, Ok("hello"));
    return true;
  });
  Connect(server.url());
  for (int i = 0; i < 3; ++i) {
    auto response = Get("/x");
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->body, "hello");
  }
  Request post;
  post.method = "POST";
  post.target = "/y";
  post.headers = {{"Content-Type", "application/json"}};
  post.body = "{}";
  ASSERT_TRUE(Do(post).ok());
  EXPECT_EQ(server.accepted(), 1);
  EXPECT_THAT(seen[0], HasSubstr("GET /x HTTP/1.1\r\nHost: 127.0.0.1:"));
  EXPECT_THAT(seen[0], HasSubstr("Authorization: Bearer t0ken\r\n"));
  EXPECT_THAT(seen[3], HasSubstr("Content-Length: 2\r\n\r\n{}"));
}

TEST_F(HttpTest, AClosedIdleConnectionIsReplaced) {
  LoopbackServer server([&](int fd, const std::string&) {
    Send(fd, Ok("x"));
    return false;  // closes without having said so
  });
  Connect(server.url());
  for (int i = 0; i < 5; ++i) {
    auto response = Get("/");
    ASSERT_TRUE(response.ok()) << response.status();
  }
}

TEST_F(HttpTest, ChunksArriveAsTheyAreSent) {
  std::atomic<bool> go_on{false};
  LoopbackServer server([&](int fd, const std::string&) {
    Send(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    Send(fd, Chunk("one "));
    while (!go_on) std::this_thread::yield();
    // A chunk in two writes, its size line cut.
    Send(fd, "0000");
    Send(fd, "3\r\ntw");
    Send(fd, "o\r\n0\r\n\r\n");
    return true;
  });
  Connect(server.url());
  std::string body;
  int status = 0;
  absl::Status end = absl::UnknownError("none");
  StreamCallbacks callbacks;
  callbacks.on_head = [&](const Response& head) { status = head.status; };
  callbacks.on_chunk = [&](std::string_view chunk) {
    body.append(chunk);
    go_on = true;
  };
  callbacks.on_end = [&](absl::Status s) {
    end = s;
    loop_.Stop();
  };
  auto call = transport_->Stream(Request(), callbacks);
  loop_.Run();
  EXPECT_EQ(status, 200);
  EXPECT_EQ(body, "one two");
  EXPECT_TRUE(end.ok()) << end;
  ASSERT_TRUE(Get("/").ok());  // on the same connection
  EXPECT_EQ(server.accepted(), 1);
}

TEST_F(HttpTest, ADroppedStreamIsAnError) {
  LoopbackServer server([&](int fd, const std::string&) {
    Send(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    Send(fd, Chunk("{"));
    return false;
  });
  Connect(server.url());
  absl::Status end;
  StreamCallbacks callbacks;
  callbacks.on_head = [](const Response&) {};
  callbacks.on_chunk = [](std::string_view) {};
  callbacks.on_end = [&](absl::Status s) {
    end = s;
    loop_.Stop();
  };
  auto call = transport_->Stream(Request(), callbacks);
  loop_.Run();
  EXPECT_TRUE(absl::IsUnavailable(end)) << end;
}

TEST_F(HttpTest, AStreamRefusedWithALengthSaysWhy) {
  LoopbackServer server([&](int fd, const std::string&) {
    Send(fd, "HTTP/1.1 422 X\r\nContent-Length: 7\r\n\r\nbecause");
    return true;
  });
  Connect(server.url());
  int status = 0;
  std::string body;
  absl::Status end = absl::UnknownError("none");
  StreamCallbacks callbacks;
  callbacks.on_head = [&](const Response& head) { status = head.status; };
  callbacks.on_chunk = [&](std::string_view chunk) { body.append(chunk); };
  callbacks.on_end = [&](absl::Status s) {
    end = s;
    loop_.Stop();
  };
  auto call = transport_->Stream(Request(), callbacks);
  loop_.Run();
  EXPECT_EQ(status, 422);
  EXPECT_EQ(body, "because");
  EXPECT_TRUE(end.ok()) << end;
}

TEST_F(HttpTest, DestroyingACallFromItsOwnCallbackCancels) {
  LoopbackServer server([&](int fd, const std::string&) {
    Send(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
                 Chunk("a") + Chunk("b"));
    return true;
  });
  Connect(server.url());
  std::unique_ptr<Call> call;
  int chunks = 0;
  StreamCallbacks callbacks;
  callbacks.on_head = [](const Response&) {};
  callbacks.on_chunk = [&](std::string_view) {
    ++chunks;
    call.reset();
    // Behind whatever the transport may still do.
    loop_.Post([this] { loop_.Post([this] { loop_.Stop(); }); });
  };
  callbacks.on_end = [&](absl::Status) { ADD_FAILURE() << "told an end"; };
  call = transport_->Stream(Request(), callbacks);
  loop_.Run();
  EXPECT_EQ(chunks, 1);
  ASSERT_TRUE(transport_ != nullptr);
}

TEST_F(HttpTest, Timeouts) {
  LoopbackServer server([&](int, const std::string&) { return true; });
  HttpTransportOptions options;
  options.request_timeout = absl::Milliseconds(50);
  Connect(server.url(), options);
  EXPECT_TRUE(absl::IsDeadlineExceeded(Get("/").status()));
}

TEST_F(HttpTest, NobodyListens) {
  std::string url;
  {
    LoopbackServer server([](int, const std::string&) { return true; });
    url = server.url();
  }
  Connect(url);
  EXPECT_TRUE(absl::IsUnavailable(Get("/").status()));
}

TEST_F(HttpTest, NotHttp) {
  LoopbackServer server([&](int fd, const std::string&) {
    Send(fd, "SSH-2.0-nothing\r\n\r\n");
    return true;
  });
  Connect(server.url());
  EXPECT_TRUE(absl::IsUnavailable(Get("/").status()));
}

TEST_F(HttpTest, ABodyWithoutALength) {
  LoopbackServer server([&](int fd, const std::string&) {
    Send(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end");
    return false;
  });
  Connect(server.url());
  auto response = Get("/");
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->body, "until the end");
}

TEST_F(HttpTest, TheTransportMayGoFirst) {
  LoopbackServer server([&](int, const std::string&) { return true; });
  Connect(server.url());
  auto call = transport_->Do(Request(), [](auto) {});
  transport_.reset();
  loop_.Post([this] { loop_.Stop(); });
  loop_.Run();
}

TEST(HttpTransport, BadUrls) {
  EventLoop loop;
  for (const char* url : {"", "ftp://x", "http://", "http://a:0",
                          "http://a:99999", "http://[::1", "http://a:b"}) {
    ApiServer server;
    server.url = url;
    EXPECT_FALSE(MakeHttpTransport(&loop, server).ok()) << url;
  }
}

}  // namespace
}  // namespace fairlead::kube
