// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/agent.h"

#include <malloc.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/time/clock.h"
#include "userspace/agent/local_addresses.h"
#include "userspace/agent/status_pages.h"
#include "userspace/base/netns.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/version.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/masquerade.h"
#include "userspace/kube/http_transport.h"

namespace fairlead::agent {
namespace {

// For the own Node's list, after the others are there.
constexpr absl::Duration kNodeWait = absl::Seconds(2);
constexpr absl::Duration kTrimAgain = absl::Seconds(5);
// As kube-proxy does.
constexpr absl::Duration kListenRetry = absl::Seconds(5);

fl_pod_detection PodDetectionOf(PodDetection detection) {
  switch (detection) {
    case PodDetection::kClusterCidr:
      return FL_PODS_BY_ADDRESS;
    case PodDetection::kNodeCidr:
      return FL_PODS_BY_NODE;
    case PodDetection::kBridgeInterface:
    case PodDetection::kInterfaceNamePrefix:
      return FL_PODS_BY_DEVICE;
  }
  return FL_PODS_BY_ADDRESS;
}

datapath::TcMode TcModeOf(const std::string& text) {
  if (text == "tcx") return datapath::TcMode::kTcx;
  if (text == "clsact") return datapath::TcMode::kClsact;
  return datapath::TcMode::kAuto;
}

// Those that take NodePorts.
std::vector<IpAddress> NodePortAddresses(const model::NodeConfig& node) {
  std::vector<IpAddress> result;
  for (const model::NodeAddress& a : node.addresses) {
    if (a.node_port) result.push_back(a.address);
  }
  return result;
}

template <typename T>
std::string Join(const std::vector<T>& values) {
  std::string text;
  for (const T& value : values) {
    StrAppend(&text, text.empty() ? "" : ",", value.ToString());
  }
  return text;
}

}  // namespace

fl_config MakeProgramConfig(const AgentConfig& config,
                            const std::vector<IpAddress>& node_ips) {
  fl_config result = {};
  for (const IpPrefix& prefix : config.cluster_cidrs) {
    (prefix.family() == IpFamily::kIpv4 ? result.pods4 : result.pods6) =
        datapath::ToPrefix(prefix);
  }
  result.pod_detection = PodDetectionOf(config.pod_detection);
  result.host_netns = NetnsCookie().value_or(0);
  for (const IpAddress& address : node_ips) {
    (address.is_v4() ? result.masquerade4 : result.masquerade6) =
        reconcile::ToAbi(address);
  }
  result.node_port_min = config.node_ports.first;
  result.node_port_max = config.node_ports.last;
  result.source_port_min = config.masquerade_ports.first;
  result.source_port_max = config.masquerade_ports.last;
  result.event_sample = config.event_sample;
  return result;
}

uint64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

Agent::Agent(EventLoop* loop, const AgentConfig* config)
    : loop_(loop), config_(config), started_(absl::Now()) {}
Agent::~Agent() = default;

absl::StatusOr<std::unique_ptr<Agent>> Agent::Create(
    EventLoop* loop, const AgentConfig* config) {
  std::unique_ptr<Agent> agent(new Agent(loop, config));
  FL_RETURN_IF_ERROR(agent->Open());
  return agent;
}

absl::Status Agent::Open() {
  FL_ASSIGN_OR_RETURN(transport_,
                      kube::MakeHttpTransport(loop_, config_->api_server));
  client_ = std::make_unique<kube::Client>(transport_.get(), "fairlead-agent");
  events_ = std::make_unique<kube::EventRecorder>(
      loop_, client_.get(), "fairlead-agent", config_->node_name,
      kube::EventApi::kEvents);
  devices_ = std::make_unique<Devices>(loop_, config_, [this] {
    // Several come at once.
    if (!refresh_.pending()) {
      refresh_ = loop_->After(absl::Milliseconds(1), [this] { RefreshNode(); });
    }
  });
  FL_RETURN_IF_ERROR(devices_->Start());
  node_ips_ = CurrentNodeIps();
  takeover_ = Takeover::Start(loop_, config_->takeover);
  masquerade_bit_ = MasqueradeBit();
  FL_RETURN_IF_ERROR(LockRoot());
  FL_ASSIGN_OR_RETURN(datapath_,
                      datapath::Datapath::Open(DatapathOptions()));
  // At the first start there was nothing to lock.
  if (!root_lock_.has_value()) FL_RETURN_IF_ERROR(LockRoot());
  reconciler_ = std::make_unique<reconcile::Reconciler>(
      &datapath_->maps(), reconcile::ReconcilerOptions());
  // Meanwhile the API server is asked: a big cluster's lists take as long.
  restoring_ = std::async(std::launch::async, [this] {
    absl::Status status = reconciler_->Restore();
    loop_->Post([this] { OnRestored(); });
    return status;
  });
  SetNodePods();
  ReportUpgrade();
  SetServiceRanges();
  FL_ASSIGN_OR_RETURN(udp_cleanup_,
                      UdpCleanup::Open(loop_, datapath_->layout(),
                                       [this] { return node_ips_; }));
  OpenModel();
  AttachTakeover();
  FL_RETURN_IF_ERROR(OpenServers());
  devices_->AttachTo(datapath_.get());
  return absl::OkStatus();
}

void Agent::OnRestored() {
  status_ = restoring_.get();
  if (!status_.ok()) {
    loop_->Stop();
    return;
  }
  restored_ = true;
  reconcile::Reconciler::Stats found = reconciler_->stats();
  spdlog::info("msg=\"data path open\" restarted={} programs={} frontends={} "
               "backends={} node_ips={}",
               datapath_->restarted(),
               datapath_->kept_programs() ? "kept" : "loaded",
               found.frontends, found.backends, Join(node_ips_));
  OnChange();
}

void Agent::ReportUpgrade() const {
  const auto& upgrade = datapath_->upgrade();
  if (!upgrade.has_value()) return;
  spdlog::info("msg=\"took over from other maps\" from={} services={} "
               "backends={} flow_entries={} sockets={}",
               upgrade->from, upgrade->copied.services,
               upgrade->copied.backends, upgrade->copied.flow_entries,
               upgrade->copied.sockets);
  if (upgrade->status.ok()) return;
  spdlog::error("msg=\"could not take over all of what other maps hold, "
                "some connections through Services end\" from={} error=\"{}\"",
                upgrade->from, upgrade->status.ToString());
}

absl::Status Agent::LockRoot() {
  auto lock = datapath::RootLock::Take(config_->bpf_root,
                                       datapath::RootLock::Kind::kShared);
  if (absl::IsNotFound(lock.status())) return absl::OkStatus();
  if (absl::IsUnavailable(lock.status())) {
    return absl::UnavailableError(
        StrCat("fairlead-agent --hand-over is at work on ", config_->bpf_root,
               ": end it to keep this node"));
  }
  FL_RETURN_IF_ERROR(lock.status());
  root_lock_.emplace(*std::move(lock));
  return absl::OkStatus();
}

int Agent::MasqueradeBit() const {
  const int theirs = config_->kube_proxy_masquerade_bit;
  if (!takeover_->rules().any() || config_->masquerade_bit != theirs) {
    return config_->masquerade_bit;
  }
  const int other = theirs == kDefaultMasqueradeBit ? kKubeProxyMasqueradeBit
                                                    : kDefaultMasqueradeBit;
  spdlog::warn("msg=\"kube-proxy's rules masquerade what has this bit of the "
               "mark, another one is used\" masquerade_bit={} used={}",
               theirs, other);
  return other;
}

void Agent::AttachTakeover() {
  takeover_->AttachTo(
      {.datapath = datapath_.get(),
       .is_local =
           [this](const IpAddress& address) {
             return address.is_loopback() ||
                    std::any_of(devices_->addresses().begin(),
                                devices_->addresses().end(),
                                [&](const netlink::LinkAddress& own) {
                                  return own.address == address;
                                });
           },
       .on_end = [this] { EndTakeover(); }});
}

absl::Status Agent::ReplacePrograms() {
  FL_ASSIGN_OR_RETURN(replaced_programs_,
                      datapath::Datapath::Open(DatapathOptions()));
  devices_->AttachTo(replaced_programs_.get());
  return absl::OkStatus();
}

void Agent::EndTakeover() {
  absl::Status status = ReplacePrograms();
  if (status.ok()) return;
  spdlog::error("msg=\"cannot replace the programs\" error=\"{}\"",
                status.ToString());
  end_takeover_ = loop_->After(absl::Seconds(5), [this] { EndTakeover(); });
}

datapath::Options Agent::DatapathOptions() const {
  datapath::Options options;
  options.pin_root = config_->bpf_root;
  options.cgroup_root = config_->cgroup_root;
  options.config = MakeProgramConfig(*config_, node_ips_);
  options.config.mark = 1u << masquerade_bit_;
  options.config.takeover = takeover_->on();
  options.sizes = config_->map_sizes;
  options.tc_mode = TcModeOf(config_->tc_mode);
  return options;
}

std::vector<IpAddress> Agent::CurrentNodeIps() const {
  std::vector<IpAddress> none;
  std::vector<IpAddress> result;
  for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
    std::optional<IpAddress> ip =
        NodeIp(family, *config_, node_ ? node_->internal_ips : none,
               PrimaryAddress(family), devices_->own_addresses());
    if (ip.has_value()) result.push_back(*ip);
  }
  return result;
}

