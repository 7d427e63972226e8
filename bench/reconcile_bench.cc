// SPDX-License-Identifier: Apache-2.0
// From decoded objects to published maps, and from one changed slice's JSON
// to the kernel; on tables in memory and on pinned BPF maps (as root). The
// argument is the number of Services, each with ten endpoints.
//
// Time is the wall's; `cpu_ms` is what of it the thread ran, which is the one
// to look at on a busy machine. `ops` operations done; `heap_MB` what model and reconciler hold;
// `rss_MB` of the whole process, mapped BPF arrays included.
#include <malloc.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "tests/golden/fake_maps.h"
#include "tests/harness/scopes.h"
#include "userspace/base/clock.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/kernel_maps.h"
#include "userspace/datapath/loader.h"
#include "userspace/datapath/pin_layout.h"
#include "userspace/kube/objects.h"
#include "userspace/model/cluster.h"
#include "userspace/reconcile/reconciler.h"

namespace fairlead::reconcile {
namespace {

constexpr int kEndpoints = 10;

std::string g_bpffs;  // set by main(); empty: no kernel maps

// Where a benchmark writes to.
class Tables {
 public:
  static std::unique_ptr<Tables> Make(bool kernel, benchmark::State& state) {
    auto out = std::make_unique<Tables>();
    if (!kernel) {
      out->fake_ = std::make_unique<FakeMaps>();
      return out;
    }
    if (g_bpffs.empty()) {
      state.SkipWithError("no BPF file system (not root?)");
      return nullptr;
    }
    static int count = 0;
    datapath::PinLayout layout(StrCat(g_bpffs, "/bench-", ++count));
    absl::Status status = layout.CreateDirectories();
    if (status.ok()) {
      auto programs = datapath::Programs::Load(layout, fl_config{}, {});
      if (programs.ok()) out->programs_ = *std::move(programs);
      status = programs.status();
    }
    if (status.ok()) {
      auto maps = datapath::KernelMaps::Open(layout);
      if (maps.ok()) out->kernel_ = *std::move(maps);
      status = maps.status();
    }
    out->directory_ = layout.root();
    if (status.ok()) return out;
    state.SkipWithError(status.ToString().c_str());
    return nullptr;
  }
  ~Tables() {
    if (!directory_.empty()) {
      (void)harness::RunCommand("rm -r " + directory_);
    }
  }
  MapSet* maps() {
    if (kernel_) return kernel_.get();
    return fake_.get();
  }

 private:
  std::string directory_;
  std::unique_ptr<FakeMaps> fake_;
  std::unique_ptr<datapath::Programs> programs_;
  std::unique_ptr<datapath::KernelMaps> kernel_;
};

model::NodeConfig Node() {
  model::NodeConfig node;
  node.name = "node-1";
  node.zone = "zone-a";
  node.addresses = {{*IpAddress::Parse("192.0.2.1"), true}};
  return node;
}

// ---- objects, as JSON and decoded ----

std::string Address(int service, int endpoint) {
  const int n = service * (kEndpoints + 1) + endpoint;
  return StrCat("10.", 128 + n / 65536, ".", n / 256 % 256, ".", n % 256);
}

std::string ServiceJson(int i) {
  return StrCat(
      R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"svc-)", i,
      R"(","namespace":"default","uid":"00000000-0000-4000-8000-00000000)",
      1000 + i % 9000,
      R"(","resourceVersion":"1"},"spec":{"type":"ClusterIP","clusterIP":"10.)",
      96 + i / 65536, ".", i / 256 % 256, ".", i % 256,
      R"(","clusterIPs":["10.)", 96 + i / 65536, ".", i / 256 % 256, ".",
      i % 256, R"("],"ports":[{"name":"http","port":80,"protocol":"TCP",)",
      R"("targetPort":8080}]}})");
}

std::string SliceJson(int i, int first_endpoint) {
  std::string out = StrCat(
      R"({"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice",)",
      R"("metadata":{"name":"svc-)", i,
      R"(-abcde","namespace":"default","labels":{)",
      R"("kubernetes.io/service-name":"svc-)", i,
      R"("}},"addressType":"IPv4","ports":[{"name":"http","port":8080,)",
      R"("protocol":"TCP"}],"endpoints":[)");
  for (int e = 0; e < kEndpoints; ++e) {
    StrAppend(&out, e ? "," : "", R"({"addresses":[")",
              Address(i, first_endpoint + e),
              R"("],"conditions":{"ready":true,"serving":true,)",
              R"("terminating":false},"nodeName":"node-)", e % 100, R"("})");
  }
  return out + "]}";
}

struct Objects {
  std::vector<kube::Service> services;
  std::vector<kube::EndpointSlice> slices;

  explicit Objects(int count) {
    for (int i = 1; i <= count; ++i) {
      services.push_back(*kube::DecodeService(ServiceJson(i)));
      slices.push_back(*kube::DecodeEndpointSlice(SliceJson(i, 0)));
    }
  }
  void PutAll(model::Cluster* cluster) const {
    for (const kube::Service& service : services) cluster->PutService(service);
    for (const kube::EndpointSlice& slice : slices) {
      cluster->PutEndpointSlice(slice);
    }
  }
};

double HeapMb() { return static_cast<double>(mallinfo2().uordblks) / 1e6; }

double RssMb() {
  std::ifstream statm("/proc/self/statm");
  long total = 0, resident = 0;
  statm >> total >> resident;
  return static_cast<double>(resident) * static_cast<double>(getpagesize()) /
         1e6;
}

