// SPDX-License-Identifier: Apache-2.0
// The API server in one process, on a SQLite file: creations per second with
// 1, 16 and 128 under way, and a list of 10,000 objects.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <list>
#include <memory>
#include <nlohmann/json.hpp>

#include "control/api/server.h"
#include "control/store/sqlite_store.h"
#include "tests/unit/api_kinds.h"
#include "userspace/base/event_loop.h"

namespace fairlead::api {
namespace {

class Server {
 public:
  Server() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "fl-bench-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    store_ = *store::OpenSqliteStore(&loop_, folder_ + "/db");
    server_ = std::make_unique<ApiServer>(&loop_, store_.get(), &kinds_,
                                          std::vector<Admission*>{});
    if (!server_->Load().ok()) abort();
    Create(0, 1);  // after the namespaces, which are created first
  }
  ~Server() {
    server_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  // Creates `n` widgets, `parallel` of them at a time.
  void Create(int n, int parallel) {
    int open = 0, left = n;
    std::function<void()> next = [&] {
      while (left > 0 && open < parallel) {
        --left;
        ++open;
        Json object = {
            {"metadata",
             {{"name", "w" + std::to_string(next_++)},
              {"labels", {{"app", "bench"}}}}},
            {"spec", {{"size", 1}, {"node", std::string(600, 'x')}}}};
        calls_.push_back(server_->transport()->Do(
            {"POST", "/apis/test.io/v1/namespaces/default/widgets", {},
             object.dump()},
            [&](const absl::StatusOr<kube::Response>& response) {
              if (!response.ok() || response->status != 201) abort();
              --open;
              next();
              if (open == 0) loop_.Stop();
            }));
      }
    };
    // The first request waits for the bootstrap.
    Timer start = loop_.After(absl::Milliseconds(n == 0 ? 200 : 0), [&] {
      if (n == 0) return loop_.Stop();
      next();
    });
    loop_.Run();
    calls_.clear();
  }

  size_t List() {
    size_t size = 0;
    auto call = server_->transport()->Do(
        {"GET", "/apis/test.io/v1/widgets", {}, ""},
        [&](const absl::StatusOr<kube::Response>& response) {
          size = response->body.size();
          loop_.Stop();
        });
    loop_.Run();
    return size;
  }

 private:
  std::string folder_;
  TestTypes types_;
  KindTable kinds_ = TestKinds(types_);
  EventLoop loop_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<ApiServer> server_;
  std::list<std::unique_ptr<kube::Call>> calls_;
  int next_ = 0;
};

void BM_Create(benchmark::State& state) {
  Server server;
  constexpr int kBatch = 500;
  for (auto _ : state) {
    server.Create(kBatch, static_cast<int>(state.range(0)));
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(BM_Create)->Arg(1)->Arg(16)->Arg(128)->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void BM_List10000(benchmark::State& state) {
  Server server;
  server.Create(10000, 128);
  size_t size = 0;
  for (auto _ : state) size = server.List();
  state.counters["bytes"] = static_cast<double>(size);
}
BENCHMARK(BM_List10000)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace fairlead::api

BENCHMARK_MAIN();