void Agent::OpenModel() {
  model::NodeConfig node;
  node.name = config_->node_name;
  node.masquerade_all = config_->masquerade_all;
  node.detects_pods = config_->detects_pods();
  node.primary = node_ips_;
  node.addresses = NodeAddresses(*config_, devices_->own_addresses(), node_ips_);
  cluster_ = std::make_unique<model::Cluster>(std::move(node));
  apply_loop_ = std::make_unique<ApplyLoop>(
      loop_, cluster_.get(), reconciler_.get(), ApplyLoopOptions(),
      [this](const reconcile::ApplyResult& result) { OnApplied(result); });
  health_check_ports_ = std::make_unique<HealthCheckPorts>(
      loop_, [this] { return health().healthy; },
      [this](const std::string& service, Port port,
             const absl::Status& status) {
        ReportHealthCheckFailure(service, port, status);
      });
  health_check_ports_->SetAddresses(NodePortAddresses(cluster_->node()));
  ApiFeedsCallbacks callbacks;
  callbacks.on_change = [this] { OnChange(); };
  callbacks.on_endpoints_changed = [this](absl::Time when) {
    apply_loop_->EndpointsChanged(when);
  };
  callbacks.on_node = [this](const std::optional<kube::Node>& found) {
    node_ = found;
    RefreshNode();
  };
  callbacks.on_service_cidrs = [this](std::vector<IpPrefix> ranges) {
    service_cidrs_ = std::move(ranges);
    SetServiceRanges();
  };
  callbacks.on_connection = [](const absl::Status& status) {
    if (status.ok()) {
      spdlog::info("msg=\"connected to the API server\"");
    } else {
      spdlog::warn("msg=\"not connected to the API server\" error=\"{}\"",
                   status.ToString());
    }
  };
  feeds_ = std::make_unique<ApiFeeds>(loop_, transport_.get(),
                                      config_->node_name, cluster_.get(),
                                      std::move(callbacks));
}

