// SPDX-License-Identifier: Apache-2.0
// Whole processes, as they run on a node: fairlead-agent against an API server
// with 10,000 Services of ten endpoints each.
// What the agent has done is read from the kernel's pinned maps, not asked of
// the agent.
//
//   agent/sync      first byte of the first list -> all Services published.
//                   start_ms: from the process' start; rss_MB then.
//   agent/change    one endpoint replaced: the event is put into the watch ->
//                   the kernel's table holds it. p50_ms, p99_ms over all.
//   agent/restart   kill -9, start -> all lists applied; operations must be 0.
// With 25 endpoints each, over the wire in protobuf, each object with all that a
// kube-apiserver sent of one (recorded_cluster.h); wire_MB: both lists:
//   agent/cold      as agent/sync; peak_MB until then, rss_MB ten seconds later.
//   agent/churn     1,000 endpoints replaced a second: cpu_percent of one core,
//                   p50_ms and p99_ms from event to kernel.
//   agent/idle      cpu_percent of one core when nothing changes.
//   agent/warm      as agent/restart.
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <sys/mman.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "bench/process.h"
#include "bench/recorded_cluster.h"
#include "benchmark/benchmark.h"
#include "bpf/abi/types.h"
#include "control/api/kinds.h"
#include "control/api/protobuf_object.h"
#include "tests/harness/scopes.h"
#include "tests/harness/stub_api.h"
#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"
#include "userspace/datapath/pin_layout.h"

namespace fairlead {
namespace {

using harness::BpffsScope;
using harness::CgroupScope;
using harness::NetnsScope;
using harness::StubApi;
using harness::TempDirScope;

constexpr int kServices = 10000;
constexpr int kMaxEndpoints = 25;
constexpr int kChurnPerSecond = 1000;
constexpr int kChurnSeconds = 5;
constexpr int kIdleSeconds = 20;
constexpr absl::Duration kPatience = absl::Seconds(60);

absl::Duration Now() { return Clock::Real().Monotonic(); }

// ---- addresses and objects ----

std::string Vip(int i) { return StrCat("10.96.", i / 256, ".", i % 256); }

std::string Endpoint(int service, int number) {
  const int n = service * (kMaxEndpoints + 1) + number;
  return StrCat("10.", 128 + n / 65536, ".", n / 256 % 256, ".", n % 256);
}

fl_addr ToAbi(const std::string& text) {
  fl_addr out = {};
  unsigned a = 0, b = 0, c = 0, d = 0;
  std::sscanf(text.c_str(), "%u.%u.%u.%u", &a, &b, &c, &d);
  out.w[2] = htonl(0xffff);
  out.w[3] = htonl(a << 24 | b << 16 | c << 8 | d);
  return out;
}

// As a test makes them: the fields that the agent reads.
void PutService(StubApi* api, int i) {
  api->Put("services", StrCat("svc-", i), "",
           StrCat(R"("spec":{"type":"ClusterIP","clusterIPs":[")", Vip(i),
                  R"("],"ports":[{"name":"http","port":80,"protocol":"TCP",)",
                  R"("targetPort":8080}]})"));
}

// `endpoints` of the service's addresses, from `first` on.
void PutSlice(StubApi* api, int i, int endpoints, int first) {
  std::string list;
  for (int e = 0; e < endpoints; ++e) {
    StrAppend(&list, e ? "," : "", R"({"addresses":[")",
              Endpoint(i, first + e),
              R"("],"conditions":{"ready":true,"serving":true,)",
              R"("terminating":false},"targetRef":{"kind":"Pod","name":"svc-)",
              i, "-", e, R"(","namespace":"default","uid":")",
              "00000000-0000-4000-8000-000000000000", R"("},"nodeName":"node-)",
              e % 100, R"("})");
  }
  api->Put("endpointslices", StrCat("svc-", i, "-abcde"),
           StrCat(R"("kubernetes.io/service-name":"svc-)", i, "\""),
           StrCat(R"("addressType":"IPv4","ports":[{"name":"http",)",
                  R"("port":8080,"protocol":"TCP"}],"endpoints":[)", list,
                  "]"));
}

