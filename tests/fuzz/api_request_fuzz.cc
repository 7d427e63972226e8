// SPDX-License-Identifier: Apache-2.0
// Requests as bytes: "METHOD TARGET CONTENT-TYPE ACCEPT\n" and a body, given
// to a server with a store in memory. It must answer every one of them, and a
// bad one with a Status or plain text.
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "control/api/server.h"
#include "control/store/store.h"
#include "tests/unit/api_kinds.h"
#include "userspace/base/event_loop.h"

namespace fairlead::api {
namespace {

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
  void Start() {
    server = std::make_unique<ApiServer>(&loop, &store, &kinds,
                                         std::vector<Admission*>{});
    if (!server->Load().ok()) abort();
    requests = 0;
  }
};

std::string Word(std::string_view& line) {
  size_t end = std::min(line.find(' '), line.size());
  std::string word(line.substr(0, end));
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

void Serve(World& world, std::string_view input) {
  size_t newline = std::min(input.find('\n'), input.size());
  std::string_view line = input.substr(0, newline);
  kube::Request request;
  request.method = Word(line);
  request.target = Word(line);
  request.headers = {{"Content-Type", Word(line)},
                     {"Accept", std::string(line)}};
  request.body = input.substr(std::min(newline + 1, input.size()));
  // A watch does not end by itself. The first of two values counts.
  if (size_t query = request.target.find('?'); query != std::string::npos) {
    request.target.insert(query + 1, "timeoutSeconds=0&");
  }
  bool answered = false;
  auto call = world.server->transport()->Do(
      std::move(request), [&](absl::StatusOr<kube::Response> response) {
        answered = true;
        if (!response.ok() || response->status < 200 ||
            response->status > 599) {
          abort();
        }
        world.loop.Stop();
      });
  Timer deadline = world.loop.After(absl::Seconds(5), [] { abort(); });
  if (!answered) world.loop.Run();
}

}  // namespace
}  // namespace fairlead::api

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fairlead::api::World* world = new fairlead::api::World;
  if (++world->requests > 2000) world->Start();  // what was made is dropped
  fairlead::api::Serve(
      *world, {reinterpret_cast<const char*>(data), size});
  return 0;
}