absl::Status Agent::Listen(const SocketAddress& address,
                           HttpServer::Answer answer,
                           std::unique_ptr<HttpServer>* server, Timer* retry) {
  auto listening = HttpServer::Listen(loop_, address, answer);
  if (listening.ok()) {
    *server = *std::move(listening);
    return absl::OkStatus();
  }
  if (config_->bind_address_hard_fail) return listening.status();
  spdlog::error("msg=\"cannot listen, will try again\" address={} error=\"{}\"",
                ToText(address), listening.status().ToString());
  *retry = loop_->After(kListenRetry, [=, this, answer = std::move(answer)] {
    (void)Listen(address, answer, server, retry);
  });
  return absl::OkStatus();
}

absl::Status Agent::OpenServers() {
  if (config_->healthz.has_value()) {
    FL_RETURN_IF_ERROR(Listen(
        *config_->healthz,
        [this](std::string_view path) { return AnswerHealth(path); },
        &healthz_, &healthz_retry_));
  }
  if (!config_->metrics.has_value()) return absl::OkStatus();
  return Listen(
      *config_->metrics,
      [this](std::string_view path) { return AnswerMetrics(path); }, &metrics_,
      &metrics_retry_);
}

HttpReply Agent::AnswerMetrics(std::string_view path) {
  if (path == "/metrics") return Metrics();
  if (path == "/healthz") return HealthzReply(Facts());
  if (path == "/livez") return LivezReply(Facts());
  if (path == "/proxyMode") {
    return {.content_type = "text/plain", .body = kProxyMode};
  }
  if (path == "/configz") return ConfigzReply(*config_);
  if (path == "/flagz") return FlagzReply(*config_);
  if (path == "/statusz") {
    return StatuszReply(started_, absl::Now(), kVersion);
  }
  return {.status = 404};
}

