// SPDX-License-Identifier: Apache-2.0
// fairlead-controller as a process, asked over loopback by clients of the same
// machine; every write is on disk before it is answered.
//
//   controller/start      start -> ready on an empty store; rss_MB a second
//                         later.
//   controller/state      the same with 10,000 Pods and 10,000 Services.
//   controller/create/N   1,000 Services by 16 clients on top of N:
//                         items_per_second, p99_ms.
//   controller/list       LIST of 10,000 Services as JSON; MB.
//   controller/watch/F    100 watchers of Services, which 2,000 patches change:
//                         us_each is the processor time that the watchers cost
//                         the controller, per event and watcher. F: json,
//                         protobuf. bytes: of an event.
//   controller/bound      a Deployment of 1,000 replicas is posted -> the last
//                         of its pods has a node, of ten simulated ones, which
//                         report their pods as running meanwhile.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "bench/http_load.h"
#include "bench/process.h"
#include "benchmark/benchmark.h"
#include "tests/harness/scopes.h"
#include "tests/netns/fake_nodes.h"
#include "userspace/base/clock.h"
#include "userspace/base/strings.h"

namespace fairlead {
namespace {

constexpr int kClients = 16;
constexpr int kState = 10'000;
constexpr char kServices[] = "/api/v1/namespaces/default/services";
constexpr char kPods[] = "/api/v1/namespaces/default/pods";
constexpr char kMergePatch[] =
    "Content-Type: application/merge-patch+json\r\n";

absl::Duration Now() { return Clock::Real().Monotonic(); }

// ---- requests ----

std::string Post(std::string_view target, std::string_view body) {
  return HttpRequest("POST", target, body,
                     "Content-Type: application/json\r\n");
}

std::string PostService(int i) {
  return Post(kServices,
              StrCat(R"({"apiVersion":"v1","kind":"Service","metadata":)",
                     R"({"name":"svc-)", i, R"(","labels":{"app":"app-)", i,
                     R"("}},"spec":{"selector":{"app":"app-)", i,
                     R"("},"ports":[{"name":"http","port":80,)",
                     R"("protocol":"TCP","targetPort":8080}]}})"));
}

std::string PostNode(int i) {
  return Post("/api/v1/nodes",
              StrCat(R"({"apiVersion":"v1","kind":"Node","metadata":{"name":)",
                     R"("node-)", i, R"("},"status":{"conditions":[{"type":)",
                     R"("Ready","status":"True","reason":"KubeletReady"}],)",
                     R"("allocatable":{"cpu":"64","memory":"256Gi","pods":)",
                     R"("200"}}})"));
}

// As a Deployment's are, on a node.
std::string PostPod(int i) {
  return Post(
      kPods,
      StrCat(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"pod-)", i,
             R"(","labels":{"app":"app-)", i,
             R"(","pod-template-hash":"5d8f7b9c4"}},"spec":{"nodeName":"node-)",
             i % 100, R"(","containers":[{"name":"web","image":)",
             R"("registry.example/shop/web:1.27","ports":[{"containerPort":)",
             R"(8080}],"env":[{"name":"COLOUR","value":"blue"}],"resources":)",
             R"({"requests":{"cpu":"100m","memory":"64Mi"}},"readinessProbe":)",
             R"({"httpGet":{"path":"/ready","port":8080}}}]}})"));
}

std::string RunPod(int i) {
  std::string conditions;
  for (const char* type : {"PodScheduled", "Initialized", "ContainersReady",
                           "Ready"}) {
    StrAppend(&conditions, conditions.empty() ? "" : ",", R"({"type":")", type,
              R"(","status":"True","lastTransitionTime":)",
              R"("2026-01-01T00:00:00Z"})");
  }
  const std::string ip = StrCat("10.244.", i / 250, ".", i % 250 + 1);
  return HttpRequest(
      "PATCH", StrCat(kPods, "/pod-", i, "/status"),
      StrCat(R"({"status":{"phase":"Running","podIP":")", ip,
             R"(","podIPs":[{"ip":")", ip, R"("}],"hostIP":"192.0.2.1",)",
             R"("startTime":"2026-01-01T00:00:00Z","conditions":[)", conditions,
             R"(],"containerStatuses":[{"name":"web","ready":true,"started":)",
             R"(true,"restartCount":0,"image":)",
             R"("registry.example/shop/web:1.27","imageID":"","containerID":)",
             R"("fairlead://)", i, R"(","state":{"running":{"startedAt":)",
             R"("2026-01-01T00:00:00Z"}}}]}})"),
      kMergePatch);
}