double Seconds(absl::Duration d) { return absl::ToDoubleSeconds(d); }

absl::Duration Now() { return Clock::Real().Monotonic(); }

// Wall and CPU time of the part of an iteration that counts.
class Stopwatch {
 public:
  Stopwatch() : wall_(Now()), cpu_(Cpu()) {}
  void Stop(benchmark::State& state, double* cpu_seconds) const {
    state.SetIterationTime(Seconds(Now() - wall_));
    *cpu_seconds += Seconds(Cpu() - cpu_);
  }

 private:
  static absl::Duration Cpu() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return absl::DurationFromTimespec(t);
  }
  absl::Duration wall_;
  absl::Duration cpu_;
};

void ReportCpu(benchmark::State& state, double cpu_seconds) {
  state.counters["cpu_ms"] =
      1e3 * cpu_seconds / static_cast<double>(state.iterations());
}

// ---- benchmarks ----

void Publish(benchmark::State& state, bool kernel) {
  const Objects objects(static_cast<int>(state.range(0)));
  double cpu = 0;
  for (auto _ : state) {
    std::unique_ptr<Tables> tables = Tables::Make(kernel, state);
    if (tables == nullptr) return;
    const double heap = HeapMb();
    const Stopwatch watch;
    model::Cluster cluster(Node());
    Reconciler reconciler(tables->maps(), {});
    absl::Status status = reconciler.Restore();
    objects.PutAll(&cluster);
    const ApplyResult result = reconciler.Apply(&cluster, Now());
    watch.Stop(state, &cpu);
    if (!status.ok() || !result.ok() ||
        reconciler.stats().frontends != objects.services.size()) {
      state.SkipWithError("not published");
      return;
    }
    state.counters["ops"] = static_cast<double>(result.operations);
    state.counters["heap_MB"] = HeapMb() - heap;
    state.counters["rss_MB"] = RssMb();
  }
  ReportCpu(state, cpu);
}

// One endpoint is replaced by another: JSON of the slice -> kernel.
void OneChange(benchmark::State& state, bool kernel) {
  const int count = static_cast<int>(state.range(0));
  std::unique_ptr<Tables> tables = Tables::Make(kernel, state);
  if (tables == nullptr) return;
  model::Cluster cluster(Node());
  Reconciler reconciler(tables->maps(), {});
  (void)reconciler.Restore();
  Objects(count).PutAll(&cluster);
  absl::Duration now = absl::Seconds(1000);
  (void)reconciler.Apply(&cluster, now);
  double cpu = 0;
  int step = 0;
  size_t operations = 0;
  for (auto _ : state) {
    // Each Service in turn, so that no cache knows it.
    const int i = 1 + step * 37 % count;
    const std::string json = SliceJson(i, 1 - step / count % 2);
    ++step;
    now += absl::Milliseconds(100);
    const Stopwatch watch;
    cluster.PutEndpointSlice(*kube::DecodeEndpointSlice(json));
    const ApplyResult result = reconciler.Apply(&cluster, now);
    (void)reconciler.Advance(now);
    watch.Stop(state, &cpu);
    if (!result.ok() || result.services.size() != 1 || result.operations == 0) {
      state.SkipWithError("not applied");
      return;
    }
    operations += result.operations;
  }
  state.counters["ops"] = static_cast<double>(operations) /
                          static_cast<double>(state.iterations());
  ReportCpu(state, cpu);
}

// A new process finds everything as it wants it.
void Restart(benchmark::State& state, bool kernel) {
  const Objects objects(static_cast<int>(state.range(0)));
  std::unique_ptr<Tables> tables = Tables::Make(kernel, state);
  if (tables == nullptr) return;
  {
    model::Cluster cluster(Node());
    Reconciler reconciler(tables->maps(), {});
    (void)reconciler.Restore();
    objects.PutAll(&cluster);
    (void)reconciler.Apply(&cluster, Now());
  }
  double cpu = 0;
  for (auto _ : state) {
    const Stopwatch watch;
    model::Cluster cluster(Node());
    Reconciler reconciler(tables->maps(), {});
    (void)reconciler.Restore();
    objects.PutAll(&cluster);
    const ApplyResult result = reconciler.Apply(&cluster, Now());
    watch.Stop(state, &cpu);
    if (result.operations != 0) {
      state.SkipWithError("a restart wrote something");
      return;
    }
  }
  ReportCpu(state, cpu);
}

}  // namespace
}  // namespace fairlead::reconcile

int main(int argc, char** argv) {
  using namespace fairlead;
  using namespace fairlead::reconcile;
  absl::StatusOr<harness::BpffsScope> bpffs = harness::BpffsScope::Create();
  if (bpffs.ok()) {
    g_bpffs = bpffs->path();
  } else {
    fprintf(stderr, "%s\n", bpffs.status().ToString().c_str());
  }
  const struct {
    const char* name;
    void (*run)(benchmark::State&, bool);
  } all[] = {
      {"publish", Publish}, {"one_change", OneChange}, {"restart", Restart}};
  for (const auto& [name, run] : all) {
    for (bool kernel : {false, true}) {
      benchmark::RegisterBenchmark(
          StrCat(name, kernel ? "/kernel" : "/memory").c_str(),
          [run = run, kernel](benchmark::State& s) { run(s, kernel); })
          ->Arg(1000)
          ->Arg(10000)
          ->UseManualTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