void Agent::Start() { feeds_->Start(); }

void Agent::SetNodePods() {
  std::vector<IpPrefix> pods = config_->node_pod_cidrs;
  if (config_->node_pods_from_api) {
    // Until the Node has been read, what the last run knew.
    if (!node_.has_value()) return;
    pods = node_->pod_cidrs;
  }
  if (pods == node_pods_) return;
  absl::Status status = datapath_->SetNodePods(pods);
  if (status.ok()) {
    node_pods_ = std::move(pods);
  } else {
    spdlog::error("msg=\"cannot tell the programs this node's pod ranges\" "
                  "error=\"{}\"", status.ToString());
  }
}

// The objects say it, as to kube-proxy; the flag where there are none. Until one
// or the other is known, what the last run knew.
absl::StatusOr<std::vector<IpPrefix>> Agent::WantedServiceRanges() const {
  if (!service_cidrs_.has_value()) {
    FL_ASSIGN_OR_RETURN(std::vector<IpPrefix> last, datapath_->ServiceRanges());
    if (!last.empty()) return last;
  } else if (!service_cidrs_->empty()) {
    return *service_cidrs_;
  }
  return config_->service_cidrs;
}

void Agent::SetServiceRanges() {
  absl::StatusOr<std::vector<IpPrefix>> wanted = WantedServiceRanges();
  absl::Status status = wanted.status();
  if (status.ok()) {
    datapath::ServiceRanges ranges =
        datapath::ChooseServiceRanges(*std::move(wanted));
    status = datapath_->SetServiceRanges(ranges.used);
    if (status.ok()) ReportServiceRanges(std::move(ranges));
  }
  if (!status.ok()) {
    spdlog::error("msg=\"cannot tell the programs the services' ranges\" "
                  "error=\"{}\"", status.ToString());
  }
}

void Agent::ReportServiceRanges(datapath::ServiceRanges now) {
  if (now.used != service_ranges_.used) {
    spdlog::info("msg=\"service ranges\" before={} now={}",
                 Join(service_ranges_.used), Join(now.used));
  }
  if (!now.left_out.empty() && now.left_out != service_ranges_.left_out) {
    spdlog::warn("msg=\"more ServiceCIDRs than programs have room for: strays "
                 "in some are neither refused nor dropped\" most={} "
                 "left_out={}",
                 FL_SERVICE_RANGES, Join(now.left_out));
  }
  service_ranges_ = std::move(now);
}

