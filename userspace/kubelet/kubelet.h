// SPDX-License-Identifier: Apache-2.0
// The kubelet: which pods belong to this node, their addresses, the routes to
// other nodes; each pod itself is a PodWorker's.
//
// Threads: the event loop's only. Runs in the node's network namespace.
#ifndef FAIRLEAD_USERSPACE_KUBELET_KUBELET_H_
#define FAIRLEAD_USERSPACE_KUBELET_KUBELET_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/client.h"
#include "userspace/kube/events.h"
#include "userspace/kube/informer.h"
#include "userspace/kube/transport.h"
#include "userspace/kubelet/admission.h"
#include "userspace/kubelet/network/ip_pool.h"
#include "userspace/kubelet/node_agent.h"
#include "userspace/kubelet/options.h"
#include "userspace/kubelet/pod_worker.h"
#include "userspace/kubelet/runtime/pod_cgroups.h"
#include "userspace/kubelet/server/kubelet_server.h"
#include "userspace/kubelet/stats/sampler.h"

namespace fairlead::kubelet {

class Kubelet {
 public:
  // `loop` and `transport` outlive it.
  Kubelet(EventLoop* loop, kube::Transport* transport, Options options);
  ~Kubelet();

  // Checks what it stands on, takes over the pods of an earlier kubelet, and
  // begins. Errors say what is missing; nothing has been touched then.
  [[nodiscard]] absl::Status Start();

 private:
  absl::Status CheckMachine() const;
  // Opens the kubelet's own port; options_ learns which.
  absl::Status OpenServer();
  void RecoverPods();
  void RecoverPod(const PodDir& dir);
  void OnPod(const kube::Object& before, const kube::Object& after);
  void OnPodsSynced();
  PodWorker* AddWorker(const kube::Object& pod, PodSpec spec);
  void SweepLeftovers();
  void TellMissingControllers(const kube::Object& node);
  void OnNodes();
  void SetPodCidrs(const std::vector<IpPrefix>& cidrs);
  absl::StatusOr<std::vector<IpAddress>> AllocateIps();
  void ReleaseIps(const std::vector<IpAddress>& ips);
  void ApplyRoutes();
  void ScheduleHostPorts();
  void ApplyHostPorts();
  NodeOccupancy Occupancy() const;
  std::vector<SampledPod> PodsToSample() const;
  void Evict(const Threshold& threshold, int64_t available);
  PodWorker* FindPod(const std::string& ns, const std::string& name) const;

  EventLoop* loop_;
  Options options_;
  kube::Client client_;
  kube::EventRecorder events_;
  PodCgroups cgroups_;
  NodeAgent node_;
  kube::Informer pods_, nodes_, services_;
  std::map<std::string, std::unique_ptr<PodWorker>> workers_;  // by uid
  std::vector<std::unique_ptr<PodWorker>> graves_;  // destroyed on next turn
  Sampler sampler_;
  KubeletServer server_;
  std::vector<IpPool> pools_;
  bool synced_ = false, routes_scheduled_ = false;
  bool missing_told_ = false, ports_scheduled_ = false;
  std::optional<std::string> host_ports_;  // the rules that were made last
  Timer route_retry_, port_retry_, sweep_;
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_KUBELET_H_
