// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/packet_trial.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/pkt_cls.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "bpf/tc.skel.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/kernel_maps.h"
#include "userspace/datapath/node_facts.h"
#include "userspace/datapath/trial_frame.h"
#include "userspace/reconcile/plan.h"

namespace fairlead::datapath {
namespace {

// The tables that programs write, and how many entries a trial needs; every
// other table is the live one.
struct PrivateMap {
  std::string_view name;
  uint32_t entries;  // 0: as it is
};
constexpr PrivateMap kPrivate[] = {{"fl_flow", 0},
                                   {"fl_affinity", 4096},
                                   {"fl_counter", 0},
                                   {"fl_event", 4096}};
// The copied flows' table is as large as the live one, within this bound, of
// which seven tenths can be filled before anything has to go.
constexpr uint32_t kMaxFlowBuckets = 1 << 15;
// A rewritten frame is not longer; a refusal may be.
constexpr size_t kRoom = 512;
// Any device but none: the packet was received, not sent from here.
constexpr uint32_t kReceived = 1;

const PrivateMap* FindPrivate(std::string_view name) {
  for (const PrivateMap& entry : kPrivate) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

absl::Status Share(const PinLayout& layout, bpf_map* map) {
  std::string path = layout.MapPath(bpf_map__name(map));
  UniqueFd fd(bpf_obj_get(path.c_str()));
  if (!fd.valid()) return ErrnoStatus(errno, "open pinned map", path);
  return ErrnoStatus(-bpf_map__reuse_fd(map, fd.get()), "reuse map", path);
}

absl::Status PrepareMap(const PinLayout& layout, bpf_map* map) {
  std::string_view name = bpf_map__name(map);
  if (name.find('.') != name.npos) return absl::OkStatus();  // .rodata
  const PrivateMap* own = FindPrivate(name);
  if (own == nullptr) return Share(layout, map);
  if (own->entries > 0) bpf_map__set_max_entries(map, own->entries);
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> FdOf(const bpf_map* map) {
  UniqueFd fd(fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "dup", bpf_map__name(map));
  return fd;
}

template <typename K, typename V>
absl::Status OpenLive(const PinLayout& layout, std::string_view name,
                      TypedMap<K, V>* to) {
  FL_ASSIGN_OR_RETURN(PinnedMap map, OpenPinnedMap(layout, name));
  *to = TypedMap<K, V>(std::string(name), std::move(map.fd));
  return absl::OkStatus();
}

fl_flow_key KeyAt(fl_hook hook, const L4Address& source,
                  const L4Address& destination) {
  fl_flow_key key = {};
  key.src = reconcile::ToAbi(source.address);
  key.dst = reconcile::ToAbi(destination.address);
  key.sport = htons(source.port);
  key.dport = htons(destination.port);
  key.proto = static_cast<uint8_t>(destination.protocol);
  key.hook = static_cast<uint8_t>(hook);
  return key;
}

fl_flow_key IngressKey(const TrialPacket& packet) {
  return KeyAt(FL_HOOK_INGRESS, packet.source, packet.destination);
}

L4Address TargetOf(const fl_flow& flow, Protocol protocol) {
  return {reconcile::FromAbi(flow.addr), ntohs(flow.port), protocol};
}

// By CPU.
absl::StatusOr<std::vector<fl_counter>> ReadCounter(int fd, uint32_t id) {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 0) return ErrnoStatus(-cpus, "count the CPUs");
  std::vector<fl_counter> out(static_cast<size_t>(cpus));
  if (bpf_map_lookup_elem(fd, &id, out.data()) == 0) return out;
  return ErrnoStatus(errno, "look up in", "fl_counter");
}

// Is it an end of these packets?
bool IsAt(const L4Address& end, const fl_addr& address, uint16_t port) {
  return htons(end.port) == port && reconcile::FromAbi(address) == end.address;
}

}  // namespace

struct PacketTrial::Skeleton {
  struct Deleter {
    void operator()(struct tc* skeleton) { tc__destroy(skeleton); }
  };
  std::unique_ptr<struct tc, Deleter> tc;
};

PacketTrial::PacketTrial(const fl_config& config)
    : config_(config), skeleton_(std::make_unique<Skeleton>()) {}
PacketTrial::~PacketTrial() = default;

absl::StatusOr<std::unique_ptr<PacketTrial>> PacketTrial::Load(
    const PinLayout& layout, const fl_config& config) {
  std::unique_ptr<PacketTrial> trial(new PacketTrial(config));
  FL_RETURN_IF_ERROR(trial->Open(layout));
  return trial;
}

absl::Status PacketTrial::Open(const PinLayout& layout) {
  skeleton_->tc.reset(tc__open());
  struct tc* tc = skeleton_->tc.get();
  if (tc == nullptr) return ErrnoStatus(errno, "open BPF object", "tc");
  FL_ASSIGN_OR_RETURN(live_.flows, FlowTable::Open(layout));
  const uint32_t buckets = std::min(live_.flows.buckets(), kMaxFlowBuckets);
  bpf_map__set_max_entries(tc->maps.fl_flow, buckets);
  FL_ASSIGN_OR_RETURN(fl_flow_hashing hashing, NewFlowHashing(buckets));
  tc->rodata->fl_config = config_;
  tc->rodata->fl_config.flows = hashing;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, tc->obj) {
    FL_RETURN_IF_ERROR(PrepareMap(layout, map));
  }
  if (int result = bpf_object__load(tc->obj); result != 0) {
    return ErrnoStatus(-result, "load BPF object", "tc, for a trial");
  }
  FL_ASSIGN_OR_RETURN(UniqueFd flows, FdOf(tc->maps.fl_flow));
  copy_.flows = FlowTable(std::move(flows), hashing);
  FL_RETURN_IF_ERROR(copy_.flows.MapWhole());
  FL_ASSIGN_OR_RETURN(UniqueFd affinities, FdOf(tc->maps.fl_affinity));
  copy_.affinities = {"fl_affinity", std::move(affinities)};
  FL_RETURN_IF_ERROR(OpenLive(layout, "fl_affinity", &live_.affinities));
  FL_RETURN_IF_ERROR(OpenLive(layout, "fl_node_addr", &places_.addresses));
  FL_RETURN_IF_ERROR(OpenLive(layout, "fl_node", &places_.node));
  FL_RETURN_IF_ERROR(OpenLive(layout, "fl_device", &places_.devices));
  return absl::OkStatus();
}

absl::Status PacketTrial::Empty() {
  for (const auto* entries : {&scene_.flows, &scene_.ports}) {
    for (const Scene::Entry& entry : *entries) {
      FL_RETURN_IF_ERROR(copy_.flows.Delete(entry.key));
    }
  }
  if (scene_.affinity_key.has_value()) {
    FL_RETURN_IF_ERROR(copy_.affinities.Delete(*scene_.affinity_key));
  }
  scene_ = {};
  return absl::OkStatus();
}

absl::Status PacketTrial::AddFlow(const fl_flow_key& key) {
  FL_ASSIGN_OR_RETURN(std::optional<fl_flow> flow, live_.flows.Lookup(key));
  if (flow.has_value()) scene_.flows.push_back({key, *flow});
  return absl::OkStatus();
}

// The entries of the packet's tuple at both hooks, and those that the entry at
// ingress leads to.
absl::Status PacketTrial::AddOwnFlow() {
  const TrialPacket& packet = scene_.packet;
  FL_RETURN_IF_ERROR(AddFlow(IngressKey(packet)));
  FL_RETURN_IF_ERROR(
      AddFlow(KeyAt(FL_HOOK_EGRESS, packet.source, packet.destination)));
  FL_ASSIGN_OR_RETURN(std::optional<fl_flow> flow, LiveFlow(packet));
  if (!flow.has_value()) return absl::OkStatus();
  const L4Address to = TargetOf(*flow, packet.destination.protocol);
  FL_RETURN_IF_ERROR(AddFlow(KeyAt(FL_HOOK_EGRESS, packet.source, to)));
  return AddFlow(KeyAt(FL_HOOK_EGRESS, to, packet.source));
}

absl::Status PacketTrial::AddAffinity(uint32_t service_id) {
  if (service_id == 0) return absl::OkStatus();
  fl_affinity_key key = {};
  key.client = reconcile::ToAbi(scene_.packet.source.address);
  key.service_id = service_id;
  scene_.affinity_key = key;
  FL_ASSIGN_OR_RETURN(scene_.affinity, live_.affinities.Lookup(key));
  return absl::OkStatus();
}

// Three kinds of other flows' entries: those with a source port towards an
// endpoint; the answers from an endpoint to the client's port; and those of
// this client's port to an endpoint, to which it is an endpoint itself.
absl::StatusOr<std::vector<TrialObstacles>> PacketTrial::AddOthersFlows(
    absl::Span<const L4Address> endpoints) {
  absl::flat_hash_map<L4Address, size_t> index;
  for (size_t i = 0; i < endpoints.size(); ++i) index[endpoints[i]] = i;
  std::vector<TrialObstacles> out(endpoints.size());
  if (endpoints.empty()) return out;
  const L4Address& client = scene_.packet.source;
  const fl_addr masquerade = client.address.is_v4() ? config_.masquerade4
                                                    : config_.masquerade6;
  const L4Address own{reconcile::FromAbi(masquerade), 0, client.protocol};
  auto find = [&](const fl_addr& address, uint16_t port) {
    auto it = index.find(
        {reconcile::FromAbi(address), ntohs(port), client.protocol});
    return it == index.end() ? nullptr : &out[it->second];
  };
  std::vector<Scene::Entry> near;
  FL_RETURN_IF_ERROR(live_.flows.ForEach([&](const fl_flow_key& key,
                                             const fl_flow& flow) {
    if (key.proto != static_cast<uint8_t>(client.protocol)) return true;
    if (key.hook == FL_HOOK_INGRESS) {
      if ((flow.flags & FL_FLOW_REPLY) == 0 || !IsAt(own, key.dst, 0)) {
        return true;
      }
      TrialObstacles* endpoint = find(key.src, key.sport);
      if (endpoint == nullptr) return true;
      ++endpoint->source_ports;
      scene_.ports.push_back({key, flow});
    } else if (IsAt(client, key.dst, key.dport)) {
      TrialObstacles* endpoint = find(key.src, key.sport);
      if (endpoint == nullptr) return true;
      near.push_back({key, flow});
      const L4Address frontend = TargetOf(flow, client.protocol);
      if (frontend != scene_.packet.destination) {
        endpoint->other_flow = frontend;
      }
    } else if (IsAt(client, key.src, key.sport) &&
               find(key.dst, key.dport) != nullptr) {
      near.push_back({key, flow});
    }
    return true;
  }));
  for (const Scene::Entry& entry : near) {
    scene_.flows.push_back(entry);
    FL_RETURN_IF_ERROR(AddFlow(ForwardKey(entry.key, entry.flow)));
  }
  return out;
}

uint32_t PacketTrial::SourcePorts() const {
  const uint32_t all =
      config_.source_port_max - config_.source_port_min + 1u;
  const uint32_t kept = all / FL_CHANGEOVER_PORTS;
  return config_.changeover != 0 && kept > 0 ? kept : all - kept;
}

absl::StatusOr<std::vector<TrialObstacles>> PacketTrial::Prepare(
    const TrialPacket& packet, const TrialService& service) {
  FL_RETURN_IF_ERROR(Empty());
  scene_.packet = packet;
  FL_RETURN_IF_ERROR(AddOwnFlow());
  FL_RETURN_IF_ERROR(AddAffinity(service.id));
  FL_ASSIGN_OR_RETURN(std::vector<TrialObstacles> obstacles,
                      AddOthersFlows(service.endpoints));
  const size_t ports = scene_.ports.size();
  if (ports > copy_.flows.capacity() / 10 * 7) {
    scene_.ports.clear();
    return absl::ResourceExhaustedError(
        StrCat(ports, " flows towards its endpoints are more than a trial has "
                      "room for"));
  }
  for (const Scene::Entry& entry : scene_.ports) {
    FL_RETURN_IF_ERROR(copy_.flows.Update(entry.key, entry.flow));
  }
  return obstacles;
}

// What has a source port isn't put again: a run can only have taken the port of
// a flow that is over, and that port is as good if it is free.
absl::Status PacketTrial::Restore() {
  for (const Scene::Entry& entry : scene_.flows) {
    FL_RETURN_IF_ERROR(copy_.flows.Update(entry.key, entry.flow));
  }
  if (scene_.affinity.has_value()) {
    return copy_.affinities.Update(*scene_.affinity_key, *scene_.affinity);
  }
  if (!scene_.affinity_key.has_value()) return absl::OkStatus();
  return copy_.affinities.Delete(*scene_.affinity_key);
}

// Removes all entries of the flow that the packet has opened, or has followed.
absl::Status PacketTrial::Undo() {
  const TrialPacket& packet = scene_.packet;
  const Protocol protocol = packet.destination.protocol;
  FL_ASSIGN_OR_RETURN(std::optional<fl_flow> flow,
                      copy_.flows.Lookup(IngressKey(packet)));
  if (!flow.has_value()) return absl::OkStatus();
  FL_RETURN_IF_ERROR(copy_.flows.Delete(IngressKey(packet)));
  fl_flow_key key = KeyAt(FL_HOOK_EGRESS, TargetOf(*flow, protocol),
                          packet.source);
  FL_ASSIGN_OR_RETURN(std::optional<fl_flow> reply, copy_.flows.Lookup(key));
  if (!reply.has_value() ||
      TargetOf(*reply, protocol) != packet.destination) {
    return absl::OkStatus();
  }
  FL_RETURN_IF_ERROR(copy_.flows.Delete(key));
  if (reply->source_port == 0) return absl::OkStatus();
  key.dst = packet.source.address.is_v4() ? config_.masquerade4
                                          : config_.masquerade6;
  key.dport = reply->source_port;
  key.hook = FL_HOOK_INGRESS;
  return copy_.flows.Delete(key);
}

absl::StatusOr<std::optional<fl_flow>> PacketTrial::LiveFlow(
    const TrialPacket& packet) const {
  return live_.flows.Lookup(IngressKey(packet));
}

absl::StatusOr<ClientKind> PacketTrial::Client(
    const TrialPacket& packet) const {
  ClientFacts facts;
  facts.address = reconcile::ToAbi(packet.source.address);
  FL_ASSIGN_OR_RETURN(std::optional<fl_node_addr> own,
                      places_.addresses.Lookup(facts.address));
  facts.own_address =
      own.has_value() && (own->flags & FL_NODE_ADDR_LOCAL) != 0;
  FL_ASSIGN_OR_RETURN(
      std::optional<fl_device> device,
      places_.devices.Lookup(static_cast<uint32_t>(packet.ifindex)));
  facts.pod_device =
      device.has_value() && (device->flags & FL_DEVICE_PODS) != 0;
  FL_ASSIGN_OR_RETURN(std::optional<fl_node> node, places_.node.Lookup(0));
  return ClientKindOf(facts, config_, node.value_or(fl_node{}));
}

absl::StatusOr<std::optional<IpPrefix>> PacketTrial::ServiceRange(
    const IpAddress& address) const {
  FL_ASSIGN_OR_RETURN(std::optional<fl_node> node, places_.node.Lookup(0));
  for (const IpPrefix& range : ServiceRangesOf(node.value_or(fl_node{}))) {
    if (range.Contains(address)) return range;
  }
  return std::nullopt;
}

// What the program draws differs with the number of flows that it has opened:
// runs that open none would all draw the same.
absl::Status PacketTrial::Redraw() {
  const int fd = bpf_map__fd(skeleton_->tc->maps.fl_counter);
  const uint32_t id = FL_COUNTER_FORWARD_NEW;
  FL_ASSIGN_OR_RETURN(std::vector<fl_counter> per_cpu, ReadCounter(fd, id));
  for (fl_counter& counter : per_cpu) ++counter.packets;
  return bpf_map_update_elem(fd, &id, per_cpu.data(), BPF_ANY) == 0
             ? absl::OkStatus()
             : ErrnoStatus(errno, "update", "fl_counter");
}

absl::StatusOr<TrialOutcome> PacketTrial::Run() {
  FL_RETURN_IF_ERROR(Redraw());
  FL_RETURN_IF_ERROR(Restore());
  FL_ASSIGN_OR_RETURN(TrialOutcome outcome, RunHooks(scene_.packet));
  if (!outcome.followed.has_value()) outcome.affinity = scene_.affinity;
  FL_RETURN_IF_ERROR(Undo());
  return outcome;
}

absl::StatusOr<TrialOutcome> PacketTrial::RunHooks(const TrialPacket& packet) {
  TrialOutcome outcome;
  outcome.source = packet.source;
  outcome.destination = packet.destination;
  std::vector<uint8_t> frame =
      BuildFrame(packet.source, packet.destination, packet.opening);
  uint32_t mark = 0;
  if (!packet.from_host) {
    FL_RETURN_IF_ERROR(
        RunHook(FL_HOOK_INGRESS, packet, &frame, &mark, &outcome));
    FL_ASSIGN_OR_RETURN(std::optional<fl_flow> flow,
                        copy_.flows.Lookup(IngressKey(packet)));
    if (flow.has_value()) {
      outcome.service_id = flow->service_id;
      outcome.backend_id = flow->backend_id;
    }
    const uint32_t counter = outcome.steps.back().counter;
    if (counter == FL_COUNTER_FORWARD_HIT || counter == FL_COUNTER_REPLY_HIT) {
      FL_ASSIGN_OR_RETURN(outcome.followed, LiveFlow(packet));
    }
  }
  if (outcome.verdict == TrialOutcome::Verdict::kPassed) {
    FL_RETURN_IF_ERROR(
        RunHook(FL_HOOK_EGRESS, packet, &frame, &mark, &outcome));
  }
  return outcome;
}

absl::Status PacketTrial::RunHook(fl_hook hook, const TrialPacket& packet,
                                  std::vector<uint8_t>* frame, uint32_t* mark,
                                  TrialOutcome* outcome) {
  struct __sk_buff context_in = {}, context_out = {};
  context_in.mark = *mark;
  if (hook == FL_HOOK_INGRESS) {
    context_in.ifindex = static_cast<uint32_t>(packet.ifindex);
  }
  if (!packet.from_host) {
    context_in.ingress_ifindex =
        packet.ifindex > 0 ? static_cast<uint32_t>(packet.ifindex) : kReceived;
  }
  std::vector<uint8_t> out(frame->size() + kRoom);
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.data_in = frame->data();
  options.data_size_in = static_cast<uint32_t>(frame->size());
  options.data_out = out.data();
  options.data_size_out = static_cast<uint32_t>(out.size());
  options.ctx_in = &context_in;
  options.ctx_size_in = sizeof context_in;
  options.ctx_out = &context_out;
  options.ctx_size_out = sizeof context_out;
  const struct tc* tc = skeleton_->tc.get();
  const bpf_program* program = hook == FL_HOOK_INGRESS
                                   ? tc->progs.fl_tc_ingress
                                   : tc->progs.fl_tc_egress;
  FL_RETURN_IF_ERROR(TakeCounter().status());
  if (bpf_prog_test_run_opts(bpf_program__fd(program), &options) != 0) {
    return ErrnoStatus(errno, "run", bpf_program__name(program));
  }
  FL_ASSIGN_OR_RETURN(uint32_t counter, TakeCounter());
  outcome->steps.push_back({hook, counter});
  const auto action = static_cast<int>(options.retval);
  if (action == TC_ACT_SHOT) outcome->verdict = TrialOutcome::Verdict::kDropped;
  if (action == TC_ACT_REDIRECT) {
    outcome->verdict = TrialOutcome::Verdict::kRejected;
  }
  if (action != TC_ACT_UNSPEC) return absl::OkStatus();
  out.resize(options.data_size_out);
  outcome->source = FrameSource(out, packet.source.protocol);
  outcome->destination = FrameDestination(out, packet.source.protocol);
  *frame = std::move(out);
  *mark = context_out.mark;
  return absl::OkStatus();
}

// The counter that has grown since the last call, or FL_COUNTER_MAX. They are
// never reset: the program draws its random numbers from them, too.
absl::StatusOr<uint32_t> PacketTrial::TakeCounter() {
  const int fd = bpf_map__fd(skeleton_->tc->maps.fl_counter);
  uint32_t grown = FL_COUNTER_MAX;
  for (uint32_t id = 0; id < FL_COUNTER_MAX; ++id) {
    FL_ASSIGN_OR_RETURN(const std::vector<fl_counter> per_cpu,
                        ReadCounter(fd, id));
    uint64_t packets = 0;
    for (const fl_counter& counter : per_cpu) packets += counter.packets;
    if (packets != std::exchange(counted_[id], packets)) grown = id;
  }
  return grown;
}

}  // namespace fairlead::datapath
