// SPDX-License-Identifier: Apache-2.0
#include "tests/prog/service_world.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sched.h>

#include <cerrno>

#include "bpf/abi/filter.h"
#include "userspace/base/status.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/reconcile/plan.h"

namespace fairlead::harness {
namespace {

uint32_t FilterBit(const L4Address& address) {
  fl_service_key key = reconcile::ToServiceKey(address);
  return fl_filter_bit(&key.addr, key.port, key.proto);
}

// Deletes every key of a hash.
absl::Status Empty(const datapath::PinLayout& layout, std::string_view name) {
  FL_ASSIGN_OR_RETURN(datapath::PinnedMap map,
                      datapath::OpenPinnedMap(layout, name));
  char key[64];
  while (bpf_map_get_next_key(map.fd.get(), nullptr, key) == 0) {
    if (bpf_map_delete_elem(map.fd.get(), key) != 0) {
      return ErrnoStatus(errno, "delete from", name);
    }
  }
  return absl::OkStatus();
}

absl::Status ZeroCounters(const datapath::PinLayout& layout) {
  FL_ASSIGN_OR_RETURN(datapath::PinnedMap map,
                      datapath::OpenPinnedMap(layout, "fl_counter"));
  std::vector<fl_counter> zeros(
      static_cast<size_t>(libbpf_num_possible_cpus()));
  for (uint32_t id = 0; id < map.max_entries; ++id) {
    if (bpf_map_update_elem(map.fd.get(), &id, zeros.data(), 0) != 0) {
      return ErrnoStatus(errno, "update", "fl_counter");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServiceWorld>> ServiceWorld::Create() {
  FL_ASSIGN_OR_RETURN(BpffsScope bpffs, BpffsScope::Create());
  FL_ASSIGN_OR_RETURN(NetnsScope netns, NetnsScope::Create());
  FL_ASSIGN_OR_RETURN(CgroupScope cgroup, CgroupScope::Create());
  FL_RETURN_IF_ERROR(cgroup.Join());
  UniqueFd home(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home.valid()) return ErrnoStatus(errno, "open", "ns/net");
  if (setns(netns.fd(), CLONE_NEWNET) != 0) return ErrnoStatus(errno, "setns");
  return std::unique_ptr<ServiceWorld>(
      new ServiceWorld(std::move(netns), std::move(cgroup), std::move(bpffs),
                       std::move(home)));
}

ServiceWorld::~ServiceWorld() {
  datapath_.reset();
  (void)datapath::Cleanup(pin_root());
  (void)setns(home_.get(), CLONE_NEWNET);
}

datapath::Options ServiceWorld::options() const {
  datapath::Options options;
  options.pin_root = pin_root();
  options.cgroup_root = cgroup_.path();
  options.config.node_port_min = 30000;
  options.config.node_port_max = 32767;
  options.config.source_port_min = 61000;
  options.config.source_port_max = 65000;
  options.config.mark = 0x4000;
  options.sizes.services = 1024;
  options.sizes.slots = 4096;
  options.sizes.backends = 1024;
  options.sizes.flows = 4096;
  options.sizes.sockets = 4096;
  options.sizes.affinities = 1024;
  options.sizes.event_bytes = 1 << 16;
  return options;
}

absl::Status ServiceWorld::OpenDatapath(const datapath::Options& options) {
  datapath_.reset();
  FL_ASSIGN_OR_RETURN(datapath_, datapath::Datapath::Open(options));
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> ServiceWorld::AddBackend(const L4Address& address,
                                                  uint32_t generation) {
  FL_RETURN_IF_ERROR(
      maps().SetFilterBit(reconcile::Filter::kBackends, FilterBit(address)));
  fl_service_key key = reconcile::ToServiceKey(address);
  fl_backend backend = {};
  backend.addr = key.addr;
  backend.port = key.port;
  backend.proto = key.proto;
  backend.state = FL_BACKEND_ON;
  backend.generation = generation;
  backend.weight = 1;
  FL_RETURN_IF_ERROR(maps().PutBackend(next_backend_, backend));
  return next_backend_++;
}

absl::Status ServiceWorld::PutService(const L4Address& frontend,
                                      const std::vector<uint32_t>& backends,
                                      fl_service service) {
  FL_RETURN_IF_ERROR(
      maps().SetFilterBit(reconcile::Filter::kFrontends, FilterBit(frontend)));
  if (!backends.empty()) {
    FL_RETURN_IF_ERROR(maps().PutSlots(next_slot_, backends));
    service.internal = {next_slot_, static_cast<uint32_t>(backends.size())};
    service.external = service.internal;
    next_slot_ += service.internal.count;
  }
  if (service.id == 0) service.id = next_service_++;
  return maps().PutService(reconcile::ToServiceKey(frontend), service);
}

absl::Status ServiceWorld::Reset() {
  const datapath::PinLayout& layout = datapath_->layout();
  // Through MapSet: fl_service has copies in fl_frontend.
  std::vector<fl_service_key> services;
  FL_RETURN_IF_ERROR(maps().ForEachService(
      [&](const fl_service_key& key, const fl_service&) {
        services.push_back(key);
      }));
  for (const fl_service_key& key : services) {
    FL_RETURN_IF_ERROR(maps().DeleteService(key));
  }
  FL_ASSIGN_OR_RETURN(datapath::FlowTable flows,
                      datapath::FlowTable::Open(layout));
  FL_RETURN_IF_ERROR(flows.Clear());
  for (const char* map : {"fl_socket", "fl_affinity",
                          "fl_source_range", "fl_node_addr"}) {
    FL_RETURN_IF_ERROR(Empty(layout, map));
  }
  for (uint32_t id = 1; id < next_backend_; ++id) {
    FL_RETURN_IF_ERROR(maps().PutBackend(id, {}));
  }
  next_backend_ = next_slot_ = next_service_ = 1;
  return ZeroCounters(layout);
}

absl::StatusOr<std::map<std::string, uint64_t>> ServiceWorld::Counters() {
  FL_ASSIGN_OR_RETURN(std::vector<datapath::CounterRow> rows,
                      datapath_->inspector().Counters());
  std::map<std::string, uint64_t> counters;
  for (const datapath::CounterRow& row : rows) {
    if (row.packets != 0) counters[row.name] = row.packets;
  }
  return counters;
}

absl::StatusOr<std::vector<std::string>> ServiceWorld::Dump(
    const std::string& map) {
  std::vector<std::string> lines;
  FL_RETURN_IF_ERROR(
      datapath_->inspector().Dump(map, [&](const datapath::DumpRow& row) {
        lines.push_back(row.ToLine());
        return true;
      }));
  return lines;
}

}  // namespace fairlead::harness
