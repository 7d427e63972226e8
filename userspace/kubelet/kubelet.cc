// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/kubelet.h"

#include <net/if.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "absl/strings/str_join.h"
#include "userspace/base/mounts.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"
#include "userspace/kubelet/network/node_routes.h"
#include "userspace/kubelet/network/pod_network.h"
#include "userspace/kubelet/runtime/cgroup.h"
#include "userspace/kubelet/service_env.h"
#include "userspace/netlink/netlink_socket.h"
#include "userspace/netlink/nft.h"

namespace fairlead::kubelet {
namespace {

kube::ReflectorOptions PodsOf(const std::string& node) {
  kube::ReflectorOptions options;
  options.resource = kube::Pods();
  options.field_selector = "spec.nodeName=" + node;
  options.user_agent = "fairlead-kubelet";
  return options;
}

constexpr char kByNamespace[] = "namespace";

kube::ReflectorOptions All(const kube::Resource& resource) {
  kube::ReflectorOptions options;
  options.resource = resource;
  options.user_agent = "fairlead-kubelet";
  return options;
}

NodeNetwork NetworkOf(const Json& node) {
  NodeNetwork network;
  network.name = StringAt(node, {"metadata", "name"});
  for (const Json& a : At(node, {"status", "addresses"})) {
    if (StringAt(a, {"type"}) != "InternalIP") continue;
    const auto ip = IpAddress::Parse(StringAt(a, {"address"}));
    if (ip.ok()) network.internal_ips.push_back(*ip);
  }
  std::vector<std::string> cidrs;
  for (const Json& c : At(node, {"spec", "podCIDRs"})) {
    if (c.is_string()) cidrs.push_back(c.get<std::string>());
  }
  if (cidrs.empty()) cidrs.push_back(StringAt(node, {"spec", "podCIDR"}));
  for (const std::string& text : cidrs) {
    const auto prefix = IpPrefix::Parse(text, /*mask_host_bits=*/true);
    if (prefix.ok()) network.pod_cidrs.push_back(*prefix);
  }
  return network;
}

}  // namespace

Kubelet::Kubelet(EventLoop* loop, kube::Transport* transport, Options options)
    : loop_(loop),
      options_(std::move(options)),
      client_(transport, "kubelet/fairlead"),
      events_(loop, &client_, "kubelet", options_.node_name),
      cgroups_(options_.cgroup_root, FindMount("cgroup2").value_or(""),
               CgroupV1Mounts()),
      node_(loop, &client_, &options_),
      pods_(loop, transport, PodsOf(options_.node_name)),
      nodes_(loop, transport, All(kube::Nodes())),
      services_(loop, transport, All(kube::Services())),
      sampler_(loop, options_.node_name, [this] { return PodsToSample(); }),
      server_(loop, [this](const std::string& ns, const std::string& name) {
        return FindPod(ns, name);
      }, [this] { return sampler_.Look(); }) {}

Kubelet::~Kubelet() = default;

absl::Status Kubelet::CheckMachine() const {
  if (geteuid() != 0) {
    return absl::PermissionDeniedError(
        "the kubelet makes namespaces and devices: run it as root");
  }
  FL_RETURN_IF_ERROR(CheckCgroupRoot(options_.cgroup_root));
  if (access(options_.shim.c_str(), X_OK) != 0) {
    return absl::NotFoundError(
        StrCat("no program ", options_.shim,
               " (it belongs beside fairlead-kubelet; --shim names it)"));
  }
  if (!options_.uplink.empty() &&
      if_nametoindex(options_.uplink.c_str()) == 0) {
    return absl::NotFoundError(
        StrCat("no device ", options_.uplink, " here (--uplink); `ip link` "
               "shows those of this network namespace"));
  }
  FL_ASSIGN_OR_RETURN(auto socket, netlink::NetlinkSocket::Open());
  FL_ASSIGN_OR_RETURN(const auto addresses, socket.ListAddresses());
  for (const IpAddress& ip : options_.node_ips) {
    if (std::none_of(addresses.begin(), addresses.end(),
                     [&](const auto& a) { return a.address == ip; })) {
      return absl::NotFoundError(
          StrCat(ip.ToString(), " is no address of this network namespace "
                 "(--node-ip)"));
    }
  }
  return absl::OkStatus();
}

absl::Status Kubelet::Start() {
  FL_RETURN_IF_ERROR(CheckMachine());
  // First: a second kubelet on this node ends here.
  FL_RETURN_IF_ERROR(OpenServer());
  FL_RETURN_IF_ERROR(PrepareNode());
  FL_RETURN_IF_ERROR(cgroups_.Prepare());
  std::error_code error;
  std::filesystem::create_directories(options_.PodsDir(), error);
  std::filesystem::create_directories(options_.netns_dir, error);
  if (error) return ErrnoStatus(error.value(), "make directories");
  if (!options_.pod_cidrs.empty()) SetPodCidrs(options_.pod_cidrs);
  node_.LookAtMachine();
  RecoverPods();
  ScheduleHostPorts();
  pods_.Subscribe([this](const kube::Object& before,
                         const kube::Object& after) { OnPod(before, after); });
  pods_.OnSynced([this] { OnPodsSynced(); });
  nodes_.Subscribe([this](const kube::Object& before,
                          const kube::Object& after) {
    const kube::Object& node = after != nullptr ? after : before;
    if (StringAt(*node, {"metadata", "name"}) == options_.node_name)
      node_.OnNode(after);
    OnNodes();
  });
  node_.Start();
  sampler_.Start();
  pods_.Start();
  nodes_.Start();
  services_.AddIndex(kByNamespace, [](const Json& service) {
    return std::vector{StringAt(service, {"metadata", "namespace"})};
  });
  services_.OnSynced([this] {
    for (const auto& [uid, worker] : workers_) worker->ScheduleSync();
  });
  services_.Start();
  node_.SetOnMemoryShort([this](const Threshold& threshold,
                                int64_t available) {
    Evict(threshold, available);
  });
  return absl::OkStatus();
}

absl::Status Kubelet::OpenServer() {
  std::optional<ServingTls> tls;
  if (options_.tls.complete()) {
    FL_ASSIGN_OR_RETURN(tls, ServingTls::Open(options_.tls));
  }
  const IpAddress& node_ip = options_.node_ips.front();
  const IpAddress loopback =
      *IpAddress::Parse(node_ip.is_v4() ? "127.0.0.1" : "::1");
  const IpAddress address =
      options_.address.value_or(tls ? node_ip : loopback);
  if (!tls) {
    spdlog::warn(
        "the kubelet's server on {} has no TLS (--tls-cert-file, "
        "--tls-private-key-file, --client-ca-file): whoever reaches it runs "
        "commands in this node's containers{}",
        address.ToString(),
        options_.address ? ""
                         : "; the API server doesn't, so that kubectl logs "
                           "and exec fail");
  }
  FL_RETURN_IF_ERROR(server_.Listen(address, options_.port, std::move(tls)));
  options_.port = server_.port();
  return absl::OkStatus();
}

PodWorker* Kubelet::AddWorker(const kube::Object& pod, PodSpec spec) {
  const std::string uid = spec.uid;
  NodeServices services{
      .loop = loop_,
      .client = &client_,
      .events = &events_,
      .options = &options_,
      .cgroups = &cgroups_,
      .allocatable = node_.Allocatable(),
      .service_variables =
          [this](const PodSpec& pod)
          -> std::optional<std::vector<std::pair<std::string, std::string>>> {
        if (!services_.has_synced()) return std::nullopt;
        std::vector<kube::Object> services;
        if (pod.service_links)
          services = services_.ByIndex(kByNamespace, pod.ns);
        if (const auto api = services_.Get("default/kubernetes");
            api != nullptr && (!pod.service_links || pod.ns != "default")) {
          services.push_back(api);
        }
        return ServiceVariables(services);
      },
      .allocate_ips = [this] { return AllocateIps(); },
      .release_ips = [this](const auto& ips) { ReleaseIps(ips); },
      .on_network = [this] { ScheduleHostPorts(); },
      .on_gone =
          [this](const std::string& gone) {
            auto node = workers_.extract(gone);
            if (node.empty()) return;
            // Not destroyed here: this is its own call.
            graves_.push_back(std::move(node.mapped()));
            loop_->Post([this] { graves_.clear(); });
          }};
  auto worker =
      std::make_unique<PodWorker>(services, pod, std::move(spec));
  return (workers_[uid] = std::move(worker)).get();
}

// Pods run on without the API: what is on disk is enough to go on with.
void Kubelet::RecoverPods() {
  for (const PodDir& dir : ListPodDirs(options_.PodsDir())) RecoverPod(dir);
  if (!workers_.empty())
    spdlog::info("pods taken over count={}", workers_.size());
}

void Kubelet::RecoverPod(const PodDir& dir) {
  const auto text = dir.LoadManifest();
  Json pod = text.ok() ? Json::parse(*text, nullptr, false) : Json();
  auto spec = DecodePod(pod);
  if (!spec.ok()) {
    // What it may have in the kernel besides is swept away later.
    absl::Status status = PodVolumes::Remove(dir.path());
    status.Update(RemoveNamespaces(
        {.ipc = dir.NamespacePath("ipc"), .uts = dir.NamespacePath("uts")}));
    status.Update(dir.Remove());
    spdlog::warn("pod directory without a manifest removed path={} result={}",
                 dir.path(), status.ToString());
    return;
  }
  PodWorker* worker =
      AddWorker(std::make_shared<const Json>(std::move(pod)), *spec);
  worker->Recover();
  for (const IpAddress& ip : worker->ips()) {
    for (IpPool& pool : pools_) (void)pool.Take(ip);
  }
}

// The one that the API has by that name; an earlier one of the same name may
// still be ending.
PodWorker* Kubelet::FindPod(const std::string& ns,
                            const std::string& name) const {
  PodWorker* found = nullptr;
  for (const auto& [uid, worker] : workers_) {
    if (worker->spec().ns != ns || worker->spec().name != name) continue;
    if (found == nullptr || !worker->removed()) found = worker.get();
  }
  return found;
}

std::vector<SampledPod> Kubelet::PodsToSample() const {
  std::vector<SampledPod> pods;
  for (const auto& [uid, worker] : workers_) {
    if (worker->finished()) continue;
    const PodSpec& spec = worker->spec();
    SampledPod pod{.stats = {.ns = spec.ns,
                             .name = spec.name,
                             .uid = uid,
                             .started = worker->view().start_time,
                             .containers = {}},
                   .cgroup = cgroups_.Pod(uid),
                   .v1_memory = cgroups_.MemoryOf(uid)};
    for (const auto& [name, view] : worker->view().containers) {
      if (!view.run || view.run->state != ContainerRun::State::kRunning)
        continue;
      ContainerStats& container = pod.stats.containers.emplace_back();
      container.name = name;
      container.sample.started = view.run->started;
    }
    pods.push_back(std::move(pod));
  }
  return pods;
}

// One pod at a time: its end may be enough.
void Kubelet::Evict(const Threshold& threshold, int64_t available) {
  std::vector<EvictionCandidate> candidates;
  for (const PodStats& pod : sampler_.Look().pods) {
    const auto it = workers_.find(pod.uid);
    if (it == workers_.end()) continue;
    const PodSpec& spec = it->second->spec();
    if (it->second->stopping()) return;
    EvictionCandidate candidate{.uid = pod.uid, .priority = spec.priority};
    for (const ContainerStats& c : pod.containers)
      candidate.usage += c.sample.usage.working_set;
    for (const ContainerSpec& c : spec.containers) {
      const auto request = c.resources.requests.find("memory");
      if (request != c.resources.requests.end())
        candidate.request += request->second.value();
    }
    candidates.push_back(std::move(candidate));
  }
  const EvictionCandidate* victim = ChooseVictim(candidates);
  if (victim == nullptr) return;
  spdlog::warn("pod evicted uid={} memory_available={} memory_used={}",
               victim->uid, available, victim->usage);
  workers_.at(victim->uid)
      ->Evict(StrCat("The node was low on resource: memory. Threshold "
                     "quantity: ", threshold.text, ", available: ",
                     available / 1024, "Ki. "));
}

NodeOccupancy Kubelet::Occupancy() const {
  NodeOccupancy node{.max_pods = options_.max_pods,
                     .host_ports = {},
                     .shortages = node_.shortages()};
  for (const auto& [uid, worker] : workers_) {
    if (worker->finished()) continue;
    ++node.pods;
    const auto& ports = worker->spec().host_ports;
    node.host_ports.insert(node.host_ports.end(), ports.begin(), ports.end());
  }
  return node;
}

void Kubelet::OnPod(const kube::Object& before, const kube::Object& after) {
  const std::string old_uid =
      before != nullptr ? StringAt(*before, {"metadata", "uid"}) : "";
  const std::string uid =
      after != nullptr ? StringAt(*after, {"metadata", "uid"}) : "";
  if (!old_uid.empty() && old_uid != uid) {
    const auto it = workers_.find(old_uid);
    if (it != workers_.end()) it->second->Remove();
  }
  if (after == nullptr) return;
  auto spec = DecodePod(*after);
  if (!spec.ok()) {
    spdlog::warn("pod can't be used key={} error=\"{}\"", kube::KeyOf(*after),
                 spec.status().ToString());
    return;
  }
  if (const auto it = workers_.find(uid); it != workers_.end()) {
    it->second->Update(after, *std::move(spec));
    return;
  }
  const std::string phase = StringAt(*after, {"status", "phase"});
  // Over already, and nothing of it is here: there is nothing to do but to
  // let it go when it is deleted.
  const bool over = phase == "Succeeded" || phase == "Failed";
  if (over && !spec->deletion_deadline) return;
  const bool deleted = spec->deletion_deadline.has_value();
  const auto refusal = RefusalOf(*spec, Occupancy());
  PodWorker* worker = AddWorker(after, *std::move(spec));
  if (over && deleted) worker->ReleaseOnly();
  if (refusal && !deleted) worker->Reject(refusal->reason, refusal->message);
}

void Kubelet::ScheduleHostPorts() {
  if (ports_scheduled_) return;
  ports_scheduled_ = true;
  loop_->Post([this] {
    ports_scheduled_ = false;
    ApplyHostPorts();
  });
}

void Kubelet::ApplyHostPorts() {
  std::vector<PodPorts> pods;
  for (const auto& [uid, worker] : workers_) {
    PodPorts ports = worker->OpenPorts();
    if (!ports.ports.empty()) pods.push_back(std::move(ports));
  }
  const std::string rules = FormatHostPorts(pods);
  if (rules == host_ports_) return;
  // A node without such pods needs no packet filter.
  if (pods.empty() && !host_ports_ &&
      !netlink::HasNftTable("inet", kHostPortTable)) {
    return;
  }
  const absl::Status status =
      kubelet::ApplyHostPorts(pods, options_.node_ips);
  if (status.ok()) {
    host_ports_ = rules;
    return;
  }
  spdlog::warn("ports of the node not set error=\"{}\"", status.ToString());
  port_retry_ = loop_->After(absl::Seconds(2), [this] { ApplyHostPorts(); });
}

void Kubelet::OnPodsSynced() {
  if (synced_) return;
  synced_ = true;
  std::set<std::string> known;
  pods_.ForEach([&](const kube::Object& pod) {
    known.insert(StringAt(*pod, {"metadata", "uid"}));
  });
  for (const auto& [uid, worker] : workers_) {
    if (!known.contains(uid)) worker->Remove();
  }
  SweepLeftovers();
}

// What an earlier kubelet left in the kernel and no pod's directory tells of.
void Kubelet::SweepLeftovers() {
  std::set<std::string> veths;
  for (const auto& [uid, worker] : workers_) veths.insert(VethName(uid));
  absl::Status status;
  bool again = false;
  const auto links = ListPodVeths();
  auto socket = netlink::NetlinkSocket::Open();
  if (links.ok() && socket.ok()) {
    for (const std::string& name : *links) {
      if (!veths.contains(name)) status.Update(socket->DeleteLink(name));
    }
  }
  for (const std::string& uid : cgroups_.List()) {
    if (!workers_.contains(uid)) again = !cgroups_.Remove(uid).ok() || again;
  }
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(options_.netns_dir, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(options_.netns_prefix) ||
        workers_.contains(name.substr(options_.netns_prefix.size()))) {
      continue;
    }
    status.Update(RemoveNamespaces({.net = entry.path().string()}));
  }
  if (!status.ok())
    spdlog::warn("leftovers not removed error=\"{}\"", status.ToString());
  // Killed processes take a moment to leave their cgroup.
  if (again)
    sweep_ =
        loop_->After(absl::Milliseconds(100), [this] { SweepLeftovers(); });
}

