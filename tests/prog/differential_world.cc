// SPDX-License-Identifier: Apache-2.0
#include "tests/prog/differential_world.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <time.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/datapath.h"
#include "userspace/datapath/masquerade.h"
#include "userspace/reconcile/plan.h"

namespace fairlead::differential {
namespace {

fl_addr ToAddr(const IpAddress& address) {
  fl_addr out;
  static_assert(sizeof(out) == sizeof(IpAddress::Bytes));
  memcpy(&out, address.bytes().data(), sizeof(out));
  return out;
}

fl_config ToConfig(const reference::Node& node) {
  fl_config config = {};
  for (const IpPrefix& pods : node.pods) {
    const bool v4 = pods.family() == IpFamily::kIpv4;
    (v4 ? config.pods4 : config.pods6) = datapath::ToPrefix(pods);
  }
  for (const IpAddress& ip : node.masquerade) {
    (ip.is_v4() ? config.masquerade4 : config.masquerade6) = ToAddr(ip);
  }
  config.node_port_min = kNodePortMin;
  config.node_port_max = kNodePortMax;
  config.source_port_min = node.source_port_min;
  config.source_port_max = node.source_port_max;
  config.mark = kMark;
  config.pod_detection =
      node.detection == reference::Detection::kByAddress  ? FL_PODS_BY_ADDRESS
      : node.detection == reference::Detection::kByNode   ? FL_PODS_BY_NODE
                                                          : FL_PODS_BY_DEVICE;
  return config;
}

model::NodeConfig ToNodeConfig(const reference::Node& node) {
  model::NodeConfig config;
  config.name = node.name;
  config.zone = node.zone;
  for (const reference::Node::Address& own : node.addresses) {
    config.addresses.push_back({own.address, own.node_port});
  }
  config.primary = node.masquerade;
  config.masquerade_all = node.masquerade_all;
  config.detects_pods =
      node.detection != reference::Detection::kByAddress || !node.pods.empty();
  return config;
}

datapath::MapSizes Sizes() {
  return {.services = 1024, .slots = 4096, .backends = 1024, .flows = 4096,
          .sockets = 1024, .affinities = 16384, .source_ranges = 1024};
}

absl::Status Empty(int fd, std::string_view name) {
  char key[64];
  while (bpf_map_get_next_key(fd, nullptr, key) == 0) {
    if (bpf_map_delete_elem(fd, key) != 0) {
      return ErrnoStatus(errno, "delete from", name);
    }
  }
  return absl::OkStatus();
}

// Sets `seconds` of every value back.
template <typename K, typename V>
absl::Status SetBack(int fd, std::string_view name, uint32_t V::*seconds,
                     uint32_t by) {
  std::vector<K> keys;
  K key;
  for (void* at = nullptr; bpf_map_get_next_key(fd, at, &key) == 0;
       at = &keys.back()) {
    keys.push_back(key);
  }
  for (const K& one : keys) {
    V value;
    if (bpf_map_lookup_elem(fd, &one, &value) != 0) continue;
    value.*seconds -= by;
    if (bpf_map_update_elem(fd, &one, &value, BPF_EXIST) != 0) {
      return ErrnoStatus(errno, "update", name);
    }
  }
  return absl::OkStatus();
}

absl::Status SetBackFlows(datapath::FlowTable* flows, uint32_t by) {
  std::vector<std::pair<fl_flow_key, fl_flow>> entries;
  FL_RETURN_IF_ERROR(
      flows->ForEach([&](const fl_flow_key& key, const fl_flow& flow) {
        entries.emplace_back(key, flow);
        return true;
      }));
  for (auto& [key, flow] : entries) {
    flow.last_seen -= by;
    FL_RETURN_IF_ERROR(flows->Update(key, flow));
  }
  return absl::OkStatus();
}

IpAddress Ip(std::string_view text) { return *IpAddress::Parse(text); }
IpPrefix Prefix(std::string_view text) { return *IpPrefix::Parse(text); }

}  // namespace

reference::Node DefaultNode() {
  reference::Node node;
  node.name = "node-1";
  node.zone = "zone-a";
  node.addresses = {{Ip("203.0.113.7"), true},
                    {Ip("203.0.113.8"), false},
                    {Ip("2001:db8:3::7"), true},
                    {Ip("2001:db8:3::8"), false}};
  node.pods = {Prefix("10.1.0.0/16"), Prefix("2001:db8:10::/48")};
  node.service_cidrs = {Prefix("198.51.100.0/24"), Prefix("2001:db8:2::/64")};
  node.masquerade = {Ip("203.0.113.7"), Ip("2001:db8:3::7")};
  node.source_port_min = 61000;
  node.source_port_max = 61004;
  return node;
}

World& SharedWorld() {
  static World* world = nullptr;
  if (world != nullptr) return *world;
  auto made = World::Create(DefaultNode());
  if (!made.ok()) {
    fprintf(stderr, "%s\n", made.status().ToString().c_str());
    abort();
  }
  world = made->release();
  // Its cgroup would stay.
  atexit([] { delete world; });
  return *world;
}

absl::StatusOr<std::unique_ptr<World>> World::Create(
    const reference::Node& node) {
  FL_ASSIGN_OR_RETURN(harness::BpffsScope bpffs,
                      harness::BpffsScope::Create());
  datapath::PinLayout layout(bpffs.path() + "/fairlead");
  FL_RETURN_IF_ERROR(layout.CreateDirectories());
  std::unique_ptr<World> world(new World(std::move(bpffs), layout, node));
  FL_ASSIGN_OR_RETURN(world->sockets_, SocketBed::Create());
  FL_RETURN_IF_ERROR(world->Masquerade(node.masquerade));
  FL_RETURN_IF_ERROR(world->sockets_->Attach(
      layout, *world->programs_[node.masquerade]));
  FL_RETURN_IF_ERROR(world->OpenMaps());
  FL_ASSIGN_OR_RETURN(world->udp_, datapath::UdpState::Open(layout));
  FL_RETURN_IF_ERROR(world->Reset(node));
  return world;
}

World::~World() {
  reconciler_.reset();
  maps_.reset();
  programs_.clear();
}

// Loaded when they are first asked for, which takes a second or two.
absl::Status World::Masquerade(const std::vector<IpAddress>& addresses) {
  std::unique_ptr<datapath::Programs>& programs = programs_[addresses];
  if (!programs) {
    reference::Node node = node_;
    node.masquerade = addresses;
    fl_config config = ToConfig(node);
    config.host_netns = sockets_->host_netns();
    FL_ASSIGN_OR_RETURN(programs,
                        datapath::Programs::Load(layout_, config, Sizes()));
  }
  const char* names[2][2] = {{"fl_tc_ingress_l3", "fl_tc_ingress"},
                             {"fl_tc_egress_l3", "fl_tc_egress"}};
  for (int hook = 0; hook < 2; ++hook) {
    for (int link = 0; link < 2; ++link) {
      FL_ASSIGN_OR_RETURN(program_fd_[hook][link],
                          programs->Fd(names[hook][link]));
    }
  }
  masquerade_ = addresses;
  return absl::OkStatus();
}

absl::Status World::OpenMaps() {
  FL_ASSIGN_OR_RETURN(maps_, datapath::KernelMaps::Open(layout_));
  auto open = [this](std::string_view name,
                     UniqueFd* fd) -> absl::StatusOr<uint32_t> {
    FL_ASSIGN_OR_RETURN(datapath::PinnedMap map,
                        datapath::OpenPinnedMap(layout_, name));
    *fd = std::move(map.fd);
    return map.max_entries;
  };
  FL_RETURN_IF_ERROR(open("fl_counter", &counter_fd_).status());
  FL_ASSIGN_OR_RETURN(flows_, datapath::FlowTable::Open(layout_));
  FL_RETURN_IF_ERROR(open("fl_affinity", &affinity_fd_).status());
  FL_RETURN_IF_ERROR(open("fl_node", &node_fd_).status());
  FL_RETURN_IF_ERROR(open("fl_device", &device_fd_).status());
  const char* names[] = {"fl_filter_fe", "fl_filter_be"};
  for (int i = 0; i < 2; ++i) {
    UniqueFd fd;
    FL_ASSIGN_OR_RETURN(const uint32_t entries, open(names[i], &fd));
    FL_ASSIGN_OR_RETURN(filters_[i], datapath::MmapArray<uint64_t>::Map(
                                         names[i], fd.get(), entries, true));
  }
  return absl::OkStatus();
}

absl::Status World::StartProcess(model::NodeConfig node) {
  cluster_ = std::make_unique<model::Cluster>(std::move(node));
  reconciler_ = std::make_unique<reconcile::Reconciler>(
      maps_.get(), reconcile::ReconcilerOptions{});
  serving_ = agent::UdpServing();
  first_apply_ = true;
  return reconciler_->Restore();
}

absl::Status World::Reset(const reference::Node& node) {
  if (reconciler_) {
    // Everything goes, and its grace period passes.
    cluster_ = std::make_unique<model::Cluster>(ToNodeConfig(node));
    FL_RETURN_IF_ERROR(StartProcess(ToNodeConfig(node)));
    FL_RETURN_IF_ERROR(Apply());
    now_ += absl::Hours(1);
    (void)reconciler_->Advance(now_);
  }
  FL_RETURN_IF_ERROR(flows_.Clear());
  FL_RETURN_IF_ERROR(Empty(affinity_fd_.get(), "fl_affinity"));
  for (auto& filter : filters_) {
    for (uint32_t i = 0; i < filter.size(); ++i) filter[i] = 0;
  }
  aged_ = 0;
  worsened_.clear();
  FL_RETURN_IF_ERROR(sockets_->Enter());
  FL_RETURN_IF_ERROR(Masquerade(node.masquerade));
  FL_RETURN_IF_ERROR(WriteNodeFacts(node));
  FL_ASSIGN_OR_RETURN(counters_, ReadCounters());
  return StartProcess(ToNodeConfig(node));
}

absl::Status World::Apply() {
  now_ += absl::Seconds(1);
  reconcile::ApplyResult result = reconciler_->Apply(cluster_.get(), now_);
  (void)reconciler_->Advance(now_);
  if (!result.ok()) return result.failures.front().status;
  return CleanUpUdp(result.services);
}

// As agent::UdpCleanup does, but at once.
absl::Status World::CleanUpUdp(const std::vector<std::string>& services) {
  bool lost = std::exchange(first_apply_, false);
  for (const std::string& key : services) {
    lost |= serving_.Update(key, cluster_->Desired(key)).lost;
  }
  if (!lost) return absl::OkStatus();
  auto serves = [this](const L4Address& frontend, const L4Address& endpoint) {
    return agent::UdpServing::Serves(serving_.table(), frontend, endpoint);
  };
  FL_RETURN_IF_ERROR(udp_->RemoveFlows(serves, masquerade_).status());
  return udp_->RemoveEndpoints(serves).status();
}

absl::Status World::Restart(const reference::State& objects) {
  worsened_.clear();  // it is the new process' to find them
  FL_RETURN_IF_ERROR(StartProcess(cluster_->node()));
  for (const auto& [key, service] : objects.services()) {
    cluster_->PutService(service);
  }
  for (const auto& [key, slice] : objects.slices()) {
    cluster_->PutEndpointSlice(slice);
  }
  return Apply();
}

absl::Status World::WriteNodeFacts(const reference::Node& node) {
  fl_node value = {};
  datapath::PutNodePods(node.own_pods, &value);
  datapath::PutServiceRanges(
      datapath::ChooseServiceRanges(node.service_cidrs).used, &value);
  const uint32_t zero = 0;
  if (bpf_map_update_elem(node_fd_.get(), &zero, &value, BPF_ANY) != 0) {
    return ErrnoStatus(errno, "write", "fl_node");
  }
  fl_device device = {};
  if (node.device_has_pods) device.flags = FL_DEVICE_PODS;
  const uint32_t loopback = 1;  // where a test run's packets come in
  if (bpf_map_update_elem(device_fd_.get(), &loopback, &device, BPF_ANY) !=
      0) {
    return ErrnoStatus(errno, "write", "fl_device");
  }
  return absl::OkStatus();
}

absl::Status World::SetNode(const reference::Node& node) {
  cluster_->SetNode(ToNodeConfig(node));
  if (node.masquerade != masquerade_) {
    FL_RETURN_IF_ERROR(Masquerade(node.masquerade));
    FL_RETURN_IF_ERROR(
        datapath::RemoveMasqueraded(&flows_, masquerade_).status());
  }
  return WriteNodeFacts(node);
}

absl::StatusOr<bool> World::Worsen(const L4Address& backend,
                                   fl_backend_state state) {
  const fl_service_key key = reconcile::ToServiceKey(backend);
  std::vector<uint32_t> ids;
  FL_RETURN_IF_ERROR(
      maps_->ForEachBackend([&](uint32_t id, const fl_backend& entry) {
        if (entry.state == FL_BACKEND_FREE || entry.state >= state ||
            entry.port != key.port || entry.proto != key.proto ||
            memcmp(&entry.addr, &key.addr, sizeof(key.addr)) != 0) {
          return;
        }
        ids.push_back(id);
        worsened_.try_emplace(id, entry.state);
      }));
  for (uint32_t id : ids) {
    FL_RETURN_IF_ERROR(maps_->SetBackendState(id, state));
  }
  return !ids.empty();
}

absl::Status World::Recover() {
  for (const auto& [id, state] : worsened_) {
    FL_RETURN_IF_ERROR(maps_->SetBackendState(id, state));
  }
  worsened_.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::array<uint64_t, FL_COUNTER_MAX>> World::ReadCounters() {
  static const auto cpus = static_cast<size_t>(libbpf_num_possible_cpus());
  std::array<uint64_t, FL_COUNTER_MAX> sums = {};
  std::array<uint32_t, FL_COUNTER_MAX> keys;
  std::vector<fl_counter> values(FL_COUNTER_MAX * cpus);
  uint32_t next, count = FL_COUNTER_MAX;
  if (bpf_map_lookup_batch(counter_fd_.get(), nullptr, &next, keys.data(),
                           values.data(), &count, nullptr) != 0 &&
      errno != ENOENT) {
    return ErrnoStatus(errno, "read", "fl_counter");
  }
  for (uint32_t i = 0; i < count; ++i) {
    for (size_t cpu = 0; cpu < cpus; ++cpu) {
      sums[keys[i]] += values[i * cpus + cpu].packets;
    }
  }
  return sums;
}

absl::StatusOr<Outcome> World::Run(Direction direction,
                                   const packet::Bytes& frame, uint32_t mark,
                                   bool own, bool link_header) {
  __sk_buff in = {}, out = {};
  in.mark = mark;
  in.ingress_ifindex = own ? 0 : 1;
  Outcome outcome;
  outcome.frame.resize(frame.size() + 256);
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.data_in = frame.data();
  options.data_size_in = static_cast<uint32_t>(frame.size());
  options.data_out = outcome.frame.data();
  options.data_size_out = static_cast<uint32_t>(outcome.frame.size());
  options.ctx_in = &in;
  options.ctx_size_in = sizeof(in);
  options.ctx_out = &out;
  options.ctx_size_out = sizeof(out);
  const int hook = static_cast<int>(direction);
  if (bpf_prog_test_run_opts(program_fd_[hook][link_header], &options) != 0) {
    return ErrnoStatus(errno, "run", "a frame");
  }
  outcome.frame.resize(options.data_size_out);
  outcome.action = static_cast<int>(options.retval);
  outcome.mark = out.mark;
  FL_ASSIGN_OR_RETURN(outcome.counted, Counted());
  return outcome;
}

absl::StatusOr<std::vector<uint32_t>> World::Counted() {
  std::vector<uint32_t> counted;
  FL_ASSIGN_OR_RETURN(const auto counters, ReadCounters());
  for (uint32_t id = 0; id < FL_COUNTER_MAX; ++id) {
    for (uint64_t i = counters_[id]; i < counters[id]; ++i) {
      counted.push_back(id);
    }
  }
  counters_ = counters;
  return counted;
}

absl::StatusOr<SocketOutcome> World::Try(const SocketCall& call,
                                         UniqueFd* keep) {
  return sockets_->Try(call, [this] { return Counted(); }, keep);
}

absl::StatusOr<SocketOutcome> World::Again(const SocketCall& call, int fd) {
  return sockets_->Again(call, fd, [this] { return Counted(); });
}

absl::StatusOr<bool> World::Age(uint32_t seconds) {
  timespec up;
  clock_gettime(CLOCK_MONOTONIC, &up);
  if (aged_ + seconds + 60 > up.tv_sec) return false;
  aged_ += seconds;
  now_ += absl::Seconds(seconds);
  (void)reconciler_->Advance(now_);
  FL_RETURN_IF_ERROR(SetBackFlows(&flows_, seconds));
  FL_RETURN_IF_ERROR((SetBack<fl_affinity_key, fl_affinity>(
      affinity_fd_.get(), "fl_affinity", &fl_affinity::last_used, seconds)));
  return true;
}

}  // namespace fairlead::differential
