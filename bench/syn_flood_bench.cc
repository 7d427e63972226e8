// SPDX-License-Identifier: Apache-2.0
// What a SYN flood at a NodePort takes from a connection that is established,
// beyond what any flood takes: in turn, equal floods at a NodePort of ours and
// at a pod's port that no Service has, answered by the same server after the
// same number of hops. The machine makes the floods as well: both sides pay.
//
//   syn_flood/throughput  bytes a connection through another NodePort has
//                         echoed in a second.
//     ratio     ours / not ours, the median of the rounds
//     mb_s      megabytes a second with the flood at ours, the median
//     syns_s    SYNs a second at ours, the mean
//     syns_ratio  SYNs at ours / not ours: were they equal?
//     flows     opened in all; the table has 262,144 entries, two a flow
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "benchmark/benchmark.h"
#include "tests/netns/conversation.h"
#include "tests/netns/service_bed.h"
#include "tests/netns/syn_flood.h"
#include "userspace/base/clock.h"
#include "userspace/base/status.h"

namespace fairlead {
namespace {

using harness::Conversation;
using harness::FrontendOf;
using harness::ServiceBed;
using harness::SynFlood;
using harness::Way;

constexpr int kRounds = 15;
constexpr int kSynsPerSecond = 20'000;
constexpr absl::Duration kSettle = absl::Milliseconds(200);
constexpr absl::Duration kInterval = absl::Seconds(1);

double Median(std::vector<double> values) {
  auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Sends without end what comes back, and counts it.
class Stream {
 public:
  explicit Stream(Conversation* connection)
      : sender_([fd = connection->fd()] {
          const std::string text(65536, 's');
          while (send(fd, text.data(), text.size(), MSG_NOSIGNAL) > 0) {
          }
        }),
        reader_([this, fd = connection->fd()] {
          std::vector<char> buffer(1 << 18);
          ssize_t size = 0;
          while ((size = recv(fd, buffer.data(), buffer.size(), 0)) > 0) {
            received_ += static_cast<uint64_t>(size);
          }
        }),
        fd_(connection->fd()) {}
  ~Stream() {
    shutdown(fd_, SHUT_RDWR);
    sender_.join();
    reader_.join();
  }
  uint64_t received() const { return received_; }

 private:
  std::atomic<uint64_t> received_ = 0;
  std::thread sender_;
  std::thread reader_;
  const int fd_;
};

struct Rate {
  double bytes = 0;  // a second
  double syns = 0;
};

absl::StatusOr<Rate> Under(const ServiceBed& bed, const L4Address& target,
                           const Stream& stream) {
  FL_ASSIGN_OR_RETURN(auto flood,
                      SynFlood::Start(bed.net(), target, kSynsPerSecond));
  absl::SleepFor(kSettle);
  const uint64_t bytes = stream.received(), syns = flood->sent();
  const absl::Duration begin = Clock::Real().Monotonic();
  absl::SleepFor(kInterval);
  const double seconds =
      absl::ToDoubleSeconds(Clock::Real().Monotonic() - begin);
  const Rate rate = {
      .bytes = static_cast<double>(stream.received() - bytes) / seconds,
      .syns = static_cast<double>(flood->sent() - syns) / seconds};
  FL_RETURN_IF_ERROR(flood->Stop());
  return rate;
}

absl::Status Measure(benchmark::State& state) {
  FL_ASSIGN_OR_RETURN(auto bed, ServiceBed::Create());
  FL_RETURN_IF_ERROR(bed->StartAgent());
  FL_RETURN_IF_ERROR(
      bed->Apply({{.number = 1, .external_local = true, .endpoints = {"l1"}},
                  {.number = 2, .external_local = true, .endpoints = {"l2"}}}));
  auto node_port = [](int number) {
    return FrontendOf(number, Way::kNodePort, IpFamily::kIpv4, Protocol::kTcp);
  };
  const L4Address ours = node_port(1);
  const L4Address other = {bed->net().at("l3").v4,
                           harness::EndpointServer::kPort, Protocol::kTcp};
  FL_ASSIGN_OR_RETURN(
      Conversation connection,
      Conversation::Open(bed->net().at("outside"), node_port(2)));
  const double before = bed->Counter("forward_new");
  Stream stream(&connection);
  std::vector<double> ratios, megabytes;
  Rate all_ours, all_other;
  for (auto _ : state) {
    // Which comes first changes.
    const bool first = ratios.size() % 2 == 0;
    FL_ASSIGN_OR_RETURN(Rate a, Under(*bed, first ? ours : other, stream));
    FL_ASSIGN_OR_RETURN(Rate b, Under(*bed, first ? other : ours, stream));
    if (!first) std::swap(a, b);
    if (a.bytes == 0) return absl::InternalError("the connection stands still");
    ratios.push_back(a.bytes / b.bytes);
    megabytes.push_back(a.bytes / 1e6);
    all_ours.syns += a.syns;
    all_other.syns += b.syns;
    state.SetIterationTime(absl::ToDoubleSeconds(kInterval));
  }
  const double rounds = static_cast<double>(ratios.size());
  state.counters["ratio"] = Median(ratios);
  state.counters["mb_s"] = Median(megabytes);
  state.counters["syns_s"] = all_ours.syns / rounds;
  state.counters["syns_ratio"] = all_ours.syns / all_other.syns;
  state.counters["flows"] = bed->Counter("forward_new") - before;
  return absl::OkStatus();
}

void Throughput(benchmark::State& state) {
  absl::Status status = Measure(state);
  if (!status.ok()) state.SkipWithError(status.ToString().c_str());
}

BENCHMARK(Throughput)
    ->Name("syn_flood/throughput")
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(kRounds);

}  // namespace
}  // namespace fairlead

BENCHMARK_MAIN();