void Kubelet::OnNodes() {
  const kube::Object self = nodes_.Get(options_.node_name);
  if (self != nullptr && options_.pod_cidrs.empty())
    SetPodCidrs(NetworkOf(*self).pod_cidrs);
  if (self != nullptr) TellMissingControllers(self);
  if (routes_scheduled_) return;
  routes_scheduled_ = true;
  loop_->Post([this] {
    routes_scheduled_ = false;
    ApplyRoutes();
  });
}

// Once: nothing changes while the kubelet runs.
void Kubelet::TellMissingControllers(const kube::Object& node) {
  if (missing_told_) return;
  missing_told_ = true;
  std::vector<std::string> missing = cgroups_.Missing();
  if (options_.pod_max_pids == 0) std::erase(missing, "pids");
  if (missing.empty()) return;
  const std::string text =
      StrCat("The cgroups of this machine have no controller for ",
             absl::StrJoin(missing, ", "),
             ": requests and limits are recorded, not enforced");
  spdlog::warn("{}", text);
  events_.Record(kube::ReferenceTo(kube::Nodes(), *node),
                 kube::EventType::kWarning, "ResourceLimitsNotEnforced", text);
}

void Kubelet::SetPodCidrs(const std::vector<IpPrefix>& cidrs) {
  // A node's CIDRs don't change; pods have addresses out of them.
  if (cidrs.empty() || !pools_.empty()) return;
  for (const IpPrefix& cidr : cidrs) {
    const bool wanted = std::any_of(
        options_.node_ips.begin(), options_.node_ips.end(),
        [&](const IpAddress& ip) { return ip.family() == cidr.family(); });
    // Without an address of that family the node can't reach other nodes.
    if (wanted) pools_.emplace_back(cidr);
  }
  if (pools_.empty()) {
    node_.SetNotReady("no pod CIDR is of a family that --node-ip has");
    return;
  }
  for (const auto& [uid, worker] : workers_) {
    for (const IpAddress& ip : worker->ips()) {
      for (IpPool& pool : pools_) (void)pool.Take(ip);
    }
    worker->ScheduleSync();
  }
  node_.SetNotReady("");
}