// ---- what the kernel holds ----

template <typename T>
class MappedArray {
 public:
  explicit MappedArray(const std::string& path)
      : fd_(bpf_obj_get(path.c_str())) {
    bpf_map_info info = {};
    uint32_t size = sizeof info;
    if (bpf_obj_get_info_by_fd(fd_.get(), &info, &size) != 0) return;
    length_ = size_t{info.max_entries} * kStride;
    void* at = mmap(nullptr, length_, PROT_READ, MAP_SHARED, fd_.get(), 0);
    if (at != MAP_FAILED) rows_ = static_cast<const char*>(at);
  }
  ~MappedArray() {
    if (rows_ != nullptr) munmap(const_cast<char*>(rows_), length_);
  }
  bool valid() const { return rows_ != nullptr; }
  const volatile T& operator[](size_t i) const {
    return *reinterpret_cast<const volatile T*>(rows_ + i * kStride);
  }

 private:
  // As the kernel lays an array out.
  static constexpr size_t kStride = (sizeof(T) + 7) / 8 * 8;
  UniqueFd fd_;
  size_t length_ = 0;
  const char* rows_ = nullptr;
};

class Tables {
 public:
  explicit Tables(const datapath::PinLayout& layout)
      : services_(bpf_obj_get(layout.MapPath("fl_service").c_str())),
        slots_(layout.MapPath("fl_slot")),
        backends_(layout.MapPath("fl_backend")) {}
  bool valid() const {
    return services_.valid() && slots_.valid() && backends_.valid();
  }

  std::optional<fl_service> Find(int service) const {
    fl_service_key key = {};
    key.addr = ToAbi(Vip(service));
    key.port = htons(80);
    key.proto = IPPROTO_TCP;
    fl_service value = {};
    if (bpf_map_lookup_elem(services_.get(), &key, &value) != 0) {
      return std::nullopt;
    }
    return value;
  }
  // Would a new connection be sent to it?
  bool Selects(int service, uint32_t address) const {
    std::optional<fl_service> found = Find(service);
    if (!found.has_value()) return false;
    for (uint32_t i = 0; i < found->internal.count; ++i) {
      uint32_t id = slots_[found->internal.base + i];
      if (backends_[id].addr.w[3] == address) return true;
    }
    return false;
  }

 private:
  UniqueFd services_;
  MappedArray<uint32_t> slots_;
  MappedArray<fl_backend> backends_;
};

// ---- an agent's world ----

// What the API server has, and how it says it.
struct Load {
  int endpoints = 10;
  bool protobuf = false;
};
constexpr Load kStock{kMaxEndpoints, true};

const api::ProtobufObjects& Protobuf() {
  static const api::KindTable kinds = api::MakeKindTable();
  static const api::ProtobufObjects objects(&kinds);
  return objects;
}

class World {
 public:
  // nullptr: not possible here (not root?).
  static std::unique_ptr<World> Make(const Load& load = {}) {
    auto bpffs = BpffsScope::Create();
    auto netns = NetnsScope::Create();
    auto cgroup = CgroupScope::Create();
    auto dir = TempDirScope::Create();
    if (!bpffs.ok() || !netns.ok() || !cgroup.ok() || !dir.ok()) return nullptr;
    std::unique_ptr<World> world(
        new World(*std::move(bpffs), *std::move(netns), *std::move(cgroup),
                  *std::move(dir)));
    world->load_ = load;
    if (load.protobuf && !world->UseRecorded()) return nullptr;
    for (int i = 1; i <= kServices; ++i) {
      world->PutService(i);
      world->PutSlice(i, 0);
    }
    world->listing_ = false;
    return world->api_.Start().ok() ? std::move(world) : nullptr;
  }
  ~World() { Cleanup(); }