void Agent::EndOtherMasquerade() {
  absl::StatusOr<uint64_t> removed = absl::OkStatus();
  auto flows = datapath::FlowTable::Open(datapath_->layout());
  removed = flows.ok() ? datapath::RemoveMasqueraded(&*flows, node_ips_)
                       : flows.status();
  if (removed.ok()) {
    spdlog::info("msg=\"flows of the old addresses ended\" flows={}",
                 *removed);
  } else {
    spdlog::error("msg=\"cannot end the flows of the old addresses\" "
                  "error=\"{}\"", removed.status().ToString());
  }
}

void Agent::RefreshNode() {
  SetNodePods();
  std::vector<IpAddress> node_ips = CurrentNodeIps();
  if (node_ips != node_ips_) {
    spdlog::info("msg=\"node addresses changed\" before={} now={}",
                 Join(node_ips_), Join(node_ips));
    std::vector<IpAddress> before = std::exchange(node_ips_, node_ips);
    // The programs hold the masquerade addresses.
    absl::Status status = ReplacePrograms();
    if (status.ok()) {
      EndOtherMasquerade();
    } else {
      spdlog::error("msg=\"cannot replace the programs\" error=\"{}\"",
                    status.ToString());
      node_ips_ = std::move(before);
      refresh_ = loop_->After(absl::Seconds(5), [this] { RefreshNode(); });
    }
  }
  model::NodeConfig node = cluster_->node();
  node.addresses = NodeAddresses(*config_, devices_->own_addresses(), node_ips_);
  node.primary = node_ips_;
  if (node_.has_value()) node.zone = node_->zone;
  if (node == cluster_->node()) return;
  health_check_ports_->SetAddresses(NodePortAddresses(node));
  cluster_->SetNode(std::move(node));
  OnChange();
}

void Agent::OnChange() {
  if (!apply_loop_->is_open() && restored_ && feeds_ != nullptr &&
      feeds_->synced()) {
    // A Node's zone decides on topology hints: worth a short wait.
    if (feeds_->node_synced() || waited_for_node_) {
      takeover_->Refresh();
      apply_loop_->Open();
      RecordStart();
    } else if (!node_wait_.pending()) {
      node_wait_ = loop_->After(kNodeWait, [this] {
        waited_for_node_ = true;
        OnChange();
      });
    }
  }
  apply_loop_->Changed();
  // A bad object leaves its Service as it was: there is nothing to apply.
  if (!cluster_->has_dirty()) ReportProblems();
}

// Its uid is its name, as the kubelet's and kube-proxy's have it: that is what
// people look for who describe a Node.
void Agent::RecordStart() {
  if (std::exchange(start_recorded_, true)) return;
  events_->Record({{"apiVersion", "v1"},
                   {"kind", "Node"},
                   {"name", config_->node_name},
                   {"uid", config_->node_name}},
                  kube::EventType::kNormal, "Starting", "", "StartKubeProxy");
}

void Agent::OnApplied(const reconcile::ApplyResult& result) {
  const ApplyLoop::Stats& stats = apply_loop_->stats();
  if (stats.applies == 1) {
    spdlog::info("msg=\"first sync\" services={} frontends={} operations={} "
                 "failures={} ms={:.2f}",
                 cluster_->service_count(), reconciler_->stats().frontends,
                 result.operations, result.failures.size(),
                 stats.duration.sum() * 1e3);
    // What reading the lists left behind: now, and what the connections and
    // the deferred work of the first seconds have.
    malloc_trim(0);
    trim_ = loop_->After(kTrimAgain, [] { malloc_trim(0); });
  } else {
    spdlog::debug("msg=\"applied\" services={} operations={}",
                  result.services.size(), result.operations);
  }
  // The first few: thousands may have one reason.
  size_t shown = 0;
  bool full = false;
  for (const auto& failure : result.failures) {
    full |= absl::IsResourceExhausted(failure.status);
    if (++shown > 3) continue;
    spdlog::error("msg=\"cannot apply\" service={} failed={} error=\"{}\"",
                  failure.service, result.failures.size(),
                  failure.status.ToString());
  }
  if (full) {
    spdlog::error("msg=\"a map is full: restart the agent with more room in it "
                  "(--map-size)\" sizes=\"{}\"",
                  datapath::ToText(config_->map_sizes));
  }
  takeover_->Published();
  udp_cleanup_->Applied(result.services, *cluster_);
  for (const std::string& service : result.services) {
    health_check_ports_->Update(service, cluster_->HealthCheckOf(service));
    const kube::Service* found = cluster_->FindService(service);
    const bool local = found != nullptr &&
                       (found->internal_local || found->external_local);
    no_local_endpoints_.Update(
        service, local ? cluster_->Desired(service) : model::DesiredService());
  }
  applied_service_changes_ = feeds_->service_changes();
  applied_endpoint_changes_ = feeds_->endpoint_changes();
  ReportProblems();
}