// ---- the controller ----

class Controller {
 public:
  // nullptr: it did not become ready.
  static std::unique_ptr<Controller> Make() {
    auto dir = harness::TempDirScope::Create();
    if (!dir.ok()) return nullptr;
    std::unique_ptr<Controller> out(new Controller(*std::move(dir)));
    return out->Start() ? std::move(out) : nullptr;
  }

  bool Start() {
    const std::string kubeconfig = dir_.path() + "/kubeconfig";
    std::filesystem::remove(kubeconfig);
    const absl::Duration begin = Now();
    process_ = std::make_unique<Process>(
        -1,
        std::vector<std::string>{
            "fairlead-controller", "--listen", "127.0.0.1:0", "--store",
            dir_.path() + "/store.db", "--write-kubeconfig", kubeconfig,
            // Nodes whose kubelets don't exist stay.
            "--node-monitor-grace-period", "10m"},
        dir_.path() + "/log");
    if (!Await([&] { return std::filesystem::exists(kubeconfig); })) {
      return false;
    }
    ready_after_ = Now() - begin;
    std::ifstream file(kubeconfig);
    const std::string text(std::istreambuf_iterator<char>(file), {});
    const size_t at = text.find("127.0.0.1:");
    port_ = at == text.npos ? 0 : static_cast<uint16_t>(
                                      atoi(text.c_str() + at + 10));
    return port_ != 0;
  }

  void End() { (void)process_->End(SIGTERM); }

  // False: see failure().
  bool Do(int n, const std::function<std::string(int)>& request) {
    auto result = RunLoad(port_, n, kClients, request);
    failure_ = Std(result.status().ToString());
    return result.ok();
  }
  const char* failure() const { return failure_.c_str(); }
  // Also what it does of itself has come to rest.
  bool Rest() const {
    absl::Duration before = process_->CpuTime();
    return Await([&] {
      absl::SleepFor(absl::Milliseconds(500));
      const absl::Duration now = process_->CpuTime();
      return now - std::exchange(before, now) < absl::Milliseconds(10);
    });
  }

  uint16_t port() const { return port_; }
  std::string url() const { return StrCat("http://127.0.0.1:", port_); }
  const Process& process() const { return *process_; }
  absl::Duration ready_after() const { return ready_after_; }

 private:
  explicit Controller(harness::TempDirScope dir) : dir_(std::move(dir)) {}

  harness::TempDirScope dir_;
  std::unique_ptr<Process> process_;
  uint16_t port_ = 0;
  absl::Duration ready_after_;
  std::string failure_;
};

// ---- benchmarks ----

constexpr char kNotReady[] = "the controller did not become ready";
constexpr char kNoRest[] = "the controller does not come to rest";

void Start(benchmark::State& state) {
  double rss = 0;
  for (auto _ : state) {
    auto controller = Controller::Make();
    if (controller == nullptr) return state.SkipWithError(kNotReady);
    state.SetIterationTime(absl::ToDoubleSeconds(controller->ready_after()));
    absl::SleepFor(absl::Seconds(1));
    rss = std::max(rss, controller->process().RssMb());
  }
  state.counters["rss_MB"] = rss;
}