  // The time until all is published; nullopt: it did not happen.
  std::optional<absl::Duration> Sync() {
    api_.ForgetFirstByte();
    Spawn();
    bool published = Await([&] { return Open(); });
    int next = 1;
    published = published && Await([&] {
      while (next <= kServices && tables_->Find(next).has_value()) ++next;
      return next > kServices;
    });
    const absl::Duration end = Now();
    if (!published || !api_.first_byte()) return std::nullopt;
    return end - *api_.first_byte();
  }

  void Spawn() {
    started_ = Now();
    agent_.emplace(netns_.fd(),
                   std::vector<std::string>{
                       "fairlead-agent", "--server", StubApi::url(),
                       "--node-name", "node-1", "--bpf-root", layout_.root(),
                       "--cgroup-root", cgroup_.path(), "--cluster-cidr",
                       "10.128.0.0/12", "--admin-socket", ""},
                   Log());
  }
  // "operations" of the agent's first sync; nullopt: not there yet.
  std::optional<int> FirstSyncOperations() const {
    std::ifstream file(Log());
    std::string text(std::istreambuf_iterator<char>(file), {});
    size_t line = text.find("first sync");
    size_t at = text.find(" operations=", line);
    size_t end = text.find('\n', line);
    if (line == text.npos || at == text.npos || end == text.npos) {
      return std::nullopt;
    }
    return atoi(text.c_str() + at + strlen(" operations="));
  }
  void Cleanup() {
    agent_.reset();
    Process cleanup(netns_.fd(), {"fairlead-agent", "--cleanup", "--bpf-root",
                             layout_.root()}, dir_.path() + "/cleanup.log");
    (void)cleanup.End(0);
    tables_.reset();
  }

  // Replaces the first endpoint of Service `i` (or the last, if it was).
  // Gives the address that comes.
  uint32_t Replace(int i) {
    const int first = first_[i] ^= 1;
    PutSlice(i, first);
    return ToAbi(Endpoint(i, first == 1 ? load_.endpoints : 0)).w[3];
  }
  // What all objects are on the wire, as events; 0 in JSON.
  double wire_mb() const { return static_cast<double>(wire_bytes_) / 1e6; }
  const Tables& tables() const { return *tables_; }
  Process& agent() { return *agent_; }
  absl::Duration started() const { return started_; }

 private:
  World(BpffsScope bpffs, NetnsScope netns, CgroupScope cgroup,
        TempDirScope dir)
      : bpffs_(std::move(bpffs)),
        netns_(std::move(netns)),
        cgroup_(std::move(cgroup)),
        dir_(std::move(dir)),
        layout_(bpffs_.path() + "/agent"),
        api_(&netns_) {}
  std::string Log() const { return dir_.path() + "/agent.log"; }
  bool UseRecorded() {
    auto recorded = RecordedCluster::Load(Protobuf());
    if (!recorded.ok()) {
      fprintf(stderr, "%s\n", recorded.status().ToString().c_str());
      return false;
    }
    recorded_ = *std::move(recorded);
    api_.WatchInProtobuf(
        [this](std::string_view type, const std::string& object) {
          std::string frame =
              Protobuf().WatchFrame(type, nlohmann::json::parse(object));
          if (listing_) wire_bytes_ += frame.size();
          return frame;
        });
    return true;
  }
  void PutService(int i) {
    if (!recorded_) return fairlead::PutService(&api_, i);
    api_.PutWhole("services", RecordedCluster::ServiceName(i),
                  [&](uint64_t version) {
                    return recorded_->Service(i, Vip(i), version);
                  });
  }
  // Endpoints from `first` on.
  void PutSlice(int i, int first) {
    if (!recorded_) {
      return fairlead::PutSlice(&api_, i, load_.endpoints, first);
    }
    std::vector<std::string> addresses;
    for (int e = 0; e < load_.endpoints; ++e) {
      addresses.push_back(Endpoint(i, first + e));
    }
    api_.PutWhole("endpointslices", RecordedCluster::SliceName(i),
                  [&](uint64_t version) {
                    return recorded_->Slice(i, addresses, version);
                  });
  }
  bool Open() {
    tables_ = std::make_unique<Tables>(layout_);
    return tables_->valid();
  }

