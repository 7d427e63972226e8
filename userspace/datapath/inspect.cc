// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/inspect.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <endian.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/kernel_maps.h"
#include "userspace/reconcile/plan.h"

namespace fairlead::datapath {
namespace {

struct CounterEntry {
  std::string_view name;
  std::string_view text;
};
constexpr CounterEntry kCounters[] = {
#define FL_COUNTER(name, text) {#name, text},
#include "bpf/abi/counters.def"
#undef FL_COUNTER
};

// In the order in which a person would ask.
constexpr std::string_view kMapNames[] = {
    "fl_service",  "fl_slot",         "fl_backend",   "fl_flow",
    "fl_peer",     "fl_socket",       "fl_affinity",  "fl_source_range",
    "fl_node_addr", "fl_counter"};

using RowSink = absl::FunctionRef<bool(const DumpRow&)>;

DumpRow::Field Number(std::string_view name, uint64_t value) {
  return {name, StrCat(value), true};
}

DumpRow::Field Text(std::string_view name, std::string value) {
  return {name, std::move(value), false};
}

// Without "fl_": as in a line of the dump.
std::string_view ShortName(std::string_view map) {
  if (map.substr(0, 3) == "fl_") map.remove_prefix(3);
  return map;
}

std::string Endpoint(const fl_addr& addr, __be16 port, uint8_t proto) {
  return L4Address{reconcile::FromAbi(addr), be16toh(port),
                   static_cast<Protocol>(proto)}
      .ToString();
}

std::string EndpointNoProtocol(const fl_addr& addr, __be16 port) {
  IpAddress address = reconcile::FromAbi(addr);
  return address.is_v4()
             ? StrCat(address.ToString(), ":", be16toh(port))
             : StrCat("[", address.ToString(), "]:", be16toh(port));
}

std::string SelectionText(const fl_service& service,
                          const fl_selection& selection, int shift) {
  switch (service.flags >> shift & FL_SERVICE_VERDICT_MASK) {
    case FL_VERDICT_FORWARD:
      return StrCat("[", selection.base, ",", selection.base + selection.count,
                    ")");
    case FL_VERDICT_REJECT:
      return "reject";
    default:
      return "drop";
  }
}

std::string ServiceFlags(uint32_t flags) {
  constexpr std::pair<uint32_t, std::string_view> kNames[] = {
      {FL_SERVICE_MASQ_POD, "masq-pod"},
      {FL_SERVICE_MASQ_HOST, "masq-host"},
      {FL_SERVICE_MASQ_OUTSIDE, "masq-outside"},
      {FL_SERVICE_SOURCE_RANGES, "source-ranges"},
      {FL_SERVICE_NODE_PORT, "node-port"}};
  std::string text;
  for (auto [bit, name] : kNames) {
    if ((flags & bit) == 0) continue;
    if (!text.empty()) text += ",";
    text += name;
  }
  return text.empty() ? "none" : text;
}

std::string SourceRangeText(const fl_source_range_key& key) {
  IpAddress address = reconcile::FromAbi(key.prefix);
  int bits = static_cast<int>(key.prefix_bits) - 32;
  if (address.is_v4() && bits >= 96) bits -= 96;
  return StrCat(address.ToString(), "/", bits);
}

// Calls fn(index, element) until it returns false.
template <typename T>
absl::Status ScanArray(
    std::string_view name, int fd, uint32_t entries,
    absl::FunctionRef<bool(uint32_t index, const T&)> fn) {
  FL_ASSIGN_OR_RETURN(MmapArray<T> scan,
                      MmapArray<T>::Map(std::string(name), fd, entries,
                                        /*writable=*/false));
  for (uint32_t i = 0; i < entries; ++i) {
    if (!fn(i, scan[i])) break;
  }
  return absl::OkStatus();
}

}  // namespace

std::string CounterName(uint32_t id) {
  if (id >= std::size(kCounters)) return StrCat("unknown_", id);
  return absl::AsciiStrToLower(Absl(kCounters[id].name));
}

std::string_view CounterText(uint32_t id) {
  return id < std::size(kCounters) ? kCounters[id].text : "";
}

std::string_view FlowStateName(uint8_t state) {
  constexpr std::string_view kNames[] = {"new", "established", "closing",
                                         "closed"};
  return state < std::size(kNames) ? kNames[state] : "unknown";
}

std::string_view BackendStateName(uint8_t state) {
  constexpr std::string_view kNames[] = {"free", "on", "drain", "off"};
  return state < std::size(kNames) ? kNames[state] : "unknown";
}

std::string_view HookName(uint8_t hook) {
  constexpr std::string_view kNames[] = {"ingress", "egress", "socket", "xdp"};
  return hook < std::size(kNames) ? kNames[hook] : "unknown";
}

std::string ToString(const fl_flow_key& key) {
  return StrCat(EndpointNoProtocol(key.src, key.sport), " -> ",
                Endpoint(key.dst, key.dport, key.proto), " ",
                HookName(key.hook));
}

bool FlowFilter::Matches(const fl_flow_key& key, const fl_flow& flow) const {
  if (service_id && flow.service_id != *service_id) return false;
  if (backend_id && flow.backend_id != *backend_id) return false;
  if (!address) return true;
  return reconcile::FromAbi(key.src) == *address ||
         reconcile::FromAbi(key.dst) == *address ||
         reconcile::FromAbi(flow.addr) == *address;
}

std::string DumpRow::ToLine() const {
  std::string line = StrCat(map, " ", key);
  for (const Field& field : fields) {
    StrAppend(&line, " ", field.name, "=", field.text);
  }
  return line;
}

std::string DumpRow::ToJson() const {
  // None of the texts can hold a quote, a backslash or a control character.
  std::string json = StrCat("{\"map\":\"", map, "\",\"key\":\"", key, "\"");
  for (const Field& field : fields) {
    const char* quote = field.number ? "" : "\"";
    StrAppend(&json, ",\"", field.name, "\":", quote, field.text, quote);
  }
  return json + "}";
}

absl::StatusOr<std::unique_ptr<Inspector>> Inspector::Open(
    const PinLayout& layout) {
  std::unique_ptr<Inspector> inspector(new Inspector());
  FL_RETURN_IF_ERROR(inspector->OpenAll(layout));
  return inspector;
}

absl::Status Inspector::OpenAll(const PinLayout& layout) {
  for (std::string_view name : kMapNames) {
    FL_ASSIGN_OR_RETURN(PinnedMap map, OpenPinnedMap(layout, name));
    capacities_.emplace_back(name, map.max_entries);
    auto take = [&]<typename K, typename V>(TypedMap<K, V>& to) {
      to = TypedMap<K, V>(std::string(name), std::move(map.fd));
    };
    auto take_array = [&](Array& to) {
      to.fd = std::move(map.fd);
      to.entries = map.max_entries;
    };
    if (name == "fl_service") take(services_);
    if (name == "fl_socket") take(sockets_);
    if (name == "fl_affinity") take(affinities_);
    if (name == "fl_source_range") take(source_ranges_);
    if (name == "fl_node_addr") take(node_addresses_);
    if (name == "fl_slot") take_array(slots_);
    if (name == "fl_backend") take_array(backends_);
    if (name == "fl_peer") take_array(peers_);
    if (name == "fl_counter") counters_ = std::move(map.fd);
    if (name == "fl_flow") capacities_.back().second *= FL_FLOW_WAYS;
  }
  FL_ASSIGN_OR_RETURN(flows_, FlowTable::Open(layout));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<CounterRow>> Inspector::Counters() const {
  int cpus = libbpf_num_possible_cpus();
  if (cpus < 0) return ErrnoStatus(-cpus, "count the CPUs");
  std::vector<fl_counter> per_cpu(static_cast<size_t>(cpus));
  std::vector<CounterRow> rows;
  for (uint32_t id = 0; id < FL_COUNTER_MAX; ++id) {
    if (bpf_map_lookup_elem(counters_.get(), &id, per_cpu.data()) != 0) {
      return ErrnoStatus(errno, "look up in", "fl_counter");
    }
    CounterRow row{CounterName(id), CounterText(id), 0, 0};
    for (const fl_counter& counter : per_cpu) {
      row.packets += counter.packets;
      row.bytes += counter.bytes;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

absl::Status Inspector::ForEachFlow(
    const FlowFilter& filter,
    absl::FunctionRef<bool(const fl_flow_key&, const fl_flow&)> fn) const {
  return flows_.ForEach([&](const fl_flow_key& key, const fl_flow& flow) {
    return !filter.Matches(key, flow) || fn(key, flow);
  });
}

absl::Status Inspector::ForEachSocket(
    absl::FunctionRef<bool(const SocketUse&)> fn) const {
  bool more = true;
  FL_RETURN_IF_ERROR(ScanArray<fl_peer>(
      "fl_peer", peers_.fd.get(), peers_.entries,
      [&](uint32_t, const fl_peer& peer) {
        if (peer.cookie == 0) return true;
        more = fn({peer.cookie, static_cast<Protocol>(peer.proto),
                   peer.service_id, peer.backend_id, peer.backend_generation});
        return more;
      }));
  if (!more) return absl::OkStatus();
  return sockets_.ForEach([&](const fl_socket_key& key, const fl_socket& v) {
    if (key.direction != FL_SOCKET_REPLY) return true;
    return fn({key.cookie, static_cast<Protocol>(key.proto), v.service_id,
               v.backend_id, v.backend_generation});
  });
}

absl::Span<const std::string_view> Inspector::MapNames() { return kMapNames; }

absl::Status Inspector::Dump(std::string_view map, RowSink fn) const {
  std::string name = StrCat("fl_", ShortName(map));
  if (name == "fl_service") return DumpServices(fn);
  if (name == "fl_slot" || name == "fl_backend") return DumpArrays(name, fn);
  if (name == "fl_flow") return DumpFlows(fn);
  if (name == "fl_peer") return DumpPeers(fn);
  for (std::string_view known : kMapNames) {
    if (known == name) return DumpRest(name, fn);
  }
  return absl::NotFoundError(StrCat("no map ", map));
}

absl::Status Inspector::DumpServices(RowSink fn) const {
  return services_.ForEach(
      [&](const fl_service_key& key, const fl_service& service) {
        return fn({"service",
                   reconcile::ToString(key),
                   {Number("id", service.id),
                    Text("internal",
                         SelectionText(service, service.internal,
                                       FL_SERVICE_INTERNAL_VERDICT_SHIFT)),
                    Text("external",
                         SelectionText(service, service.external,
                                       FL_SERVICE_EXTERNAL_VERDICT_SHIFT)),
                    Number("affinity", service.affinity_seconds),
                    Text("flags", ServiceFlags(service.flags))}});
      });
}

absl::Status Inspector::DumpArrays(std::string_view map, RowSink fn) const {
  if (map == "fl_slot") {
    return ScanArray<uint32_t>(
        map, slots_.fd.get(), slots_.entries,
        [&](uint32_t slot, const uint32_t& backend) {
          if (backend == 0) return true;
          return fn({"slot", StrCat(slot), {Number("backend", backend)}});
        });
  }
  return ScanArray<fl_backend>(
      map, backends_.fd.get(), backends_.entries,
      [&](uint32_t id, const fl_backend& backend) {
        if (backend.generation == 0) return true;
        return fn(
            {"backend",
             StrCat(id),
             {Text("address",
                   Endpoint(backend.addr, backend.port, backend.proto)),
              Text("state", std::string(BackendStateName(backend.state))),
              Number("generation", backend.generation),
              Number("weight", backend.weight)}});
      });
}

absl::Status Inspector::DumpFlows(RowSink fn) const {
  return flows_.ForEach([&](const fl_flow_key& key, const fl_flow& flow) {
    DumpRow row{"flow", ToString(key), {}};
    row.fields = {
        Text(key.hook == FL_HOOK_EGRESS ? "src" : "dst",
             EndpointNoProtocol(flow.addr, flow.port)),
        Text("state", std::string(FlowStateName(flow.state))),
        Number("reply", (flow.flags & FL_FLOW_REPLY) != 0),
        Number("masq", (flow.flags & FL_FLOW_MASQ) != 0),
        Number("service", flow.service_id),
        Number("backend", flow.backend_id),
        Number("generation", flow.backend_generation),
        Number("source_port", be16toh(flow.source_port)),
        Number("created_minute", flow.created),
        Number("last_seen", flow.last_seen)};
    return fn(row);
  });
}

absl::Status Inspector::DumpPeers(RowSink fn) const {
  return ScanArray<fl_peer>(
      "fl_peer", peers_.fd.get(), peers_.entries,
      [&](uint32_t, const fl_peer& peer) {
        if (peer.cookie == 0) return true;
        return fn({"peer",
                   StrCat("cookie=", peer.cookie),
                   {Text("asked", Endpoint(peer.addr, peer.port, peer.proto)),
                    Text("endpoint", EndpointNoProtocol(peer.backend_addr,
                                                        peer.backend_port)),
                    Number("service", peer.service_id),
                    Number("backend", peer.backend_id),
                    Number("generation", peer.backend_generation)}});
      });
}

absl::Status Inspector::DumpRest(std::string_view map, RowSink fn) const {
  if (map == "fl_socket") {
    return sockets_.ForEach([&](const fl_socket_key& k, const fl_socket& v) {
      return fn({"socket",
                 StrCat("cookie=", k.cookie, " ",
                        k.direction == FL_SOCKET_FORWARD ? "forward" : "reply",
                        " ", Endpoint(k.addr, k.port, k.proto)),
                 {Text("to", EndpointNoProtocol(v.addr, v.port)),
                  Number("service", v.service_id),
                  Number("backend", v.backend_id),
                  Number("generation", v.backend_generation)}});
    });
  }
  if (map == "fl_affinity") {
    return affinities_.ForEach(
        [&](const fl_affinity_key& k, const fl_affinity& v) {
          return fn({"affinity",
                     StrCat(reconcile::FromAbi(k.client).ToString(),
                            " service=", k.service_id),
                     {Number("backend", v.backend_id),
                      Number("generation", v.backend_generation),
                      Number("last_used", v.last_used)}});
        });
  }
  if (map == "fl_source_range") {
    return source_ranges_.ForEach(
        [&](const fl_source_range_key& k, const uint32_t&) {
          return fn({"source_range", SourceRangeText(k),
                     {Number("service", be32toh(k.service_id))}});
        });
  }
  if (map == "fl_node_addr") {
    return node_addresses_.ForEach([&](const fl_addr& k,
                                       const fl_node_addr& v) {
      return fn(
          {"node_addr",
           reconcile::FromAbi(k).ToString(),
           {Number("node_port", (v.flags & FL_NODE_ADDR_NODE_PORT) != 0),
            Number("local", (v.flags & FL_NODE_ADDR_LOCAL) != 0)}});
    });
  }
  FL_ASSIGN_OR_RETURN(std::vector<CounterRow> counters, Counters());
  for (const CounterRow& row : counters) {
    if (!fn({"counter", row.name, {Number("packets", row.packets),
                                   Number("bytes", row.bytes)}})) {
      break;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Inspector::Entries(std::string_view map) const {
  if (map == "fl_flow") return flows_.Count();
  // Not by Dump(): writing the rows costs ten times what counting them does.
  uint64_t entries = 0;
  auto count = [&](const auto&, const auto&) {
    ++entries;
    return true;
  };
  absl::Status status;
  if (map == "fl_service") status = services_.ForEach(count);
  if (map == "fl_socket") status = sockets_.ForEach(count);
  if (map == "fl_affinity") status = affinities_.ForEach(count);
  if (map == "fl_source_range") status = source_ranges_.ForEach(count);
  if (map == "fl_node_addr") status = node_addresses_.ForEach(count);
  if (map == "fl_slot") {
    status = ScanArray<uint32_t>(map, slots_.fd.get(), slots_.entries,
                                 [&](uint32_t, const uint32_t& backend) {
                                   entries += backend != 0;
                                   return true;
                                 });
  }
  if (map == "fl_backend") {
    status = ScanArray<fl_backend>(map, backends_.fd.get(), backends_.entries,
                                   [&](uint32_t, const fl_backend& backend) {
                                     entries +=
                                         backend.state != FL_BACKEND_FREE;
                                     return true;
                                   });
  }
  if (map == "fl_peer") {
    status = ScanArray<fl_peer>(map, peers_.fd.get(), peers_.entries,
                                [&](uint32_t, const fl_peer& peer) {
                                  entries += peer.cookie != 0;
                                  return true;
                                });
  }
  if (!status.ok()) return status;
  return entries;
}

absl::StatusOr<std::vector<MapFill>> Inspector::Fill() const {
  std::vector<MapFill> fills;
  for (auto [name, capacity] : capacities_) {
    if (name == "fl_counter") continue;
    FL_ASSIGN_OR_RETURN(uint64_t entries, Entries(name));
    fills.push_back({std::string(name), entries, capacity});
  }
  return fills;
}

}  // namespace fairlead::datapath
