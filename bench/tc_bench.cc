// SPDX-License-Identifier: Apache-2.0
// What a packet costs in the packet path's programs, by BPF_PROG_RUN.
//
// A measurement is the least of many short runs (the machine is shared; what
// disturbs only adds), by the clock around the call, less that of a call for one
// packet: what the kernel says is whole ns, an eighth of a trivial program.
// Programs that rewrite are run through a wrapper that puts the frame back and
// tail-calls them; its cost, measured with a trivial program behind it, is taken
// off. `x_trivial` is the multiple of a program that only returns, measured in
// the same runs, alternating.
//
//   tc_bench --benchmark_out=tc.json
#include <benchmark/benchmark.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/time/clock.h"
#include "tests/prog/tc_run.h"
// Skeletons need the contract before them.
#include "bpf/tc.skel.h"
#include "bpf/tc_bench.skel.h"

namespace fairlead::prog {
namespace {

using namespace packet;  // NOLINT: the sentences' words

constexpr int kFrame = 80;
constexpr int kIp = 14;  // where its IP header is
constexpr int kRepeat = 2000;
constexpr uint32_t kManyBackends = 40;

[[noreturn]] void Die(const char* what) {
  perror(what);
  exit(1);
}

// What a frame's client differs by.
struct Vary {
  bool ipv6 = false;
  uint32_t mask = 0;  // as many clients, in turn; 0: the same
};

class Bench {
 public:
  Bench()
      : run_(Config(), /*flows=*/1 << 18),
        wrapper_(tc_bench__open_and_load()) {
    if (wrapper_ == nullptr) Die("load wrapper");
    // Masqueraded flows need a source port for each, so they get as many
    // backends as it takes not to run out of ports in a full flow table.
    std::vector<uint32_t> many;
    for (uint32_t id = 10; id < 10 + kManyBackends; id++) {
      run_.AddBackend(id, "10.1.3." + std::to_string(id), 8080, 6);
      many.push_back(id);
    }
    run_.AddFrontend({.address = "198.51.100.3",
                      .backends = many,
                      .flags = FL_SERVICE_MASQ_OUTSIDE,
                      .id = 3});
    for (int ipv6 = 0; ipv6 < 2; ipv6++) {
      for (uint8_t protocol : {6, 17}) {
        uint32_t id = (protocol == 6 ? 1 : 3) + ipv6;
        run_.AddBackend(id, ipv6 ? "2001:db8:10:1::5" : "10.1.1.5", 8080,
                        protocol);
        run_.AddFrontend({.address = ipv6 ? "2001:db8:2::1" : "198.51.100.1",
                          .protocol = protocol,
                          .backends = {id}});
        run_.AddFrontend({.address = ipv6 ? "2001:db8:2::2" : "198.51.100.2",
                          .protocol = protocol,
                          .backends = {id},
                          .flags = FL_SERVICE_MASQ_OUTSIDE,
                          .id = 2});
      }
    }
  }
  ~Bench() { tc_bench__destroy(wrapper_); }

  // 80-byte frames.
  static Packet Frame(bool ipv6, const std::string& src, uint16_t sport,
                      const std::string& dst, uint16_t dport,
                      uint8_t flags = kAck, bool udp = false) {
    Packet net = ipv6 ? Eth{} / Ip6{.src = src, .dst = dst}
                      : Eth{} / Ip4{.src = src, .dst = dst};
    int payload = kFrame - (ipv6 ? 54 : 34) - (udp ? 8 : 20);
    Payload rest{std::string(payload, 'x')};
    if (udp) return net / Udp{.sport = sport, .dport = dport} / rest;
    return net / Tcp{.sport = sport, .dport = dport, .flags = flags} / rest;
  }

  TcRun& run() { return run_; }

  // Runs `packet` at ingress once for each client.
  void Open(const Packet& packet, const Vary& vary) {
    Set(packet.Build(), 0, vary);
    Next(run_.program_fd(Hook::kIngress));
    int restore = bpf_program__fd(wrapper_->progs.tc_bench_restore);
    for (uint32_t i = 0; i <= vary.mask; i += kRepeat) {
      (void)Time(restore, packet.Build(), kRepeat);
    }
  }

  // Of a subject that leaves the frame alone.
  void MeasureBare(benchmark::State& state, int subject,
                   const Packet& packet) {
    Bytes frame = packet.Build();
    int trivial = bpf_program__fd(wrapper_->progs.tc_bench_trivial);
    Least single, bare, best;
    for (auto _ : state) {
      single.Add(Time(trivial, frame, 1));
      bare.Add(Time(trivial, frame, kRepeat));
      state.SetIterationTime(best.Add(Time(subject, frame, kRepeat)) / 1e9);
    }
    Report(state, PerPacket(bare, single), PerPacket(best, single), 0);
  }

