// SPDX-License-Identifier: Apache-2.0
// An API server with a store in memory, for fuzz targets.
// Threads: one.
#ifndef FAIRLEAD_TESTS_FUZZ_API_WORLD_H_
#define FAIRLEAD_TESTS_FUZZ_API_WORLD_H_

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/api/server.h"
#include "control/store/store.h"
#include "tests/unit/api_kinds.h"
#include "userspace/base/event_loop.h"

namespace fairlead::api {

class MemoryStore : public store::Store {
 public:
  explicit MemoryStore(EventLoop* loop) : loop_(loop) {}
  store::Revision revision() const override { return revision_; }
  absl::StatusOr<store::Entry> Get(std::string_view) override {
    return absl::NotFoundError("");
  }
  absl::Status Range(std::string_view,
                     const std::function<void(store::Entry)>&) override {
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<store::PastChange>> Past() override {
    return std::vector<store::PastChange>();
  }
  void Commit(std::vector<store::Write> writes, Done done) override {
    loop_->Post([this, writes = std::move(writes), done = std::move(done)] {
      ++revision_;
      for (const store::Write& write : writes) {
        if (observer_) {
          observer_({write.key, write.value ? &*write.value : nullptr,
                     revision_, write.attachment});
        }
      }
      done(revision_);
    });
  }
  void Backup(std::string, std::function<void(absl::Status)>) override {
    abort();  // no request leads here
  }
  void Observe(std::function<void(const store::Change&)> observer) override {
    observer_ = std::move(observer);
  }

 private:
  EventLoop* loop_;
  store::Revision revision_ = 1;
  std::function<void(const store::Change&)> observer_;
};

struct World {
  TestTypes types;
  KindTable kinds = TestKinds(types);
  EventLoop loop;
  MemoryStore store{&loop};
  std::unique_ptr<ApiServer> server;
  int requests = 0;

  World() { Start(); }
  // What was made is dropped.
  void Start() {
    server = std::make_unique<ApiServer>(&loop, &store, &kinds,
                                         std::vector<Admission*>{});
    if (!server->Load().ok()) abort();
    requests = 0;
  }
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_TESTS_FUZZ_API_WORLD_H_