  BpffsScope bpffs_;
  NetnsScope netns_;
  CgroupScope cgroup_;
  TempDirScope dir_;
  datapath::PinLayout layout_;
  StubApi api_;
  std::unique_ptr<Tables> tables_;
  std::optional<Process> agent_;
  absl::Duration started_;
  Load load_;
  std::optional<RecordedCluster> recorded_;
  bool listing_ = true;  // the cluster is being made
  size_t wire_bytes_ = 0;
  std::map<int, int> first_;  // of a Service's endpoints
};

// ---- benchmarks ----

constexpr char kNotPossible[] = "needs root, cgroup v2 and a BPF file system";

double Ms(absl::Duration d) { return absl::ToDoubleMilliseconds(d); }

void Sync(benchmark::State& state) {
  double rss = 0, start = 0;
  for (auto _ : state) {
    std::unique_ptr<World> world = World::Make();
    if (world == nullptr) return state.SkipWithError(kNotPossible);
    std::optional<absl::Duration> took = world->Sync();
    if (!took.has_value()) return state.SkipWithError("not published");
    start = std::max(start, Ms(Now() - world->started()));
    state.SetIterationTime(absl::ToDoubleSeconds(*took));
    absl::SleepFor(absl::Seconds(1));
    rss = std::max(rss, world->agent().RssMb());
  }
  state.counters["start_ms"] = start;
  state.counters["rss_MB"] = rss;
}

void Cold(benchmark::State& state) {
  double rss = 0, peak = 0, wire = 0;
  for (auto _ : state) {
    std::unique_ptr<World> world = World::Make(kStock);
    if (world == nullptr) return state.SkipWithError(kNotPossible);
    std::optional<absl::Duration> took = world->Sync();
    if (!took.has_value()) return state.SkipWithError("not published");
    state.SetIterationTime(absl::ToDoubleSeconds(*took));
    absl::SleepFor(absl::Seconds(10));
    peak = std::max(peak, world->agent().PeakMb());
    wire = world->wire_mb();
    rss = std::max(rss, world->agent().RssMb());
  }
  state.counters["wire_MB"] = wire;
  state.counters["peak_MB"] = peak;
  state.counters["rss_MB"] = rss;
}

// Each change's time from event to kernel, at an even rate; short: some never
// came.
std::vector<double> ChurnTimes(World* world) {
  struct Change {
    int service;
    uint32_t address;
    absl::Duration begin;
  };
  std::deque<Change> open;
  std::vector<double> times;
  const absl::Duration begin = Now();
  const int total = kChurnPerSecond * kChurnSeconds;
  int sent = 0;
  while (sent < total || !open.empty()) {
    const absl::Duration now = Now();
    if (now - begin > kPatience) break;
    if (sent < total && now >= begin + sent * absl::Seconds(1) /
                                            kChurnPerSecond) {
      const int i = 1 + sent++ * 37 % kServices;
      open.push_back({i, world->Replace(i), Now()});
    }
    while (!open.empty() &&
           world->tables().Selects(open.front().service,
                                   open.front().address)) {
      times.push_back(Ms(Now() - open.front().begin));
      open.pop_front();
    }
  }
  std::sort(times.begin(), times.end());
  return times;
}