  // Of one that doesn't, through the wrapper.
  void Measure(benchmark::State& state, int subject, const Packet& packet,
               uint32_t mark = 0, const Vary& vary = {}) {
    Bytes frame = packet.Build();
    Set(frame, mark, vary);
    int trivial = bpf_program__fd(wrapper_->progs.tc_bench_trivial);
    int restore = bpf_program__fd(wrapper_->progs.tc_bench_restore);
    Least single, bare, wrapped, best;
    for (auto _ : state) {
      single.Add(Time(trivial, frame, 1));
      bare.Add(Time(trivial, frame, kRepeat));
      Next(trivial);
      wrapped.Add(Time(restore, frame, kRepeat));
      Next(subject);
      state.SetIterationTime(best.Add(Time(restore, frame, kRepeat)) / 1e9);
    }
    Report(state, PerPacket(bare, single), PerPacket(best, single),
           PerPacket(wrapped, bare));
  }

 private:
  static fl_config Config() {
    fl_config config = TcRun::DefaultConfig();
    config.source_port_min = 33000;
    config.source_port_max = 65000;
    return config;
  }
  // ns of whole calls.
  struct Least {
    double ns = 1e18;
    double Add(double now) {
      ns = std::min(ns, now);
      return now;
    }
  };
  // `base`: of a call for one packet, or for as many.
  static double PerPacket(const Least& call, const Least& base) {
    return (call.ns - base.ns) / kRepeat;
  }
  static void Report(benchmark::State& state, double trivial, double through,
                     double restore) {
    state.counters["ns"] = through - restore;
    state.counters["trivial_ns"] = trivial;
    state.counters["restore_ns"] = restore;
    state.counters["x_trivial"] = (through - restore) / trivial;
  }
  void Set(const Bytes& frame, uint32_t mark, const Vary& vary) {
    if (frame.size() != kFrame) Die("frame size");
    memcpy(wrapper_->bss->tc_bench_frame, frame.data() + kIp,
           sizeof(wrapper_->bss->tc_bench_frame));
    // The four bytes that end the source address.
    int at = vary.ipv6 ? 8 + 12 : 12;
    wrapper_->bss->tc_bench_mark = mark;
    wrapper_->bss->tc_bench_vary_word = at / 8;
    wrapper_->bss->tc_bench_vary_shift = at % 8 * 8;
    wrapper_->bss->tc_bench_vary_mask = vary.mask;
  }
  void Next(int program) {
    uint32_t zero = 0;
    if (bpf_map_update_elem(bpf_map__fd(wrapper_->maps.tc_bench_next), &zero,
                            &program, BPF_ANY)) {
      Die("prog array");
    }
  }
  // ns of one call.
  double Time(int program, const Bytes& frame, int repeat) {
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = frame.size();
    options.repeat = repeat;
    int64_t begin = absl::GetCurrentTimeNanos();
    if (bpf_prog_test_run_opts(program, &options)) Die("run");
    return static_cast<double>(absl::GetCurrentTimeNanos() - begin);
  }

