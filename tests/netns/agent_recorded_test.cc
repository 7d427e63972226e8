// SPDX-License-Identifier: Apache-2.0
// A real agent process over real sockets, against what a kube-apiserver 1.36
// really said: a streamed list that goes on as the watch, lists in pages, a
// watch with bookmarks, in protobuf and in JSON.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/netns/agent_fixture.h"

namespace fairlead::harness {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

std::string Recorded(const std::string& name) {
  const std::string path =
      StrCat(FAIRLEAD_SOURCE_DIR, "/tests/unit/testdata/kube/", name);
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Where each event of a recorded watch ends. Protobuf: four bytes of length
// (big-endian) before each; JSON: a line each.
std::vector<size_t> EventEnds(const std::string& watch, bool protobuf) {
  std::vector<size_t> ends;
  for (size_t at = 0; at < watch.size();) {
    if (protobuf) {
      uint32_t length = 0;
      memcpy(&length, watch.data() + at, 4);
      at += 4 + ntohl(length);
    } else {
      at = watch.find('\n', at) + 1;
    }
    ends.push_back(at);
  }
  return ends;
}

// Plays the recordings at 127.0.0.1:8001 of the namespace. Services come as a
// streamed list; everything else is asked for in pages, as by a server that
// streams no lists.
class RecordedApi {
 public:
  RecordedApi(const NetnsScope& netns, bool protobuf) : protobuf_(protobuf) {
    absl::Status status = netns.Run([&]() -> absl::Status {
      listener_.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      int yes = 1;
      setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
      sockaddr_in address = V4("127.0.0.1", 8001);
      if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address),
               sizeof address) < 0 ||
          listen(listener_.get(), 16) < 0) {
        return ErrnoStatus(errno, "listen", "recorded API");
      }
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    watch_ = Recorded(protobuf ? "services_watch.pb" : "services_watch.jsonl");
    ends_ = EventEnds(watch_, protobuf);
    threads_.emplace_back([this] { Accept(); });
  }
  ~RecordedApi() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
      shutdown(listener_.get(), SHUT_RDWR);
      for (int fd : open_) shutdown(fd, SHUT_RDWR);
      changed_.notify_all();
    }
    threads_.front().join();
    for (size_t i = 1; i < threads_.size(); ++i) threads_[i].join();
  }

  // Lets the watch of Services come to its first `events`.
  void Play(size_t events) {
    std::lock_guard<std::mutex> lock(mutex_);
    played_ = events;
    changed_.notify_all();
  }
  size_t events() const { return ends_.size(); }
  std::vector<std::string> Requests() {
    std::lock_guard<std::mutex> lock(mutex_);
    return requests_;
  }

 private:
  void Accept() {
    for (;;) {
      int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      std::lock_guard<std::mutex> lock(mutex_);
      open_.push_back(fd);
      threads_.emplace_back([this, fd] { Serve(fd); });
    }
  }

  void Serve(int fd) {
    std::string input;
    char buffer[8192];
    ssize_t n = 0;
    while ((n = read(fd, buffer, sizeof buffer)) > 0) {
      input.append(buffer, n);
      const size_t end = input.find("\r\n\r\n");
      if (end == input.npos) continue;
      Answer(fd, input.substr(0, end));
      input.clear();  // nobody pipelines, and GETs have no body
    }
    std::lock_guard<std::mutex> lock(mutex_);
    open_.remove(fd);
    close(fd);
  }

  void Answer(int fd, const std::string& head) {
    const std::string target = head.substr(4, head.find(' ', 4) - 4);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      requests_.push_back(target);
    }
    if (absl::StrContains(target, "/servicecidrs?")) {  // not recorded
      return SendWhole(fd, 404, "application/json",
                       R"({"kind":"Status","code":404})");
    }
    const bool services = absl::StartsWith(target, "/api/v1/services?");
    if (absl::StrContains(target, "sendInitialEvents=true")) {
      if (!services) return SendWhole(fd, 422, "application/json", kRefusal);
      return SendWatch(fd, Recorded(protobuf_ ? "services_streamed.pb"
                                              : "services_streamed.jsonl"));
    }
    if (absl::StrContains(target, "watch=true")) return SendWatch(fd, "");
    SendWhole(fd, 200, Type(""), Recorded(Page(target)));
  }

  // The recording that answers a list.
  std::string Page(const std::string& target) const {
    const char* ending = protobuf_ ? ".pb" : ".json";
    if (absl::StartsWith(target, "/api/v1/nodes?")) {
      return StrCat("nodes_list", ending);
    }
    int page = 1;
    for (int i : {1, 2}) {
      const auto metadata = nlohmann::json::parse(Recorded(
          StrCat("endpointslices_page", i, ".json")))["metadata"];
      const std::string token = metadata["continue"];
      if (absl::StrContains(target, StrCat("continue=", token))) page = i + 1;
    }
    return StrCat("endpointslices_page", page, ending);
  }

  std::string Type(const std::string& parameter) const {
    return StrCat(protobuf_ ? "application/vnd.kubernetes.protobuf"
                            : "application/json", parameter);
  }

  static void Send(int fd, const std::string& bytes) {
    (void)send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  static void SendWhole(int fd, int status, const std::string& type,
                        const std::string& body) {
    Send(fd, StrCat("HTTP/1.1 ", status, " X\r\nContent-Type: ", type,
                    "\r\nContent-Length: ", body.size(), "\r\n\r\n", body));
  }
  static void SendChunk(int fd, const std::string& bytes) {
    if (bytes.empty()) return;
    Send(fd, absl::StrCat(absl::Hex(bytes.size()), "\r\n", bytes, "\r\n"));
  }

  // `begin`, then of Services what Play() allows, until the end of the test.
  void SendWatch(int fd, const std::string& begin) {
    Send(fd, StrCat("HTTP/1.1 200 OK\r\nContent-Type: ",
                    Type(";stream=watch"),
                    "\r\nTransfer-Encoding: chunked\r\n\r\n"));
    SendChunk(fd, begin);
    size_t sent = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    while (!ended_) {
      if (!begin.empty() && sent < played_) {
        const size_t from = sent == 0 ? 0 : ends_[sent - 1];
        SendChunk(fd, watch_.substr(from, ends_[played_ - 1] - from));
        sent = played_;
      }
      changed_.wait(lock);
    }
  }

  // What a server that streams no lists answers.
  static constexpr char kRefusal[] =
      R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",)"
      R"("reason":"Invalid","code":422})";

  const bool protobuf_;
  std::string watch_;
  std::vector<size_t> ends_;
  UniqueFd listener_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  size_t played_ = 0;
  std::vector<std::string> requests_;
  std::list<int> open_;
  std::vector<std::thread> threads_;
};

