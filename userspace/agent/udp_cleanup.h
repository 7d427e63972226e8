// SPDX-License-Identifier: Apache-2.0
// A UDP exchange has no end that the kernel could see, so somebody must end it
// when its endpoint goes: flows of the packet path and endpoints of
// unconnected sockets are forgotten, connected sockets are destroyed (their
// owner gets an error). See docs/design/udp.md.
//
// Works after the tables have been published, on a thread of its own, and only
// when a UDP frontend or endpoint has gone (or a frontend has come).
//
// Threads: the event loop's only; the thread is inside. Destroying waits for
// it.
#ifndef FAIRLEAD_USERSPACE_AGENT_UDP_CLEANUP_H_
#define FAIRLEAD_USERSPACE_AGENT_UDP_CLEANUP_H_

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/agent/metrics.h"
#include "userspace/agent/udp_serving.h"
#include "userspace/base/event_loop.h"
#include "userspace/base/ip_address.h"
#include "userspace/datapath/udp_state.h"
#include "userspace/model/cluster.h"

namespace fairlead::agent {

class UdpCleanup {
 public:
  // `masquerade` is asked for the node's own addresses. `loop` outlives this.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<UdpCleanup>> Open(
      EventLoop* loop, const datapath::PinLayout& layout,
      std::function<std::vector<IpAddress>()> masquerade);
  ~UdpCleanup();

  // These Services have been applied. After the first time all that earlier
  // runs have left is looked at once.
  void Applied(const std::vector<std::string>& services,
               const model::Cluster& cluster);

  struct Stats {
    uint64_t runs = 0;
    uint64_t errors = 0;
    uint64_t flows = 0;      // forgotten
    uint64_t endpoints = 0;  // of unconnected sockets, forgotten
    uint64_t sockets = 0;    // destroyed
    Histogram duration = Histogram::ForLatency();
  };
  const Stats& stats() const { return stats_; }

 private:
  // What one run works on, and what came of it.
  struct Job {
    UdpServing::Table table;
    absl::flat_hash_set<L4Address> new_frontends;
    std::vector<IpAddress> masquerade;
    uint64_t flows = 0;
    uint64_t endpoints = 0;
    uint64_t sockets = 0;
    absl::Duration duration;
    absl::Status status;

    // What was applied while it ran: the first flows of an endpoint that has
    // just come aren't those of one that has gone.
    std::mutex mutex;
    UdpServing::Table newer;

    bool Serves(const L4Address& frontend, const L4Address& endpoint);
  };

  explicit UdpCleanup(EventLoop* loop) : loop_(loop) {}
  void Schedule();
  void Run();
  void Finished(const Job& job);
  void AddNewFrontend(const L4Address& frontend,
                      const model::NodeConfig& node);
  void TellJob(const model::DesiredService& desired);
  // On the thread.
  static absl::Status Work(datapath::UdpState* state, Job* job);

  EventLoop* loop_;
  std::function<std::vector<IpAddress>()> masquerade_;
  std::unique_ptr<datapath::UdpState> state_;
  UdpServing serving_;
  absl::flat_hash_set<L4Address> new_frontends_;
  bool first_ = true;
  bool wanted_ = false;
  Timer delay_;
  std::thread thread_;
  std::shared_ptr<Job> job_;  // the thread's; null: none runs
  // What the thread posts may come after this object's end.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  Stats stats_;
};

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_UDP_CLEANUP_H_
