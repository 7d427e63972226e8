// SPDX-License-Identifier: Apache-2.0
// Container logs: what the shim writes and what kubectl logs reads, on real
// files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "tests/harness/scopes.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/pod_streams.h"
#include "userspace/kubelet/runtime/log_reader.h"
#include "userspace/kubelet/runtime/log_writer.h"
#include "userspace/kubelet/server/connection.h"

namespace fairlead::kubelet {
namespace {

namespace fs = std::filesystem;

class LogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_.emplace(*harness::TempDirScope::Create());
    path_ = dir_->path() + "/0.log";
  }

  void Add(LogWriter* log, const std::string& text,
           LogWriter::Stream stream = LogWriter::kStdout) {
    log->Add(stream, text.data(), text.size());
  }
  std::string Read(const LogQuery& query, size_t piece = 4096) {
    LogReader reader(path_, query);
    std::string all;
    for (std::string more; !(more = reader.Read(piece)).empty();) all += more;
    return all;
  }
  void WriteRaw(const std::string& text) { std::ofstream(path_) << text; }

  std::optional<harness::TempDirScope> dir_;
  std::string path_;
};

TEST_F(LogTest, LinesComeBackAsTheyWere) {
  LogWriter log(path_, 1u << 20, 2);
  ASSERT_TRUE(log.Open());
  Add(&log, "one\ntw");
  Add(&log, "problem\n", LogWriter::kStderr);
  Add(&log, "o\n\nno end");
  EXPECT_EQ(Read({}), "one\nproblem\ntwo\n\n");
  log.Finish();
  EXPECT_EQ(Read({}), "one\nproblem\ntwo\n\nno end\n");
  EXPECT_EQ(Read({}, 7), Read({})) << "in pieces of 7 bytes";
}

