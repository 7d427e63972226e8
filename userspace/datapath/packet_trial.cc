// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/packet_trial.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/pkt_cls.h>

#include <cerrno>
#include <string>
#include <utility>

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
constexpr uint32_t kFlowBuckets = 64;
constexpr PrivateMap kPrivate[] = {{"fl_flow", kFlowBuckets},
                                   {"fl_affinity", 4096},
                                   {"fl_counter", 0},
                                   {"fl_event", 4096}};
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

template <typename K, typename V>
absl::Status Empty(TypedMap<K, V>* map) {
  std::vector<K> keys;
  FL_RETURN_IF_ERROR(map->ForEach([&keys](const K& key, const V&) {
    keys.push_back(key);
    return true;
  }));
  for (const K& key : keys) FL_RETURN_IF_ERROR(map->Delete(key));
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
  FL_ASSIGN_OR_RETURN(fl_flow_hashing hashing, NewFlowHashing(kFlowBuckets));
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
  FL_ASSIGN_OR_RETURN(UniqueFd affinities, FdOf(tc->maps.fl_affinity));
  copy_.affinities = {"fl_affinity", std::move(affinities)};
  FL_ASSIGN_OR_RETURN(live_.flows, FlowTable::Open(layout));
  FL_RETURN_IF_ERROR(OpenLive(layout, "fl_affinity", &live_.affinities));
  FL_RETURN_IF_ERROR(OpenLive(layout, "fl_node_addr", &places_.addresses));
  FL_RETURN_IF_ERROR(OpenLive(layout, "fl_node", &places_.node));
  FL_RETURN_IF_ERROR(OpenLive(layout, "fl_device", &places_.devices));
  return absl::OkStatus();
}

absl::Status PacketTrial::Clear() {
  FL_RETURN_IF_ERROR(copy_.flows.Clear());
  return Empty(&copy_.affinities);
}

absl::Status PacketTrial::CopyFlow(const fl_flow_key& key) {
  FL_ASSIGN_OR_RETURN(std::optional<fl_flow> flow, live_.flows.Lookup(key));
  if (!flow.has_value()) return absl::OkStatus();
  return copy_.flows.Update(key, *flow);
}

// The entries of the packet's tuple at both hooks, and those that the entry at
// ingress leads to.
absl::Status PacketTrial::CopyFlowsOf(const TrialPacket& packet) {
  FL_RETURN_IF_ERROR(CopyFlow(IngressKey(packet)));
  FL_RETURN_IF_ERROR(
      CopyFlow(KeyAt(FL_HOOK_EGRESS, packet.source, packet.destination)));
  FL_ASSIGN_OR_RETURN(std::optional<fl_flow> flow, LiveFlow(packet));
  if (!flow.has_value()) return absl::OkStatus();
  const L4Address to{reconcile::FromAbi(flow->addr), ntohs(flow->port),
                     packet.destination.protocol};
  FL_RETURN_IF_ERROR(CopyFlow(KeyAt(FL_HOOK_EGRESS, packet.source, to)));
  return CopyFlow(KeyAt(FL_HOOK_EGRESS, to, packet.source));
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

absl::StatusOr<TrialOutcome> PacketTrial::Run(const TrialPacket& packet) {
  FL_RETURN_IF_ERROR(Clear());
  FL_RETURN_IF_ERROR(CopyFlowsOf(packet));
  FL_ASSIGN_OR_RETURN(TrialOutcome outcome, RunHooks(packet));
  if (outcome.service_id == 0 || outcome.followed.has_value()) return outcome;
  // Only the program knows which service it is, and then whose affinity.
  fl_affinity_key key = {};
  key.client = reconcile::ToAbi(packet.source.address);
  key.service_id = outcome.service_id;
  FL_ASSIGN_OR_RETURN(std::optional<fl_affinity> affinity,
                      live_.affinities.Lookup(key));
  if (!affinity.has_value()) return outcome;
  FL_RETURN_IF_ERROR(Clear());
  FL_RETURN_IF_ERROR(CopyFlowsOf(packet));
  FL_RETURN_IF_ERROR(copy_.affinities.Update(key, *affinity));
  FL_ASSIGN_OR_RETURN(outcome, RunHooks(packet));
  outcome.affinity = affinity;
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
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 0) return ErrnoStatus(-cpus, "count the CPUs");
  std::vector<fl_counter> per_cpu(static_cast<size_t>(cpus));
  uint32_t grown = FL_COUNTER_MAX;
  for (uint32_t id = 0; id < FL_COUNTER_MAX; ++id) {
    if (bpf_map_lookup_elem(fd, &id, per_cpu.data()) != 0) {
      return ErrnoStatus(errno, "look up in", "fl_counter");
    }
    uint64_t packets = 0;
    for (const fl_counter& counter : per_cpu) packets += counter.packets;
    if (packets != std::exchange(counted_[id], packets)) grown = id;
  }
  return grown;
}

}  // namespace fairlead::datapath
