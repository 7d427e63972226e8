// SPDX-License-Identifier: Apache-2.0
#include "tests/prog/tc_run.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bpf/abi/filter.h"
#include "bpf/tc.skel.h"
#include "userspace/datapath/node_facts.h"

#ifndef BPF_F_TEST_SKB_CHECKSUM_COMPLETE
#define BPF_F_TEST_SKB_CHECKSUM_COMPLETE (1U << 2)
#endif

namespace fairlead::prog {
namespace {

constexpr char kNames[][32] = {
#define FL_COUNTER(name, text) #name,
#include "bpf/abi/counters.def"
#undef FL_COUNTER
};

[[noreturn]] void Die(const std::string& what) {
  fprintf(stderr, "%s: %s\n", what.c_str(), strerror(errno));
  abort();
}

template <typename K, typename V>
void Set(struct bpf_map* map, const K& key, const V& value) {
  if (bpf_map_update_elem(bpf_map__fd(map), &key, &value, BPF_ANY)) {
    Die(std::string("write ") + bpf_map__name(map));
  }
}

template <typename K>
void Empty(struct bpf_map* map) {
  K key;
  while (bpf_map_get_next_key(bpf_map__fd(map), nullptr, &key) == 0) {
    bpf_map_delete_elem(bpf_map__fd(map), &key);
  }
}

int OnEvent(void* context, void* record, size_t) {
  static_cast<std::vector<fl_event>*>(context)->push_back(
      *static_cast<fl_event*>(record));
  return 0;
}

}  // namespace

fl_addr Addr(const std::string& text) {
  fl_addr address = {};
  in_addr v4;
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) {
    address.w[2] = htonl(0xffff);
    address.w[3] = v4.s_addr;
  } else if (inet_pton(AF_INET6, text.c_str(), &address) != 1) {
    Die("not an address: " + text);
  }
  return address;
}

// `bits` of 128.
fl_prefix Prefix(const std::string& text, int bits) {
  fl_prefix prefix = {};
  prefix.addr = Addr(text);
  auto* mask = reinterpret_cast<uint8_t*>(&prefix.mask);
  for (int i = 0; i < bits; i++) mask[i / 8] |= 0x80 >> (i % 8);
  return prefix;
}

std::string CounterName(uint32_t id) {
  return id < FL_COUNTER_MAX ? kNames[id] : "?";
}

// Pods: 10.1.0.0/16 and 2001:db8:10::/48.
fl_config TcRun::DefaultConfig() {
  fl_config config = {};
  config.pods4 = Prefix("10.1.0.0", 96 + 16);
  config.pods6 = Prefix("2001:db8:10::", 48);
  config.masquerade4 = Addr(kMasquerade4);
  config.masquerade6 = Addr(kMasquerade6);
  config.node_port_min = 30000;
  config.node_port_max = 32767;
  config.source_port_min = kSourcePortMin;
  config.source_port_max = kSourcePortMax;
  config.mark = kMark;
  config.event_sample = 1;
  return config;
}

TcRun::TcRun(const fl_config& config, int flows) {
  skeleton_ = tc__open();
  if (skeleton_ == nullptr) Die("open tc");
  const uint32_t buckets =
      datapath::FlowBuckets(static_cast<uint32_t>(flows));
  absl::StatusOr<fl_flow_hashing> hashing = datapath::NewFlowHashing(buckets);
  if (!hashing.ok()) Die("random numbers");
  auto& loaded = const_cast<fl_config&>(
      reinterpret_cast<const volatile fl_config&>(
          skeleton_->rodata->fl_config));
  loaded = config;
  loaded.flows = *hashing;
  bpf_map__set_max_entries(skeleton_->maps.fl_service, 64);
  bpf_map__set_max_entries(skeleton_->maps.fl_slot, 1024);
  bpf_map__set_max_entries(skeleton_->maps.fl_backend, 64);
  bpf_map__set_max_entries(skeleton_->maps.fl_flow, buckets);
  if (tc__load(skeleton_)) Die("load tc");
  flows_ = {UniqueFd(dup(bpf_map__fd(skeleton_->maps.fl_flow))), *hashing};
  ring_ = ring_buffer__new(bpf_map__fd(skeleton_->maps.fl_event), OnEvent,
                           &events_, nullptr);
  if (ring_ == nullptr) Die("ring buffer");
  SetServiceRanges(DefaultServiceRanges());
}

TcRun::~TcRun() {
  ring_buffer__free(static_cast<struct ring_buffer*>(ring_));
  tc__destroy(skeleton_);
}