TEST_F(LogTest, ALongLineIsOneLine) {
  LogWriter log(path_, 1u << 20, 2);
  ASSERT_TRUE(log.Open());
  const std::string line = std::string(50'000, 'x') + "\n";
  Add(&log, line + "next\n");
  EXPECT_EQ(Read({}), line + "next\n");
}

TEST_F(LogTest, RotationKeepsTheNewestFiles) {
  LogWriter log(path_, 200, 3);
  ASSERT_TRUE(log.Open());
  for (int i = 0; i < 100; ++i) Add(&log, StrCat("line ", i, "\n"));
  EXPECT_TRUE(fs::exists(path_ + ".1"));
  EXPECT_TRUE(fs::exists(path_ + ".2"));
  EXPECT_FALSE(fs::exists(path_ + ".3"));
  EXPECT_LE(fs::file_size(path_), 200u);
  const std::string all = Read({});
  EXPECT_THAT(all, ::testing::EndsWith("line 98\nline 99\n"));
  EXPECT_THAT(all, ::testing::Not(::testing::HasSubstr("line 0\n")));
  EXPECT_EQ(Read({.tail = 6}),
            "line 94\nline 95\nline 96\nline 97\nline 98\nline 99\n")
      << "a tail that begins in an older file";
}

TEST_F(LogTest, AFollowerCrossesARotation) {
  LogWriter log(path_, 200, 3);
  ASSERT_TRUE(log.Open());
  Add(&log, "first\n");
  LogReader reader(path_, {.tail = 0});
  EXPECT_EQ(reader.Read(4096), "");
  std::string all, expected;
  for (int i = 0; i < 20; ++i) {
    Add(&log, StrCat("line ", i, "\n"));
    StrAppend(&expected, "line ", i, "\n");
    for (std::string more; !(more = reader.Read(4096)).empty();) all += more;
  }
  EXPECT_TRUE(fs::exists(path_ + ".1"));
  EXPECT_EQ(all, expected);
}

// As fast as both can, in small files of which all are kept.
TEST_F(LogTest, NothingIsLostWhileFilesAreRotated) {
  constexpr int kLines = 4000;
  std::atomic<bool> done{false};
  std::thread writer([&] {
    LogWriter log(path_, 4096, 99);
    EXPECT_TRUE(log.Open());
    for (int i = 0; i < kLines; ++i) {
      Add(&log, StrCat("line ", i, "\n"));
      if (i % 50 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    done = true;
  });
  while (!fs::exists(path_)) std::this_thread::yield();
  LogReader reader(path_, {});
  std::string all;
  while (true) {
    const bool last = done;
    const std::string piece = reader.Read(1 << 16);
    all += piece;
    if (last && piece.empty()) break;
  }
  writer.join();
  std::string expected;
  for (int i = 0; i < kLines; ++i) StrAppend(&expected, "line ", i, "\n");
  EXPECT_GT(std::distance(fs::directory_iterator(fs::path(path_).parent_path()),
                          fs::directory_iterator()), 30);
  EXPECT_TRUE(all == expected) << "of " << expected.size() << " bytes "
                               << all.size();
}

TEST_F(LogTest, Queries) {
  WriteRaw("2024-01-01T00:00:01.5Z stdout F a\n"
           "2024-01-01T00:00:02Z stderr P b\n"
           "2024-01-01T00:00:02Z stderr F c\n"
           "2024-01-01T00:00:03Z stdout F d\n");
  EXPECT_EQ(Read({.timestamps = true}),
            "2024-01-01T00:00:01.5Z a\n2024-01-01T00:00:02Z bc\n"
            "2024-01-01T00:00:03Z d\n");
  LogQuery since;
  since.since = absl::FromUnixSeconds(1704067202);
  EXPECT_EQ(Read(since), "bc\nd\n");
  EXPECT_EQ(Read({.tail = 1}), "d\n");
  EXPECT_EQ(Read({.tail = 0}), "");
  EXPECT_EQ(Read({.tail = 100}), "a\nbc\nd\n");
  EXPECT_EQ(Read({.limit_bytes = 4}), "a\nbc");
  WriteRaw("no record\n2024-01-01T00:00:03Z stdout F d\n");
  EXPECT_EQ(Read({}), "d\n");
  fs::remove(path_);
  EXPECT_EQ(Read({}), "");
}

nlohmann::json StatusWith(const char* state) {
  return {{"containerStatuses",
           nlohmann::json::array(
               {nlohmann::json::parse(state, nullptr, false)})}};
}

TEST(RunForLogTest, RunsAndTheirErrors) {
  PodView view;
  ContainerView& c = view.containers["c"];
  c.run = ContainerRun{.attempt = 4, .id = "new"};
  c.last = ContainerRun{.attempt = 3, .id = "old"};
  const auto run = [&](const char* state, bool previous) {
    const auto found = RunForLog("p", "c", previous, view, StatusWith(state));
    return found.ok() ? StrCat(found->attempt)
                      : std::string(found.status().message());
  };
  const char* running =
      R"({"name":"c","containerID":"process://new","state":{"running":{}},
          "lastState":{"terminated":{"containerID":"process://old"}}})";
  EXPECT_EQ(run(running, false), "4");
  EXPECT_EQ(run(running, true), "3");
  const char* crashing =
      R"({"name":"c","containerID":"process://new",
          "state":{"waiting":{"reason":"CrashLoopBackOff"}},
          "lastState":{"terminated":{"containerID":"process://new"}}})";
  EXPECT_EQ(run(crashing, false), "4");
  EXPECT_EQ(run(crashing, true), "4");
  EXPECT_EQ(run(R"({"name":"c","state":{"waiting":
                    {"reason":"ContainerCreating"}}})", false),
            "container \"c\" in pod \"p\" is waiting to start: "
            "ContainerCreating");
  EXPECT_EQ(run(R"({"name":"c","state":{"running":{}}})", true),
            "previous terminated container \"c\" in pod \"p\" not found");
}

TEST(StreamRequestTest, Targets) {
  const StreamRequest request = ParseTarget(
      "GET", "/exec/ns/p%2Fx/c?command=a+b&command=%26&tty=1&stdin=0&bad=%zz");
  EXPECT_THAT(request.path,
              ::testing::ElementsAre("exec", "ns", "p/x", "c"));
  EXPECT_THAT(request.All("command"), ::testing::ElementsAre("a b", "&"));
  EXPECT_TRUE(request.Bool("tty"));
  EXPECT_FALSE(request.Bool("stdin"));
  EXPECT_EQ(request.Get("bad"), "%zz");
}

}  // namespace
}  // namespace fairlead::kubelet
