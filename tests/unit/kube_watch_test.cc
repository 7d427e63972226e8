// SPDX-License-Identifier: Apache-2.0
// A reflector's watches over real sockets, refused as an API server refuses
// them (an HTTP status, a Status with a Content-Length, the connection kept),
// and from a server that overlooks sendInitialEvents.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/unit/loopback_server.h"
#include "userspace/kube/http_transport.h"
#include "userspace/kube/reflector.h"

namespace fairlead::kube {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

bool Send(int fd, const std::string& text) {
  return send(fd, text.data(), text.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(text.size());
}

std::string Json(int status, const std::string& body,
                 const std::string& headers = "") {
  return StrCat("HTTP/1.1 ", status, " X\r\nContent-Type: application/json\r\n",
                headers, "Content-Length: ", body.size(), "\r\n\r\n", body);
}

std::string Refusal(int status, const std::string& reason,
                    const std::string& headers = "") {
  return Json(status,
              StrCat(R"({"kind":"Status","apiVersion":"v1","metadata":{},)",
                     R"("status":"Failure","message":"in words: )", reason,
                     R"(","reason":")", reason, R"(","code":)", status, "}"),
              headers);
}

std::string Head() {
  return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
         "Transfer-Encoding: chunked\r\n\r\n";
}

std::string Chunk(const std::string& body) {
  return absl::StrCat(absl::Hex(body.size()), "\r\n", body, "\r\n");
}

std::string Service(const std::string& name, int version) {
  return StrCat(R"({"kind":"Service","apiVersion":"v1","metadata":{"name":")",
                name, R"(","namespace":"d","resourceVersion":")", version,
                "\"}}");
}

std::string Event(const std::string& type, const std::string& name,
                  int version) {
  return StrCat(R"({"type":")", type, R"(","object":)", Service(name, version),
                "}\n");
}

std::string List(int version, const std::string& name) {
  return Json(200, StrCat(R"({"kind":"ServiceList","metadata":)",
                          R"({"resourceVersion":")", version, R"("},"items":[)",
                          Service(name, version), "]}"));
}

// What the reflector told, in order: "begin", "listed", "end 5", "event",
// "PERMISSION_DENIED: ...".
struct Told : ReflectorSink {
  std::vector<std::string> lines;
  std::function<void()> on_event;
  void ReplaceBegin() override { lines.push_back("begin"); }
  void OnListed(const EncodedObject&) override { lines.push_back("listed"); }
  void ReplaceEnd(std::string_view version) override {
    lines.push_back(StrCat("end ", version));
  }
  void ReplaceAbort() override { lines.push_back("abort"); }
  void OnEvent(WatchEvent, const EncodedObject&) override {
    lines.push_back("event");
    on_event();
  }
  void OnState(const absl::Status& status) override {
    if (!status.ok()) lines.push_back(status.ToString());
  }
};

class WatchTest : public ::testing::Test {
 protected:
  WatchTest() {
    options_.resource = Services();
    options_.min_backoff = absl::Milliseconds(1);
    options_.max_backoff = absl::Milliseconds(5);
  }

  // Runs a reflector against this server until the first event of a watch.
  void RunUntilAnEvent(LoopbackServer::Serve serve) {
    LoopbackServer server([&](int fd, const std::string& request) {
      {
        std::lock_guard<std::mutex> lock(mutex_);
        asked_.push_back(request);
      }
      return serve(fd, request);
    });
    server_.url = server.url();
    auto transport = MakeHttpTransport(&loop_, server_);
    ASSERT_TRUE(transport.ok()) << transport.status();
    Reflector reflector(&loop_, transport->get(), options_, &told_);
    told_.on_event = [this] { loop_.Stop(); };
    Timer guard = loop_.After(absl::Seconds(60), [this] {
      ADD_FAILURE() << "no event came";
      loop_.Stop();
    });
    reflector.Start();
    loop_.Run();
    told_.on_event = [] {};
    reflector.Stop();
    transport->reset();
    accepted_ = server.accepted();
  }

  // A list of version 5; the first watch gets `refusal`, the next an event.
  LoopbackServer::Serve RefuseOnce(const std::string& refusal,
                                   std::function<void()> then = [] {}) {
    return [this, refusal, then](int fd, const std::string& request) {
      if (!absl::StrContains(request, "watch=true")) {
        return Send(fd, List(++lists_ == 1 ? 5 : 9, "a"));
      }
      if (++watches_ > 1) {
        return Send(fd, Head() + Chunk(Event("ADDED", "b", 10)));
      }
      then();
      return Send(fd, refusal);
    };
  }

  EventLoop loop_;
  ApiServer server_;
  ReflectorOptions options_;
  Told told_;
  std::mutex mutex_;
  std::vector<std::string> asked_;
  int accepted_ = 0;
  std::atomic<int> lists_{0}, watches_{0};
};