  TcRun run_;
  tc_bench* wrapper_;
};

Bench& Shared() {
  static auto* bench = new Bench;
  return *bench;
}

struct Family {
  const char *client, *vip, *masqueraded_vip, *backend, *masquerade;
};
constexpr Family kFamilies[] = {
    {"192.0.2.10", "198.51.100.1", "198.51.100.2", "10.1.1.5", kMasquerade4},
    {"2001:db8:1::10", "2001:db8:2::1", "2001:db8:2::2", "2001:db8:10:1::5",
     kMasquerade6}};

int Ingress() { return Shared().run().program_fd(Hook::kIngress); }
int Egress() { return Shared().run().program_fd(Hook::kEgress); }

// That `packet` takes the path named `counter`.
void Check(Hook hook, const Packet& packet, const std::string& counter,
           uint32_t mark = 0) {
  Result result = Shared().run().Run(hook, packet.Build(), mark);
  if (result.counters == std::vector<std::string>{counter}) return;
  fprintf(stderr, "not the path that was to be measured: want %s, got %s\n",
          counter.c_str(),
          result.counters.empty() ? "nothing" : result.counters[0].c_str());
  exit(1);
}

void BM_NotOurs(benchmark::State& state, bool ingress, bool ipv6,
                bool many_ranges) {
  const Family& f = kFamilies[ipv6];
  Shared().run().SetServiceRanges(many_ranges
                                      ? TcRun::ManyServiceRanges()
                                      : TcRun::DefaultServiceRanges());
  Packet packet = Bench::Frame(ipv6, f.client, 40000, f.backend, 9999);
  Check(ingress ? Hook::kIngress : Hook::kEgress, packet, "NOT_OURS");
  Shared().MeasureBare(state, ingress ? Ingress() : Egress(), packet);
}

// Ingress of an open flow. clients: one, or 64k in turn.
void BM_Hit(benchmark::State& state, bool ipv6, bool udp, bool masquerade,
            bool many) {
  const Family& f = kFamilies[ipv6];
  const char* vip = masquerade ? f.masqueraded_vip : f.vip;
  uint16_t port = masquerade ? 41001 : many ? 41002 : 41000;
  Vary vary{.ipv6 = ipv6, .mask = many ? 0xffffu : 0};
  Packet syn = Bench::Frame(ipv6, f.client, port, vip, 80, kSyn, udp);
  Packet packet = Bench::Frame(ipv6, f.client, port, vip, 80, kAck, udp);
  (void)Shared().run().Run(Hook::kIngress, syn.Build());
  Check(Hook::kIngress, packet, "FORWARD_HIT");
  if (many) Shared().Open(syn, vary);
  Shared().Measure(state, Ingress(), packet, 0, vary);
}

// Egress of the backend's answer.
void BM_Reply(benchmark::State& state, bool ipv6) {
  const Family& f = kFamilies[ipv6];
  (void)Shared().run().Run(
      Hook::kIngress,
      Bench::Frame(ipv6, f.client, 42000, f.vip, 80, kSyn).Build());
  Packet accept =
      Bench::Frame(ipv6, f.backend, 8080, f.client, 42000, kSyn | kAck);
  Check(Hook::kEgress, accept, "REPLY_HIT");
  Packet packet = Bench::Frame(ipv6, f.backend, 8080, f.client, 42000);
  Check(Hook::kEgress, packet, "REPLY_HIT");
  Shared().Measure(state, Egress(), packet);
}

// Egress to the backend: the source becomes the node's.
void BM_Masquerade(benchmark::State& state, bool ipv6) {
  const Family& f = kFamilies[ipv6];
  (void)Shared().run().Run(
      Hook::kIngress,
      Bench::Frame(ipv6, f.client, 43000, f.masqueraded_vip, 80, kSyn)
          .Build());
  Packet packet = Bench::Frame(ipv6, f.client, 43000, f.backend, 8080);
  Check(Hook::kEgress, packet, "SOURCE_TRANSLATED", kMark);
  Shared().Measure(state, Egress(), packet, kMark);
}

// A client that was never seen before, each time.
void BM_NewFlow(benchmark::State& state, bool ipv6, bool udp,
                bool masquerade) {
  static uint16_t port = 44000;  // a run's own: its flows stay
  const Family& f = kFamilies[ipv6];
  const char* vip = masquerade ? "198.51.100.3" : f.vip;
  auto packet = [&](uint16_t sport) {
    return Bench::Frame(ipv6, f.client, sport, vip, 80, kSyn, udp);
  };
  Check(Hook::kIngress, packet(++port), "FORWARD_NEW");
  Shared().Measure(state, Ingress(), packet(port), 0,
                   {.ipv6 = ipv6, .mask = ~0u});
  Check(Hook::kIngress, packet(++port), "FORWARD_NEW");
}

#define FL_TC_BENCH(...)             \
  BENCHMARK_CAPTURE(__VA_ARGS__)     \
      ->UseManualTime()              \
      ->Iterations(400)              \
      ->Unit(benchmark::kMicrosecond)

FL_TC_BENCH(BM_NotOurs, ingress_v4, true, false, false);
FL_TC_BENCH(BM_NotOurs, ingress_v6, true, true, false);
FL_TC_BENCH(BM_NotOurs, egress_v4, false, false, false);
FL_TC_BENCH(BM_NotOurs, egress_v6, false, true, false);
FL_TC_BENCH(BM_NotOurs, many_ranges_v4, true, false, true);
FL_TC_BENCH(BM_NotOurs, many_ranges_v6, true, true, true);
FL_TC_BENCH(BM_Hit, tcp_v4, false, false, false, false);
FL_TC_BENCH(BM_Hit, tcp_v6, true, false, false, false);
FL_TC_BENCH(BM_Hit, udp_v4, false, true, false, false);
FL_TC_BENCH(BM_Hit, udp_v6, true, true, false, false);
FL_TC_BENCH(BM_Hit, tcp_v4_64k_flows, false, false, false, true);
FL_TC_BENCH(BM_Reply, tcp_v4, false);
FL_TC_BENCH(BM_Reply, tcp_v6, true);
FL_TC_BENCH(BM_Hit, tcp_v4_masqueraded, false, false, true, false);
FL_TC_BENCH(BM_Masquerade, tcp_v4, false);
FL_TC_BENCH(BM_Masquerade, tcp_v6, true);
FL_TC_BENCH(BM_NewFlow, tcp_v4, false, false, false);
FL_TC_BENCH(BM_NewFlow, tcp_v6, true, false, false);
FL_TC_BENCH(BM_NewFlow, udp_v4, false, true, false);
FL_TC_BENCH(BM_NewFlow, tcp_v4_masqueraded, false, false, true);

}  // namespace
}  // namespace fairlead::prog

BENCHMARK_MAIN();
