// SPDX-License-Identifier: Apache-2.0
// Keeps this node's Node and Lease objects alive: registers, posts the status
// when it changes and at least every five minutes, renews the lease.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_USERSPACE_KUBELET_NODE_AGENT_H_
#define FAIRLEAD_USERSPACE_KUBELET_NODE_AGENT_H_

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/client.h"
#include "userspace/kube/informer.h"
#include "userspace/kubelet/node_status.h"
#include "userspace/kubelet/options.h"
#include "userspace/kubelet/resources.h"
#include "userspace/kubelet/stats/pressure.h"

namespace fairlead::kubelet {

class NodeAgent {
 public:
  // Pointers outlive it.
  NodeAgent(EventLoop* loop, kube::Client* client, const Options* options);
  ~NodeAgent();

  // Reads the machine; pods may be taken over before Start.
  void LookAtMachine() { machine_ = ReadMachine(options_->root_dir); }
  void Start();
  // What the API holds now; null: nothing.
  void OnNode(const kube::Object& node);
  // After LookAtMachine.
  ResourceAmounts Allocatable() const;
  // As the conditions have it.
  const Shortages& shortages() const { return machine_.shortages; }
  // Runs when a look at the machine finds less memory than --eviction-hard
  // leaves to it; `available` in bytes.
  using OnMemoryShort =
      std::function<void(const Threshold& threshold, int64_t available)>;
  void SetOnMemoryShort(OnMemoryShort fn) { on_memory_short_ = std::move(fn); }
  // Empty: pods can run.
  void SetNotReady(std::string why);

 private:
  void Register();
  void PostStatus();
  void LookForShortages();
  void RenewLease();
  void CreateLease();
  void Again(absl::Duration delay, Timer* timer, void (NodeAgent::*what)());
  void Drop(std::unique_ptr<kube::Call> call);

  EventLoop* loop_;
  kube::Client* client_;
  const Options* options_;
  Machine machine_;
  Pressure pressure_;
  OnMemoryShort on_memory_short_;
  kube::Object node_;
  bool registered_ = false;
  bool lease_failing_ = false;
  std::string not_ready_ = "container network is not ready: no pod CIDR yet";
  nlohmann::json sent_;
  absl::Time posted_ = absl::InfinitePast();
  absl::Time looked_ = absl::InfinitePast();  // for shortages
  std::unique_ptr<kube::Call> node_call_, lease_call_;
  Timer node_timer_, lease_timer_;
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_NODE_AGENT_H_