class RecordedAgentTest : public AgentTest,
                          public ::testing::WithParamInterface<bool> {};

INSTANTIATE_TEST_SUITE_P(Encodings, RecordedAgentTest, ::testing::Bool(),
                         [](const auto& one) {
                           return one.param ? "Protobuf" : "Json";
                         });

TEST_P(RecordedAgentTest, ProgramsWhatAStockServerSays) {
  api_->Stop();
  // Endpoints of s01 and s09 in the recording.
  for (const char* ip : {"10.244.1.11", "10.244.1.19"}) {
    ASSERT_OK(
        netns_->Command(StrCat("ip addr add ", ip, "/32 dev lo")).status());
    endpoints_.push_back(std::make_unique<Endpoint>(*netns_, ip, 8080));
  }
  RecordedApi api(*netns_, GetParam());
  StartAgent();
  WaitHealthy();
  EXPECT_EQ(Connect("10.103.226.64"), "10.244.1.11") << Log();
  EXPECT_EQ(Connect("10.97.215.118"), "10.244.1.19");
  EXPECT_EQ(Connect("10.108.93.49"), "ECONNREFUSED");  // s04: no endpoints
  // Of 21, without the headless one, the ExternalName, and the one with another
  // proxy's label.
  EXPECT_EQ(Metric("fl_services"), 18);
  EXPECT_EQ(Metric("fl_problems_total"), 0) << Log();
  const double frontends = Metric("fl_frontends");
  EXPECT_THAT(api.Requests(),
              AllOf(Contains(HasSubstr("endpointslices?")),
                    Contains(HasSubstr("&continue="))));

  // n1 comes, changes its type five times, and is there with two ports.
  const size_t last = 17;
  api.Play(last);
  ASSERT_TRUE(
      Eventually([&] { return Connect("10.104.19.52") == "ECONNREFUSED"; }))
      << Log();
  EXPECT_TRUE(Eventually([&] {
    return Metric("fl_frontends") == frontends + 2;
  })) << frontends << " and now " << Metric("fl_frontends");
  EXPECT_EQ(Metric("fl_services"), 19);
  // It goes; bookmarks come after it.
  api.Play(api.events());
  EXPECT_TRUE(Eventually([&] { return Metric("fl_frontends") == frontends; }));
  EXPECT_EQ(Metric("fl_services"), 18);
  EXPECT_EQ(Connect("10.103.226.64"), "10.244.1.11");
  EXPECT_EQ(Metric("fl_problems_total"), 0) << Log();
}

}  // namespace
}  // namespace fairlead::harness