void StartWithState(benchmark::State& state) {
  auto controller = Controller::Make();
  if (controller == nullptr) return state.SkipWithError(kNotReady);
  if (!controller->Do(kState, PostService) || !controller->Do(100, PostNode) ||
      !controller->Do(kState, PostPod) || !controller->Do(kState, RunPod)) {
    return state.SkipWithError(controller->failure());
  }
  if (!controller->Rest()) return state.SkipWithError(kNoRest);
  state.counters["grown_MB"] = controller->process().RssMb();
  double rss = 0;
  for (auto _ : state) {
    controller->End();
    if (!controller->Start()) return state.SkipWithError(kNotReady);
    state.SetIterationTime(absl::ToDoubleSeconds(controller->ready_after()));
    if (!controller->Rest()) return state.SkipWithError(kNoRest);
    rss = std::max(rss, controller->process().RssMb());
  }
  state.counters["rss_MB"] = rss;
}

void Create(benchmark::State& state) {
  constexpr int kNew = 1000;
  const int before = static_cast<int>(state.range(0));
  auto controller = Controller::Make();
  if (controller == nullptr) return state.SkipWithError(kNotReady);
  if (!controller->Do(before, PostService)) {
    return state.SkipWithError(controller->failure());
  }
  if (!controller->Rest()) return state.SkipWithError(kNoRest);
  int next = before;
  absl::Duration p99;
  const absl::Duration cpu = controller->process().CpuTime();
  for (auto _ : state) {
    auto result = RunLoad(controller->port(), kNew, kClients,
                          [&](int) { return PostService(next++); });
    if (!result.ok()) {
      return state.SkipWithError(result.status().ToString().c_str());
    }
    state.SetIterationTime(absl::ToDoubleSeconds(result->took));
    p99 = std::max(p99, result->p99);
  }
  state.counters["p99_ms"] = absl::ToDoubleMilliseconds(p99);
  state.counters["cpu_us"] = absl::ToDoubleMicroseconds(
      (controller->process().CpuTime() - cpu) / (next - before));
  state.SetItemsProcessed(next - before);
}

void List(benchmark::State& state) {
  auto controller = Controller::Make();
  if (controller == nullptr) return state.SkipWithError(kNotReady);
  if (!controller->Do(kState, PostService)) {
    return state.SkipWithError(controller->failure());
  }
  if (!controller->Rest()) return state.SkipWithError(kNoRest);
  const std::string request = HttpRequest("GET", kServices);
  size_t bytes = 0;
  for (auto _ : state) {
    auto result =
        RunLoad(controller->port(), 1, 1, [&](int) { return request; });
    if (!result.ok()) {
      return state.SkipWithError(result.status().ToString().c_str());
    }
    state.SetIterationTime(absl::ToDoubleSeconds(result->took));
    bytes = result->bytes;
  }
  state.counters["MB"] = static_cast<double>(bytes) / 1e6;
}

// The processor time of 2,000 patches of ten Services; nullopt: one failed.
std::optional<absl::Duration> Patch(Controller* controller,
                                    const std::function<bool()>& seen) {
  static int value = 0;
  const absl::Duration before = controller->process().CpuTime();
  bool done = controller->Do(2000, [&](int i) {
    return HttpRequest(
        "PATCH", StrCat(kServices, "/svc-", i % 10),
        StrCat(R"({"metadata":{"labels":{"turn":"v)", ++value, R"("}}})"),
        kMergePatch);
  });
  if (!done || !Await(seen) || !controller->Rest()) return std::nullopt;
  return controller->process().CpuTime() - before;
}

