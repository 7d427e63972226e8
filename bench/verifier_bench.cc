// SPDX-License-Identifier: Apache-2.0
// How long it takes to load all programs: the verifier reads them on the
// loading thread, so that its processor time is what a busy machine doesn't
// change. Medians of five loads over the same maps, after one that makes them.
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "benchmark/benchmark.h"
#include "tests/harness/scopes.h"
#include "userspace/datapath/loader.h"

namespace fairlead {
namespace {

constexpr int kLoads = 5;

[[noreturn]] void Die(const absl::Status& status) {
  fprintf(stderr, "%s\n", status.ToString().c_str());
  exit(1);
}

// As an agent sets it: nothing that the verifier could prune is switched off.
fl_config Config() {
  fl_config config = {};
  config.node_port_min = 30000;
  config.node_port_max = 32767;
  config.source_port_min = 10240;
  config.source_port_max = 29999;
  config.mark = 1 << 14;
  config.event_sample = 1;
  return config;
}

std::unique_ptr<datapath::Programs> Load(const datapath::PinLayout& layout) {
  auto programs = datapath::Programs::Load(layout, Config(), {});
  if (!programs.ok()) Die(programs.status());
  return *std::move(programs);
}

absl::Duration ProcessorTime() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return absl::DurationFromTimespec(now);
}

double MedianMs(std::vector<absl::Duration> values) {
  std::sort(values.begin(), values.end());
  return absl::ToDoubleMilliseconds(values[values.size() / 2]);
}

uint64_t Instructions(const datapath::Programs& programs) {
  uint64_t sum = 0;
  for (const std::string& name : programs.Names()) {
    bpf_prog_info info = {};
    uint32_t size = sizeof info;
    auto fd = programs.Fd(name);
    if (!fd.ok() || bpf_obj_get_info_by_fd(*fd, &info, &size) != 0) {
      Die(absl::InternalError(name));
    }
    sum += info.verified_insns;
  }
  return sum;
}

void LoadAll(benchmark::State& state) {
  auto bpffs = harness::BpffsScope::Create();
  if (!bpffs.ok()) Die(bpffs.status());
  const datapath::PinLayout layout(bpffs->path() + "/fairlead");
  if (auto made = layout.CreateDirectories(); !made.ok()) Die(made);
  uint64_t instructions = Instructions(*Load(layout));
  std::vector<absl::Duration> real, processor;
  for (auto _ : state) {
    for (int i = 0; i < kLoads; ++i) {
      const absl::Time began = absl::Now();
      const absl::Duration processor_began = ProcessorTime();
      std::unique_ptr<datapath::Programs> programs = Load(layout);
      processor.push_back(ProcessorTime() - processor_began);
      real.push_back(absl::Now() - began);
    }
  }
  state.counters["load_ms"] = MedianMs(real);
  state.counters["processor_ms"] = MedianMs(processor);
  state.counters["instructions"] = static_cast<double>(instructions);
}
BENCHMARK(LoadAll)->Name("verifier/all_programs")->Iterations(1)->Unit(
    benchmark::kMillisecond);

}  // namespace
}  // namespace fairlead

BENCHMARK_MAIN();
