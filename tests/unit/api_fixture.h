// SPDX-License-Identifier: Apache-2.0
// An API server with two rows of its own, on a store in a folder of the test.
#ifndef FAIRLEAD_TESTS_UNIT_API_FIXTURE_H_
#define FAIRLEAD_TESTS_UNIT_API_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/api/server.h"
#include "control/store/sqlite_store.h"
#include "tests/unit/api_kinds.h"
#include "tests/unit/still_clock.h"
#include "userspace/base/event_loop.h"

namespace fairlead::api {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "fl-api-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A store that can be told to fail, as a full disk makes it.
class BreakableStore : public store::Store {
 public:
  BreakableStore(EventLoop* loop, store::Store* store)
      : loop_(loop), store_(store) {}
  void Break(absl::Status status) { status_ = std::move(status); }

  store::Revision revision() const override { return store_->revision(); }
  absl::StatusOr<store::Entry> Get(std::string_view key) override {
    return store_->Get(key);
  }
  absl::Status Range(std::string_view prefix,
                     const std::function<void(store::Entry)>& fn) override {
    return store_->Range(prefix, fn);
  }
  absl::StatusOr<std::vector<store::PastChange>> Past() override {
    return store_->Past();
  }
  void Commit(std::vector<store::Write> writes, Done done) override {
    if (status_.ok()) return store_->Commit(std::move(writes), std::move(done));
    loop_->Post([done = std::move(done), status = status_] { done(status); });
  }
  void Backup(std::string path,
              std::function<void(absl::Status)> done) override {
    store_->Backup(std::move(path), std::move(done));
  }
  void Observe(std::function<void(const store::Change&)> observer) override {
    store_->Observe(std::move(observer));
  }

 private:
  EventLoop* loop_;
  store::Store* store_;
  absl::Status status_;
};

struct Answer {
  int status = 0;
  kube::Headers headers;
  std::string body;
  Json json() const { return Json::parse(body, nullptr, false); }
};

// A server that has been started, and requests that wait for their answers.
class ApiServerTest : public testing::Test {
 protected:
  ApiServerTest() { Start(); }

  void Start(ServerOptions options = {}) {
    Stop();
    loop_ = std::make_unique<EventLoop>();
    auto store = store::OpenSqliteStore(loop_.get(), folder_.path() + "/db");
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    broken_ = std::make_unique<BreakableStore>(loop_.get(), store_.get());
    server_ = std::make_unique<ApiServer>(loop_.get(), broken_.get(), &kinds_,
                                          admissions_, options, clock_);
    ASSERT_TRUE(server_->Load().ok());
    RunUntil([&] { return Do("GET", "/readyz").status == 200; });
  }

  void Stop() {
    server_.reset();
    broken_.reset();
    store_.reset();
    loop_.reset();
  }

  // Runs the loop until `done`; false after a deadline.
  bool RunUntil(const std::function<bool()>& done,
                absl::Duration deadline = absl::Seconds(10)) {
    absl::Time end = absl::Now() + deadline;
    while (!done()) {
      if (absl::Now() > end) return false;
      Timer wake = loop_->After(absl::Milliseconds(2), [&] { loop_->Stop(); });
      loop_->Run();
    }
    return true;
  }

  Answer Do(std::string method, std::string target, std::string body = "",
            kube::Headers headers = {}) {
    Answer answer;
    bool done = false;
    kube::Request request{std::move(method), std::move(target),
                          std::move(headers), std::move(body)};
    auto call = server_->transport()->Do(
        std::move(request), [&](absl::StatusOr<kube::Response> response) {
          done = true;
          if (response.ok()) {
            answer = {response->status, response->headers, response->body};
          }
          loop_->Stop();
        });
    Timer deadline = loop_->After(absl::Seconds(10), [&] { loop_->Stop(); });
    if (!done) loop_->Run();
    EXPECT_TRUE(done);
    return answer;
  }
  Answer Patch(std::string target, std::string kind, std::string body) {
    return Do("PATCH", std::move(target), std::move(body),
              {{"Content-Type", "application/" + kind + "+json"}});
  }

  StillClock clock_;
  TestTypes types_;
  KindTable kinds_ = TestKinds(types_);
  std::vector<Admission*> admissions_;
  TemporaryFolder folder_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<BreakableStore> broken_;
  std::unique_ptr<ApiServer> server_;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_TESTS_UNIT_API_FIXTURE_H_
