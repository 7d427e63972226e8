// SPDX-License-Identifier: Apache-2.0
// Standing beside kube-proxy's rules, and after them: which flows netfilter
// translates is told to the programs, until there is none (docs/design/
// takeover.md).
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_USERSPACE_AGENT_TAKEOVER_H_
#define FAIRLEAD_USERSPACE_AGENT_TAKEOVER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "bpf/abi/types.h"
#include "userspace/agent/kube_proxy_rules.h"
#include "userspace/agent/takeover_mode.h"
#include "userspace/base/event_loop.h"
#include "userspace/datapath/datapath.h"
#include "userspace/netlink/conntrack.h"

namespace fairlead::agent {

// Our table of nf_tables that keeps netfilter translating when kube-proxy's own
// is removed. Of an agent that has ended: a takeover isn't over.
inline constexpr char kHolderTable[] = "fairlead-takeover";
[[nodiscard]] absl::Status AddHolders();
[[nodiscard]] absl::Status DeleteHolders();

class Takeover {
 public:
  struct Stats {
    bool on = false;
    uint64_t flows = 0;  // of frontends, that netfilter translates
    uint64_t errors = 0;
  };

  // Looks for rules; with some, or with `mode` kOn, keeps netfilter translating
  // whatever happens to them. What can't be done is said in the log.
  [[nodiscard]] static std::unique_ptr<Takeover> Start(EventLoop* loop,
                                                       TakeoverMode mode);
  Takeover(const Takeover&) = delete;
  Takeover& operator=(const Takeover&) = delete;

  bool on() const { return stats_.on; }
  const KubeProxyRules& rules() const { return rules_; }
  const Stats& stats() const { return stats_; }

  struct World {
    datapath::Datapath* datapath = nullptr;  // outlives this
    std::function<bool(const IpAddress&)> is_local;
    // The last flow has ended, and the rules are gone: from now on() is false.
    std::function<void()> on_end;
  };
  // Tells the programs what there is now.
  void AttachTo(World world);
  // Frontends are in the kernel: looks again, and from then on by itself.
  void Published();
  // Looks once more, before something is published. Does nothing if it is off.
  void Refresh();

 private:
  explicit Takeover(EventLoop* loop, TakeoverMode mode)
      : loop_(loop), mode_(mode) {}
  absl::Status Begin();
  absl::Status Look();
  absl::Status FindFrontends();
  bool IsFrontend(const L4Address& address) const;
  void Schedule(absl::Duration took);
  void End();

  EventLoop* loop_;
  TakeoverMode mode_;
  KubeProxyRules rules_;
  Stats stats_;
  World world_;
  std::optional<netlink::Conntrack> conntrack_;
  bool published_ = false;
  absl::flat_hash_set<L4Address> frontends_;
  Timer timer_;
};

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_TAKEOVER_H_
