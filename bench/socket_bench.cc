// SPDX-License-Identifier: Apache-2.0
// What connect() costs through the socket path.
//
// Variants are measured in short blocks, interleaved and in rotating order,
// and compared pairwise within a round, so that the machine's drift cancels;
// counters are medians over the rounds. A socket belongs to the cgroup that
// its process was in when it was made, so each variant has a cgroup:
//   bare     no program
//   trivial  a connect4 program that returns 1
//   miss     Fairlead's programs, neither a service nor an endpoint
//   endpoint Fairlead's programs, an endpoint by its own address
//   hit      Fairlead's programs, a service of four endpoints
// bare, trivial and endpoint connect to what hit is translated to, miss to
// another server at the same address.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "benchmark/benchmark.h"
#include "bpf/socket_bench.skel.h"
#include "tests/harness/sockets.h"
#include "tests/prog/service_world.h"
#include "userspace/base/status.h"

namespace fairlead {
namespace {

using harness::Connect;
using harness::OpenSocket;
using harness::Server;
using harness::ServiceWorld;
using harness::SocketFamily;

enum Variant { kBare, kTrivial, kMiss, kEndpoint, kHit, kVariants };

double Median(std::vector<double> values) {
  auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

class Bench {
 public:
  static absl::StatusOr<std::unique_ptr<Bench>> Create(Protocol protocol) {
    std::unique_ptr<Bench> bench(new Bench());
    FL_RETURN_IF_ERROR(bench->Prepare(protocol));
    return bench;
  }
  ~Bench() { socket_bench__destroy(trivial_program_); }

  // Makes this process' next sockets belong to the variant.
  absl::Status Enter(Variant variant) {
    switch (variant) {
      case kBare:
        return bare_->Join();
      case kTrivial:
        return trivial_->Join();
      default:
        return world_->cgroup().Join();
    }
  }
  const L4Address& Target(Variant variant) const {
    if (variant == kMiss) return other_.address;
    return variant == kHit ? service_ : server_.address;
  }
  int ServerFd(Variant variant) const {
    return variant == kMiss ? other_.fd.get() : server_.fd.get();
  }

 private:
  Bench() = default;

  absl::Status Prepare(Protocol protocol) {
    FL_ASSIGN_OR_RETURN(world_, ServiceWorld::Create());
    FL_RETURN_IF_ERROR(
        world_->netns()
            .Command("sysctl -qw net.ipv4.tcp_max_tw_buckets=0")
            .status());
    // Production sizes: a small table would sit in the cache.
    datapath::Options options = world_->options();
    options.sizes = {};
    FL_RETURN_IF_ERROR(world_->OpenDatapath(options));
    FL_ASSIGN_OR_RETURN(
        server_, harness::OpenServer(IpAddress::V4(0x7f000001), protocol));
    FL_ASSIGN_OR_RETURN(
        other_, harness::OpenServer(IpAddress::V4(0x7f000001), protocol));
    service_ = {IpAddress::V4(0x0a600001), 80, protocol};
    std::vector<uint32_t> ids;
    for (int i = 0; i < 4; ++i) {
      FL_ASSIGN_OR_RETURN(uint32_t id, world_->AddBackend(server_.address));
      ids.push_back(id);
    }
    FL_RETURN_IF_ERROR(world_->PutService(service_, ids));
    return AttachTrivial();
  }

  absl::Status AttachTrivial() {
    FL_ASSIGN_OR_RETURN(harness::CgroupScope bare,
                        harness::CgroupScope::Create());
    bare_ = std::make_unique<harness::CgroupScope>(std::move(bare));
    FL_ASSIGN_OR_RETURN(harness::CgroupScope trivial,
                        harness::CgroupScope::Create());
    trivial_ = std::make_unique<harness::CgroupScope>(std::move(trivial));
    trivial_program_ = socket_bench__open_and_load();
    if (trivial_program_ == nullptr) return ErrnoStatus(errno, "load");
    UniqueFd cgroup(open(trivial_->path().c_str(), O_RDONLY | O_CLOEXEC));
    int program = bpf_program__fd(trivial_program_->progs.fl_trivial4);
    return ErrnoStatus(-bpf_prog_attach(program, cgroup.get(),
                                        BPF_CGROUP_INET4_CONNECT, 0),
                       "attach");
  }

  std::unique_ptr<ServiceWorld> world_;
  std::unique_ptr<harness::CgroupScope> bare_;
  std::unique_ptr<harness::CgroupScope> trivial_;
  socket_bench* trivial_program_ = nullptr;
  Server server_;
  Server other_;
  L4Address service_;
};

// Nanoseconds per connect() of `count` sockets; the same socket again and
// again if `fresh` is false (UDP only). 0: a connect failed.
double ConnectBlock(Bench& bench, Variant variant, int count, bool fresh) {
  if (!bench.Enter(variant).ok()) return 0;
  const L4Address& target = bench.Target(variant);
  bool tcp = target.protocol == Protocol::kTcp;
  std::vector<UniqueFd> sockets;
  for (int i = 0; i < (fresh ? count : 1); ++i) {
    sockets.push_back(OpenSocket(target, SocketFamily::kNative));
  }
  int failures = 0;
  int64_t begin = absl::GetCurrentTimeNanos();
  for (int i = 0; i < count; ++i) {
    failures += Connect(sockets[fresh ? i : 0].get(), target,
                        SocketFamily::kNative) != 0;
  }
  int64_t end = absl::GetCurrentTimeNanos();
  for (int i = 0; tcp && i < count; ++i) {
    harness::Accept(bench.ServerFd(variant));
  }
  return failures == 0 ? static_cast<double>(end - begin) / count : 0;
}

void Connects(benchmark::State& state, Protocol protocol, bool fresh) {
  absl::StatusOr<std::unique_ptr<Bench>> bench = Bench::Create(protocol);
  if (!bench.ok()) {
    state.SkipWithError(bench.status().ToString().c_str());
    return;
  }
  int count = protocol == Protocol::kTcp ? 50 : 200;
  std::vector<double> bare, trivial, miss, endpoint, hit;
  int round = 0;
  for (auto _ : state) {
    double ns[kVariants];
    double total = 0;
    for (int i = 0; i < kVariants; ++i) {
      auto variant = static_cast<Variant>((i + round) % kVariants);
      ns[variant] = ConnectBlock(**bench, variant, count, fresh);
      if (ns[variant] == 0) state.SkipWithError("a connect failed");
      total += ns[variant];
    }
    bare.push_back(ns[kTrivial] - ns[kBare]);
    trivial.push_back(ns[kTrivial]);
    miss.push_back(ns[kMiss] - ns[kTrivial]);
    endpoint.push_back(ns[kEndpoint] - ns[kTrivial]);
    hit.push_back(ns[kHit] - ns[kTrivial]);
    state.SetIterationTime(total * 1e-9);
    ++round;
  }
  if (trivial.empty()) return;
  state.counters["trivial_ns"] = Median(trivial);
  state.counters["trivial_plus_ns"] = Median(bare);
  state.counters["miss_plus_ns"] = Median(miss);
  state.counters["endpoint_plus_ns"] = Median(endpoint);
  state.counters["hit_plus_ns"] = Median(hit);
}

void UdpFresh(benchmark::State& state) {
  Connects(state, Protocol::kUdp, /*fresh=*/true);
}
void UdpReconnect(benchmark::State& state) {
  Connects(state, Protocol::kUdp, /*fresh=*/false);
}
void TcpFresh(benchmark::State& state) {
  Connects(state, Protocol::kTcp, /*fresh=*/true);
}
BENCHMARK(UdpFresh)->Iterations(300)->UseManualTime();
BENCHMARK(UdpReconnect)->Iterations(300)->UseManualTime();
BENCHMARK(TcpFresh)->Iterations(300)->UseManualTime();

// Whole connections (connect, accept, close both) a second.
double RateBlock(Bench& bench, Variant variant, int count) {
  if (!bench.Enter(variant).ok()) return 0;
  const L4Address& target = bench.Target(variant);
  int64_t begin = absl::GetCurrentTimeNanos();
  for (int i = 0; i < count; ++i) {
    UniqueFd client = OpenSocket(target, SocketFamily::kNative);
    if (Connect(client.get(), target, SocketFamily::kNative) != 0) return 0;
    UniqueFd accepted(
        accept4(bench.ServerFd(variant), nullptr, nullptr, SOCK_CLOEXEC));
  }
  int64_t end = absl::GetCurrentTimeNanos();
  return count * 1e9 / static_cast<double>(end - begin);
}

void ConnectionRate(benchmark::State& state) {
  absl::StatusOr<std::unique_ptr<Bench>> bench = Bench::Create(Protocol::kTcp);
  if (!bench.ok()) {
    state.SkipWithError(bench.status().ToString().c_str());
    return;
  }
  std::vector<double> ratios, direct_rates;
  bool service_first = false;
  for (auto _ : state) {
    double rates[2];
    for (int i = 0; i < 2; ++i) {
      bool service = (i == 0) == service_first;
      rates[service] = RateBlock(**bench, service ? kHit : kBare, 200);
      if (rates[service] == 0) state.SkipWithError("a connect failed");
    }
    ratios.push_back(rates[1] / rates[0]);
    direct_rates.push_back(rates[0]);
    state.SetIterationTime(200 / rates[0] + 200 / rates[1]);
    service_first = !service_first;
  }
  if (ratios.empty()) return;
  state.counters["direct_per_s"] = Median(direct_rates);
  state.counters["service_to_direct"] = Median(ratios);
}
BENCHMARK(ConnectionRate)->Iterations(300)->UseManualTime();

}  // namespace
}  // namespace fairlead

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  // One CPU: migrations cost more than what is measured.
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)) - 1, &cpus);
  sched_setaffinity(0, sizeof(cpus), &cpus);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