TEST_F(WatchTest, GoneListsAgainOnTheSameConnection) {
  RunUntilAnEvent(RefuseOnce(Refusal(410, "Expired")));
  EXPECT_THAT(told_.lines,
              ElementsAre("begin", "listed", "end 5",
                          HasSubstr("in words: Expired"), "begin", "listed",
                          "end 9", "event"));
  EXPECT_THAT(asked_.at(3), HasSubstr("resourceVersion=9&"));
  EXPECT_EQ(accepted_, 1);
}

TEST_F(WatchTest, TooManyRequestsWaitsAsLongAsItIsTold) {
  std::atomic<int64_t> refused_at{0};
  auto now = [] {
    return std::chrono::steady_clock::now().time_since_epoch() /
           std::chrono::milliseconds(1);
  };
  RunUntilAnEvent(
      RefuseOnce(Refusal(429, "TooManyRequests", "Retry-After: 1\r\n"),
                 [&] { refused_at = now(); }));
  EXPECT_GE(now() - refused_at, 999);
  EXPECT_THAT(told_.lines,
              ElementsAre("begin", "listed", "end 5",
                          HasSubstr("in words: TooManyRequests"), "event"));
  EXPECT_THAT(asked_.at(2), AllOf(HasSubstr("watch=true"),
                                  HasSubstr("resourceVersion=5&")));
}

TEST_F(WatchTest, UnauthorizedReadsTheTokenAgainAndResumes) {
  const std::string path = ::testing::TempDir() + "/watch_token";
  std::ofstream(path) << "one\n";
  server_.bearer_token_file = path;
  RunUntilAnEvent(RefuseOnce(Refusal(401, "Unauthorized"), [&] {
    // Replaced as a kubelet does it.
    std::ofstream(path + ".new") << "two\n";
    std::filesystem::rename(path + ".new", path);
  }));
  std::filesystem::remove(path);
  EXPECT_THAT(told_.lines,
              ElementsAre("begin", "listed", "end 5",
                          HasSubstr("in words: Unauthorized"), "event"));
  EXPECT_THAT(asked_.at(1), HasSubstr("Bearer one\r\n"));
  EXPECT_THAT(asked_.at(2), AllOf(HasSubstr("Bearer two\r\n"),
                                  HasSubstr("resourceVersion=5&")));
}

TEST_F(WatchTest, ForbiddenKeepsWhatIsKnownAndSaysWhy) {
  RunUntilAnEvent(RefuseOnce(Refusal(403, "Forbidden")));
  EXPECT_THAT(told_.lines,
              ElementsAre("begin", "listed", "end 5",
                          AllOf(HasSubstr("PERMISSION_DENIED"),
                                HasSubstr("in words: Forbidden")),
                          "event"));
  EXPECT_THAT(asked_.at(2), HasSubstr("resourceVersion=5&"));
}

// The first request is taken for a plain watch; pages are answered.
LoopbackServer::Serve Overlooks(std::function<bool(int fd)> plain_watch) {
  return [plain_watch](int fd, const std::string& request) {
    if (absl::StrContains(request, "sendInitialEvents")) {
      return Send(fd, Head()) && plain_watch(fd);
    }
    if (!absl::StrContains(request, "watch=true")) {
      return Send(fd, List(5, "a"));
    }
    return Send(fd, Head() + Chunk(Event("ADDED", "b", 6)));
  };
}

TEST_F(WatchTest, AServerThatOverlooksSendInitialEventsGetsPages) {
  options_.streamed_list = true;
  options_.list_end_timeout = absl::Milliseconds(100);
  // It has nothing to tell, or one object.
  for (const std::string& objects : {std::string(), Event("ADDED", "a", 3)}) {
    told_.lines.clear();
    asked_.clear();
    RunUntilAnEvent(Overlooks([&](int fd) {
      return objects.empty() || Send(fd, Chunk(objects));
    }));
    EXPECT_THAT(told_.lines, Contains(HasSubstr("doesn't end")));
    EXPECT_THAT(asked_.at(1), AllOf(HasSubstr("limit="),
                                    Not(HasSubstr("sendInitialEvents"))));
    EXPECT_THAT(told_.lines.back(), "event");
  }
}

TEST_F(WatchTest, ABusyServerThatOverlooksSendInitialEventsGetsPagesToo) {
  options_.streamed_list = true;
  options_.list_end_timeout = absl::Seconds(1);
  RunUntilAnEvent(Overlooks([](int fd) {
    // Never silent until the client goes; a change every few milliseconds.
    for (int version = 3; version < 60'000; ++version) {
      if (!Send(fd, Chunk(Event("MODIFIED", "a", version)))) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
  }));
  EXPECT_THAT(told_.lines, Contains(HasSubstr("doesn't end")));
  EXPECT_THAT(asked_.at(1), HasSubstr("limit="));
}

}  // namespace
}  // namespace fairlead::kube