absl::StatusOr<std::vector<IpAddress>> Kubelet::AllocateIps() {
  if (pools_.empty())
    return absl::FailedPreconditionError("the node has no pod CIDR yet");
  std::vector<IpAddress> ips;
  for (IpPool& pool : pools_) {
    auto ip = pool.Allocate();
    if (!ip.ok()) {
      ReleaseIps(ips);
      return ip.status();
    }
    ips.push_back(*ip);
  }
  return ips;
}

void Kubelet::ReleaseIps(const std::vector<IpAddress>& ips) {
  for (const IpAddress& ip : ips) {
    for (IpPool& pool : pools_) pool.Release(ip);
  }
}

void Kubelet::ApplyRoutes() {
  std::vector<NodeNetwork> networks;
  nodes_.ForEach([&](const kube::Object& node) {
    networks.push_back(NetworkOf(*node));
    if (networks.back().name == options_.node_name &&
        !options_.pod_cidrs.empty()) {
      networks.back().pod_cidrs = options_.pod_cidrs;
    }
  });
  const int uplink =
      options_.uplink.empty()
          ? 0
          : static_cast<int>(if_nametoindex(options_.uplink.c_str()));
  const absl::Status status = ApplyNodeRoutes(
      DesiredNodeRoutes(networks, options_.node_name, uplink));
  if (status.ok()) return;
  spdlog::warn("routes to nodes not set error=\"{}\"", status.ToString());
  route_retry_ = loop_->After(absl::Seconds(2), [this] { ApplyRoutes(); });
}

}  // namespace fairlead::kubelet