void TcRun::Clear() {
  auto& maps = skeleton_->maps;
  Empty<fl_service_key>(maps.fl_service);
  if (!flows_.Clear().ok()) Die("empty fl_flow");
  Empty<fl_addr>(maps.fl_node_addr);
  Empty<fl_source_range_key>(maps.fl_source_range);
  Empty<fl_flow_key>(maps.fl_foreign);
  Empty<fl_affinity_key>(maps.fl_affinity);
  for (uint32_t id = 0; id < 64; id++) Set(maps.fl_backend, id, fl_backend{});
  for (auto [fd, word] : filter_words_) {
    uint64_t zero = 0;
    bpf_map_update_elem(fd, &word, &zero, BPF_ANY);
  }
  filter_words_.clear();
  for (uint32_t place : frontend_places_) {
    Set(maps.fl_frontend, place, fl_frontend{});
  }
  frontend_places_.clear();
  node_ = {};
  SetServiceRanges(DefaultServiceRanges());
  Empty<uint32_t>(maps.fl_device);
  came_through_ = 0;
  next_slot_ = 0;
  (void)Events();
}

void TcRun::SetFilter(int map_fd, const fl_addr& address, uint16_t port,
                      uint8_t protocol) {
  uint32_t bit = fl_filter_bit(&address, htons(port), protocol);
  uint32_t word = bit / 64;
  uint64_t bits = 0;
  bpf_map_lookup_elem(map_fd, &word, &bits);
  bits |= uint64_t{1} << (bit % 64);
  if (bpf_map_update_elem(map_fd, &word, &bits, BPF_ANY)) Die("filter");
  filter_words_.emplace_back(map_fd, word);
}

void TcRun::AddBackend(uint32_t id, const std::string& address, uint16_t port,
                       uint8_t protocol, fl_backend_state state,
                       uint32_t generation) {
  fl_backend backend = {};
  backend.addr = Addr(address);
  backend.port = htons(port);
  backend.proto = protocol;
  backend.state = state;
  backend.generation = generation;
  SetFilter(bpf_map__fd(skeleton_->maps.fl_filter_be), backend.addr, port,
            protocol);
  Set(skeleton_->maps.fl_backend, id, backend);
}

void TcRun::SetBackendState(uint32_t id, fl_backend_state state) {
  fl_backend backend;
  int fd = bpf_map__fd(skeleton_->maps.fl_backend);
  if (bpf_map_lookup_elem(fd, &id, &backend)) Die("look up backend");
  backend.state = state;
  Set(skeleton_->maps.fl_backend, id, backend);
}

void TcRun::AddFrontend(const Frontend& frontend) {
  fl_service service = {};
  auto fill = [&](const std::vector<uint32_t>& backends) {
    fl_selection selection = {next_slot_,
                              static_cast<uint32_t>(backends.size())};
    for (uint32_t id : backends) Set(skeleton_->maps.fl_slot, next_slot_++, id);
    return selection;
  };
  service.internal = fill(frontend.backends);
  service.external = fill(frontend.external.value_or(frontend.backends));
  service.id = frontend.id;
  service.flags =
      frontend.flags |
      frontend.internal_verdict << FL_SERVICE_INTERNAL_VERDICT_SHIFT |
      frontend.external_verdict << FL_SERVICE_EXTERNAL_VERDICT_SHIFT;
  fl_service_key key = {};
  key.addr = Addr(frontend.address);
  key.port = htons(frontend.port);
  key.proto = frontend.protocol;
  int filter = bpf_map__fd(skeleton_->maps.fl_filter_fe);
  SetFilter(filter, key.addr, frontend.port, frontend.protocol);
  Set(skeleton_->maps.fl_service, key, service);
  fl_frontend copy = {};
  copy.addr = key.addr;
  copy.port = key.port;
  copy.proto = key.proto;
  copy.service = service;
  frontend_places_.push_back(fl_filter_bit(&key.addr, key.port, key.proto) %
                             FL_FRONTEND_ENTRIES);
  Set(skeleton_->maps.fl_frontend, frontend_places_.back(), copy);
  // The address' mark, for packets without ports. (NodePorts have none.)
  if (frontend.flags & FL_SERVICE_NODE_PORT) return;
  key.port = 0;
  key.proto = 0;
  SetFilter(filter, key.addr, 0, 0);
  Set(skeleton_->maps.fl_service, key, fl_service{});
}

void TcRun::AddNodeAddress(const std::string& address, uint32_t flags) {
  Set(skeleton_->maps.fl_node_addr, Addr(address), fl_node_addr{flags});
}

// ClusterIPs of the strays' rows.
std::vector<std::string> TcRun::DefaultServiceRanges() {
  return {"198.19.0.0/16", "2001:db8:f::/48"};
}

std::vector<std::string> TcRun::ManyServiceRanges() {
  return {"10.200.0.0/16", "100.64.0.0/10", "172.16.1.0/24", "172.16.3.0/24",
          "198.19.0.0/31", "198.51.0.4/32", "203.0.200.0/22", "224.0.0.0/4",
          "2001:db8:f::/127", "2001:db8:f:1::/64", "2001:db8:f:2::8/125",
          "2001:db8:f0::/44", "3fff::/20", "fc00::1:0/112", "fd00::/8",
          "ff00::1/128"};
}

void TcRun::SetServiceRanges(const std::vector<std::string>& texts) {
  std::vector<IpPrefix> ranges;
  for (const std::string& text : texts) {
    ranges.push_back(*IpPrefix::Parse(text));
  }
  datapath::PutServiceRanges(ranges, &node_);
  WriteNode(node_);
}