void Agent::ReportProblems() {
  for (const model::Problem& problem : cluster_->TakeNewProblems()) {
    ++problems_seen_;
    // Only for display; a cluster that is that broken loses old times.
    if (problem_times_.size() > 10000) problem_times_.clear();
    problem_times_[StrCat(problem.object, "\n", problem.text)] = absl::Now();
    ReportProblem(problem);
  }
}

void Agent::ReportProblem(const model::Problem& problem) {
  std::string_view reason = model::ProblemReason(problem.kind);
  spdlog::warn("msg=\"object not usable\" reason={} object={} service={} "
               "error=\"{}\"",
               reason, problem.object, problem.service, problem.text);
  bool slice = problem.kind == model::Problem::Kind::kBadEndpointSlice;
  RecordWarning(slice ? "EndpointSlice" : "Service", problem.object, reason,
                problem.text);
}

void Agent::RecordWarning(std::string_view kind, const std::string& key,
                          std::string_view reason, std::string_view text) {
  size_t slash = key.find('/');
  if (slash == std::string::npos) return;
  bool slice = kind == "EndpointSlice";
  nlohmann::json about = {
      {"kind", std::string(kind)},
      {"apiVersion", slice ? "discovery.k8s.io/v1" : "v1"},
      {"namespace", key.substr(0, slash)},
      {"name", key.substr(slash + 1)}};
  const kube::Service* service = cluster_->FindService(key);
  if (!slice && service != nullptr) about["uid"] = service->meta.uid;
  events_->Record(about, kube::EventType::kWarning, reason, text);
}

std::vector<Agent::StandingProblem> Agent::problems() const {
  std::vector<StandingProblem> result;
  for (model::Problem& problem : cluster_->problems()) {
    auto it = problem_times_.find(StrCat(problem.object, "\n", problem.text));
    absl::Time since = it == problem_times_.end() ? absl::Now() : it->second;
    result.push_back({std::move(problem), since});
  }
  return result;
}

HealthFacts Agent::Facts() const {
  const ApplyLoop::Stats& stats = apply_loop_->stats();
  HealthFacts facts;
  facts.synced = stats.applies > 0;
  facts.waiting = apply_loop_->waiting();
  facts.failed_services = stats.failed;
  facts.last_updated = stats.last_applied.value_or(absl::UnixEpoch());
  facts.now = absl::Now();
  facts.node_eligible = !node_.has_value() || IsEligible(*node_);
  facts.api_server = feeds_->connection();
  return facts;
}

HttpReply Agent::AnswerHealth(std::string_view path) {
  bool live = path == "/livez";
  if (!live && path != "/healthz") return HttpReply{.status = 404};
  HttpReply reply = live ? LivezReply(Facts()) : HealthzReply(Facts());
  (live ? livez_answers_ : healthz_answers_).Count(reply);
  return reply;
}

void Agent::ReportHealthCheckFailure(const std::string& service, Port port,
                                     const absl::Status& status) {
  std::string text = StrCat("node ", config_->node_name,
                            " failed to start healthcheck \"", service,
                            "\" on port ", port, ": ", Std(status.message()));
  spdlog::error("msg=\"cannot listen for a health check\" service={} port={} "
                "error=\"{}\"",
                service, port, status.ToString());
  RecordWarning("Service", service, "FailedToStartServiceHealthcheck", text);
}

}  // namespace fairlead::agent