void Churn(benchmark::State& state) {
  std::unique_ptr<World> world = World::Make(kStock);
  if (world == nullptr) return state.SkipWithError(kNotPossible);
  if (!world->Sync()) return state.SkipWithError("not published");
  absl::SleepFor(absl::Seconds(2));
  for (auto _ : state) {
    const absl::Duration begin = Now(), cpu = world->agent().CpuTime();
    const std::vector<double> times = ChurnTimes(world.get());
    const absl::Duration took = Now() - begin;
    if (times.size() < kChurnPerSecond * kChurnSeconds) {
      return state.SkipWithError("not applied");
    }
    state.SetIterationTime(absl::ToDoubleSeconds(took));
    state.counters["cpu_percent"] =
        absl::FDivDuration(world->agent().CpuTime() - cpu, took) * 100;
    state.counters["p50_ms"] = times[times.size() / 2];
    state.counters["p99_ms"] = times[times.size() * 99 / 100];
  }
}

void Idle(benchmark::State& state) {
  std::unique_ptr<World> world = World::Make(kStock);
  if (world == nullptr) return state.SkipWithError(kNotPossible);
  if (!world->Sync()) return state.SkipWithError("not published");
  absl::SleepFor(absl::Seconds(5));
  for (auto _ : state) {
    const absl::Duration cpu = world->agent().CpuTime();
    absl::SleepFor(absl::Seconds(kIdleSeconds));
    state.SetIterationTime(kIdleSeconds);
    state.counters["cpu_percent"] =
        absl::FDivDuration(world->agent().CpuTime() - cpu,
                           absl::Seconds(kIdleSeconds)) * 100;
  }
}

void Change(benchmark::State& state) {
  std::unique_ptr<World> world = World::Make();
  if (world == nullptr) return state.SkipWithError(kNotPossible);
  if (!world->Sync()) return state.SkipWithError("not published");
  std::vector<double> times;
  int step = 0;
  for (auto _ : state) {
    // Apart from the last one, and each Service in turn.
    absl::SleepFor(absl::Milliseconds(20));
    const int i = 1 + step++ * 37 % kServices;
    const absl::Duration begin = Now();
    const uint32_t address = world->Replace(i);
    const absl::Duration limit = begin + kPatience;
    while (!world->tables().Selects(i, address)) {
      if (Now() > limit) return state.SkipWithError("not applied");
    }
    const absl::Duration took = Now() - begin;
    times.push_back(Ms(took));
    state.SetIterationTime(absl::ToDoubleSeconds(took));
  }
  std::sort(times.begin(), times.end());
  state.counters["p50_ms"] = times[times.size() / 2];
  state.counters["p99_ms"] = times[times.size() * 99 / 100];
}

void RestartWith(benchmark::State& state, const Load& load) {
  std::unique_ptr<World> world = World::Make(load);
  if (world == nullptr) return state.SkipWithError(kNotPossible);
  if (!world->Sync()) return state.SkipWithError("not published");
  if (!Await([&] { return world->FirstSyncOperations().has_value(); })) {
    return state.SkipWithError("no first sync in the log");
  }
  double operations = 0;
  for (auto _ : state) {
    (void)world->agent().End(SIGKILL);
    world->Spawn();
    if (!Await([&] { return world->FirstSyncOperations().has_value(); })) {
      return state.SkipWithError("did not come back");
    }
    state.SetIterationTime(absl::ToDoubleSeconds(Now() - world->started()));
    operations += *world->FirstSyncOperations();
  }
  state.counters["operations"] = operations;
}

void Restart(benchmark::State& state) { RestartWith(state, {}); }
void Warm(benchmark::State& state) { RestartWith(state, kStock); }

// Bounded: each iteration is a process or an event.
BENCHMARK(Sync)
    ->Name("agent/sync")
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(3);
BENCHMARK(Change)
    ->Name("agent/change")
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(200);
BENCHMARK(Restart)
    ->Name("agent/restart")
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(3);
BENCHMARK(Cold)
    ->Name("agent/cold")
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(3);
BENCHMARK(Churn)
    ->Name("agent/churn")
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1);
BENCHMARK(Idle)
    ->Name("agent/idle")
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1);
BENCHMARK(Warm)
    ->Name("agent/warm")
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(3);
}  // namespace
}  // namespace fairlead

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
