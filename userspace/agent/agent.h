// SPDX-License-Identifier: Apache-2.0
// The agent: Kubernetes API and netlink -> model -> reconcile -> kernel, and
// what it tells about itself.
//
// Threads: the event loop's only. Destroying it removes nothing from the
// kernel: traffic goes on.
#ifndef FAIRLEAD_USERSPACE_AGENT_AGENT_H_
#define FAIRLEAD_USERSPACE_AGENT_AGENT_H_

#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bpf/abi/types.h"
#include "userspace/agent/api_feeds.h"
#include "userspace/agent/apply_loop.h"
#include "userspace/agent/config.h"
#include "userspace/agent/devices.h"
#include "userspace/agent/health.h"
#include "userspace/agent/health_check_ports.h"
#include "userspace/agent/http_server.h"
#include "userspace/agent/no_local_endpoints.h"
#include "userspace/agent/takeover.h"
#include "userspace/agent/udp_cleanup.h"
#include "userspace/base/event_loop.h"
#include "userspace/datapath/datapath.h"
#include "userspace/datapath/root_lock.h"
#include "userspace/kube/client.h"
#include "userspace/kube/events.h"
#include "userspace/model/cluster.h"
#include "userspace/reconcile/reconciler.h"

namespace fairlead::agent {

class Agent {
 public:
  // Checks what the machine offers, loads the data path, begins to read back
  // what an earlier run left, listens. `loop` and `config` outlive the agent.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Agent>> Create(
      EventLoop* loop, const AgentConfig* config);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // Begins to follow the API.
  void Start();
  // What stopped the loop, if the agent did: the kernel's tables can't be read.
  const absl::Status& status() const { return status_; }

  Health health() const { return HealthOf(Facts()); }
  HttpReply Metrics() const;

  // ---- for the admin service ----

  const AgentConfig& config() const { return *config_; }
  const model::Cluster& cluster() const { return *cluster_; }
  // Waits until what an earlier run left is read.
  const reconcile::Reconciler& reconciler() const {
    if (restoring_.valid()) restoring_.wait();
    return *reconciler_;
  }
  const datapath::Inspector& inspector() const {
    return datapath_->inspector();
  }
  // That the programs have now.
  fl_config program_config() const { return DatapathOptions().config; }
  const datapath::PinLayout& layout() const { return datapath_->layout(); }
  const ApiFeeds& feeds() const { return *feeds_; }
  const ApplyLoop& apply_loop() const { return *apply_loop_; }
  const Devices& devices() const { return *devices_; }
  const HealthCheckPorts& health_check_ports() const {
    return *health_check_ports_;
  }
  absl::Time started() const { return started_; }
  struct StandingProblem {
    model::Problem problem;
    absl::Time since;
  };
  std::vector<StandingProblem> problems() const;

 private:
  Agent(EventLoop* loop, const AgentConfig* config);
  absl::Status Open();
  absl::Status OpenServers();
  void OpenModel();
  // Keeps a hand-over from beginning; an error if one is at work.
  absl::Status LockRoot();
  // Of the packet mark: the configured one, or, if kube-proxy's rules use that,
  // another.
  int MasqueradeBit() const;
  void AttachTakeover();
  // With the configuration of now, in place, over the same maps.
  absl::Status ReplacePrograms();
  // Again and again until it is done.
  void EndTakeover();
  void OnRestored();
  // Addresses or the Node changed.
  void RefreshNode();
  // After the programs have got other masquerade addresses.
  void EndOtherMasquerade();
  void SetNodePods();
  absl::StatusOr<std::vector<IpPrefix>> WantedServiceRanges() const;
  void SetServiceRanges();
  void ReportServiceRanges(datapath::ServiceRanges now);
  void OnChange();
  void OnApplied(const reconcile::ApplyResult& result);
  void ReportProblems();
  void ReportProblem(const model::Problem& problem);
  // kube-proxy's Event on the own Node, once the API server can be reached.
  void RecordStart();
  // An Event about an object that isn't as it should be.
  void RecordWarning(std::string_view kind, const std::string& key,
                     std::string_view reason, std::string_view text);
  HealthFacts Facts() const;
  // One of kube-proxy's names for paths; counted.
  HttpReply AnswerHealth(std::string_view path);
  // ... on the metrics port.
  HttpReply AnswerMetrics(std::string_view path);
  // Listens there. If it can't, an error only with bind_address_hard_fail;
  // else it says why, and goes on trying.
  absl::Status Listen(const SocketAddress& address, HttpServer::Answer answer,
                      std::unique_ptr<HttpServer>* server, Timer* retry);
  void ReportHealthCheckFailure(const std::string& service, Port port,
                                const absl::Status& status);
  void ReportUpgrade() const;
  datapath::Options DatapathOptions() const;
  // The node's own addresses, IPv4 first, as they are now.
  std::vector<IpAddress> CurrentNodeIps() const;

  EventLoop* loop_;
  const AgentConfig* config_;
  absl::Time started_;
  std::unique_ptr<kube::Transport> transport_;
  std::unique_ptr<kube::Client> client_;
  std::unique_ptr<kube::EventRecorder> events_;
  std::unique_ptr<Devices> devices_;
  // The first one: its maps are what the reconciler writes. A later one (with
  // other masquerade addresses) has the same maps and other programs.
  std::unique_ptr<datapath::Datapath> datapath_;
  std::unique_ptr<datapath::Datapath> replaced_programs_;
  std::optional<datapath::RootLock> root_lock_;
  std::unique_ptr<Takeover> takeover_;
  int masquerade_bit_ = kDefaultMasqueradeBit;
  std::unique_ptr<model::Cluster> cluster_;
  std::unique_ptr<reconcile::Reconciler> reconciler_;
  // The reconciler is this thread's until it has ended, then the loop's.
  std::future<absl::Status> restoring_;
  bool restored_ = false;
  absl::Status status_;
  std::unique_ptr<ApplyLoop> apply_loop_;
  std::unique_ptr<ApiFeeds> feeds_;
  std::unique_ptr<HealthCheckPorts> health_check_ports_;
  std::unique_ptr<UdpCleanup> udp_cleanup_;
  NoLocalEndpoints no_local_endpoints_;
  // What of the feeds' changes had been applied.
  uint64_t applied_service_changes_ = 0;
  uint64_t applied_endpoint_changes_ = 0;
  AnswerCounter healthz_answers_;
  AnswerCounter livez_answers_;
  std::unique_ptr<HttpServer> healthz_;
  std::unique_ptr<HttpServer> metrics_;
  Timer healthz_retry_;
  Timer metrics_retry_;
  Timer refresh_;
  Timer end_takeover_;
  Timer trim_;
  Timer node_wait_;
  bool waited_for_node_ = false;
  bool start_recorded_ = false;
  std::optional<kube::Node> node_;
  std::vector<IpAddress> node_ips_;
  // As the programs know them; nullopt: what the last run has left.
  std::optional<std::vector<IpPrefix>> node_pods_;
  // What the ServiceCIDR objects say; nullopt: not known yet.
  std::optional<std::vector<IpPrefix>> service_cidrs_;
  // As the programs know them.
  datapath::ServiceRanges service_ranges_;
  std::map<std::string, absl::Time> problem_times_;
  uint64_t problems_seen_ = 0;
};

// The programs' configuration.
fl_config MakeProgramConfig(const AgentConfig& config,
                            const std::vector<IpAddress>& node_ips);
// This process' resident memory.
uint64_t ResidentBytes();

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_AGENT_H_