void TcRun::WriteNode(const fl_node& node) {
  Set(skeleton_->maps.fl_node, 0u, node);
}

void TcRun::SetNodePods(const std::string& v4, int bits4,
                        const std::string& v6, int bits6) {
  node_.pods4 = Prefix(v4, bits4 + 96);
  node_.pods6 = Prefix(v6, bits6);
  WriteNode(node_);
}

void TcRun::SetPodDevice(uint32_t ifindex) {
  Set(skeleton_->maps.fl_device, ifindex, fl_device{FL_DEVICE_PODS});
}

void TcRun::AllowSource(uint32_t service_id, const std::string& address,
                        int bits) {
  fl_source_range_key key = {};
  key.service_id = htonl(service_id);
  key.prefix = Addr(address);
  bool v4 = address.find(':') == std::string::npos;
  key.prefix_bits = 32 + bits + (v4 ? 96 : 0);
  Set(skeleton_->maps.fl_source_range, key, uint32_t{1});
}

void TcRun::SetForeign(const fl_flow_key& key) {
  Set(skeleton_->maps.fl_foreign, key, uint32_t{1});
}

std::map<std::string, uint64_t> TcRun::Counters() const {
  std::map<std::string, uint64_t> all;
  std::vector<fl_counter> per_cpu(libbpf_num_possible_cpus());
  for (uint32_t id = 0; id < FL_COUNTER_MAX; id++) {
    if (bpf_map_lookup_elem(bpf_map__fd(skeleton_->maps.fl_counter), &id,
                            per_cpu.data())) {
      Die("read counter");
    }
    for (const fl_counter& one : per_cpu) all[kNames[id]] += one.packets;
  }
  return all;
}

int TcRun::program_fd(Hook hook) const {
  switch (hook) {
    case Hook::kIngress:
      return bpf_program__fd(skeleton_->progs.fl_tc_ingress);
    case Hook::kEgress:
      return bpf_program__fd(skeleton_->progs.fl_tc_egress);
    case Hook::kIngressL3:
      return bpf_program__fd(skeleton_->progs.fl_tc_ingress_l3);
    case Hook::kEgressL3:
      return bpf_program__fd(skeleton_->progs.fl_tc_egress_l3);
  }
  return -1;
}

Result TcRun::Run(Hook hook, const packet::Bytes& frame, uint32_t mark,
                  bool checksum_complete) {
  struct __sk_buff context_in = {}, context_out = {};
  context_in.mark = mark;
  context_in.ingress_ifindex = came_through_;
  Result result;
  result.frame.resize(frame.size() + 512);
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.data_in = frame.data();
  options.data_size_in = frame.size();
  options.data_out = result.frame.data();
  options.data_size_out = result.frame.size();
  options.ctx_in = &context_in;
  options.ctx_size_in = sizeof(context_in);
  options.ctx_out = &context_out;
  options.ctx_size_out = sizeof(context_out);
  if (checksum_complete) options.flags = BPF_F_TEST_SKB_CHECKSUM_COMPLETE;
  std::map<std::string, uint64_t> before = Counters();
  if (bpf_prog_test_run_opts(program_fd(hook), &options)) {
    // EINVAL: too short for the kernel to make an skb of.
    if (errno != EBADMSG && errno != EINVAL) Die("run");
    result.counters.push_back(errno == EBADMSG ? "skb->csum is wrong"
                                               : "refused by the kernel");
  }
  result.frame.resize(options.data_size_out);
  result.action = options.retval;
  result.mark = context_out.mark;
  for (const auto& [name, count] : Counters()) {
    for (uint64_t i = before[name]; i < count; i++) {
      result.counters.push_back(name);
    }
  }
  return result;
}

std::optional<fl_flow> TcRun::Flow(const fl_flow_key& key) const {
  absl::StatusOr<std::optional<fl_flow>> flow = flows_.Lookup(key);
  if (!flow.ok()) Die("look up in fl_flow");
  return *flow;
}

void TcRun::SetFlow(const fl_flow_key& key, const fl_flow& flow) {
  if (!flows_.Update(key, flow).ok()) Die("write fl_flow");
}

int TcRun::FlowCount() const {
  absl::StatusOr<uint64_t> count = flows_.Count();
  if (!count.ok()) Die("count fl_flow");
  return static_cast<int>(*count);
}

void TcRun::ForEachFlow(
    const std::function<void(const fl_flow_key&, const fl_flow&)>& fn) const {
  const absl::Status walked =
      flows_.ForEach([&](const fl_flow_key& key, const fl_flow& flow) {
        fn(key, flow);
        return true;
      });
  if (!walked.ok()) Die("walk fl_flow");
}

std::vector<fl_event> TcRun::Events() {
  ring_buffer__consume(static_cast<struct ring_buffer*>(ring_));
  return std::exchange(events_, {});
}

}  // namespace fairlead::prog