void Watch(benchmark::State& state, const std::string& accept) {
  // In either form.
  const char* mark = "MODIFIED";
  constexpr int kWatchers = 100;
  constexpr int64_t kEvents = 2000 * kWatchers;
  auto controller = Controller::Make();
  if (controller == nullptr) return state.SkipWithError(kNotReady);
  if (!controller->Do(10, PostService)) {
    return state.SkipWithError(controller->failure());
  }
  if (!controller->Rest()) return state.SkipWithError(kNoRest);
  double bytes = 0;
  absl::Duration extra;
  int rounds = 0;
  for (auto _ : state) {
    const absl::Duration began = Now();
    auto alone = Patch(controller.get(), [] { return true; });
    Watchers watchers(controller->port(), kWatchers,
                      HttpRequest("GET", StrCat(kServices, "?watch=1"), "",
                                  StrCat("Accept: ", accept, "\r\n")),
                      mark);
    if (!controller->Rest()) return state.SkipWithError(kNoRest);
    const int64_t initial = watchers.bytes();
    auto watched = Patch(controller.get(),
                         [&] { return watchers.marks() >= kEvents; });
    if (!alone || !watched) return state.SkipWithError("events are missing");
    bytes = static_cast<double>(watchers.bytes() - initial) / kEvents;
    extra += *watched - *alone;
    ++rounds;
    state.SetIterationTime(absl::ToDoubleSeconds(Now() - began));
  }
  state.counters["bytes"] = bytes;
  state.counters["us_each"] =
      absl::ToDoubleMicroseconds(extra) / static_cast<double>(kEvents * rounds);
}

constexpr char kDeployment[] =
    R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},)"
    R"("spec":{"replicas":1000,"selector":{"matchLabels":{"app":"web"}},)"
    R"("template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":)"
    R"([{"name":"web","image":"registry.example/shop/web:1.27"}]}}}})";

void Bound(benchmark::State& state) {
  double cpu = 0;
  for (auto _ : state) {
    auto controller = Controller::Make();
    if (controller == nullptr) return state.SkipWithError(kNotReady);
    FakeCluster nodes(controller->url());
    for (int i = 0; i < 10; ++i) nodes.AddNode(StrCat("node-", i));
    // A pod is ADDED for this watcher once it has a node.
    Watchers bound(controller->port(), 1,
                   HttpRequest("GET", StrCat(kPods, "?watch=1&fieldSelector="
                                                    "spec.nodeName%21%3D")),
                   "\"type\":\"ADDED\"");
    if (!controller->Rest()) return state.SkipWithError(kNoRest);
    const absl::Duration before = controller->process().CpuTime();
    const absl::Duration began = Now();
    if (!controller->Do(1, [](int) {
          return Post("/apis/apps/v1/namespaces/default/deployments",
                      kDeployment);
        })) {
      return state.SkipWithError(controller->failure());
    }
    if (!Await([&] { return bound.marks() >= 1000; })) {
      return state.SkipWithError("pods without a node");
    }
    state.SetIterationTime(absl::ToDoubleSeconds(Now() - began));
    cpu = absl::ToDoubleSeconds(controller->process().CpuTime() - before);
  }
  state.counters["cpu_s"] = cpu;
}

// Bounded: each iteration is a process, or a thousand requests.
BENCHMARK(Start)->Name("controller/start")->UseManualTime()
    ->Unit(benchmark::kMillisecond)->Iterations(3);
BENCHMARK(StartWithState)->Name("controller/state")->UseManualTime()
    ->Unit(benchmark::kMillisecond)->Iterations(3);
BENCHMARK(Create)->Name("controller/create")->Arg(100)->Arg(kState)
    ->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(3);
BENCHMARK(List)->Name("controller/list")->UseManualTime()
    ->Unit(benchmark::kMillisecond)->Iterations(20);
BENCHMARK_CAPTURE(Watch, json, "application/json")
    ->Name("controller/watch/json")->UseManualTime()
    ->Unit(benchmark::kMillisecond)->Iterations(2);
BENCHMARK_CAPTURE(Watch, protobuf, "application/vnd.kubernetes.protobuf")
    ->Name("controller/watch/protobuf")->UseManualTime()
    ->Unit(benchmark::kMillisecond)->Iterations(2);
BENCHMARK(Bound)->Name("controller/bound")->UseManualTime()
    ->Unit(benchmark::kMillisecond)->Iterations(3);

}  // namespace
}  // namespace fairlead

BENCHMARK_MAIN();
