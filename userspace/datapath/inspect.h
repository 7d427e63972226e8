// SPDX-License-Identifier: Apache-2.0
// Read side of the maps for people and metrics: counters, flows, dumps.
//
// Threads: const and safe from any thread; each call is a series of system
// calls and sees the maps while they change. Owns its descriptors.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_INSPECT_H_
#define FAIRLEAD_USERSPACE_DATAPATH_INSPECT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "bpf/abi/types.h"
#include "userspace/base/ip_address.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/pin_layout.h"
#include "userspace/datapath/typed_map.h"

namespace fairlead::datapath {

// "forward_new", and what it counts. An unknown id: "unknown_N", "".
std::string CounterName(uint32_t id);
std::string_view CounterText(uint32_t id);

std::string_view FlowStateName(uint8_t state);
// "on", "drain", ...; of enum fl_backend_state.
std::string_view BackendStateName(uint8_t state);
std::string_view HookName(uint8_t hook);
// "10.0.0.1:4000 -> 10.96.0.1:80/TCP ingress"
std::string ToString(const fl_flow_key& key);

struct CounterRow {
  std::string name;
  std::string_view text;
  uint64_t packets = 0;
  uint64_t bytes = 0;
};

struct FlowFilter {
  std::optional<uint32_t> service_id;
  std::optional<uint32_t> backend_id;
  // Either end, or the translation, of the tuple.
  std::optional<IpAddress> address;
  bool Matches(const fl_flow_key& key, const fl_flow& flow) const;
};

// One entry of a map: `key` and `fields` are text for people; in JSON those
// that are numbers stay numbers.
struct DumpRow {
  struct Field {
    std::string_view name;
    std::string text;
    bool number = false;
  };
  std::string_view map;
  std::string key;
  std::vector<Field> fields;

  // "service 10.96.0.1:80/TCP id=3 internal=[0,4) external=[0,4) ..."
  std::string ToLine() const;
  std::string ToJson() const;
};

struct MapFill {
  std::string name;
  uint64_t entries = 0;
  uint64_t max_entries = 0;
};

class Inspector {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Inspector>> Open(
      const PinLayout& layout);

  // All counters in the order of counters.def, summed over the CPUs.
  [[nodiscard]] absl::StatusOr<std::vector<CounterRow>> Counters() const;

  // Until `fn` returns false.
  [[nodiscard]] absl::Status ForEachFlow(
      const FlowFilter& filter,
      absl::FunctionRef<bool(const fl_flow_key&, const fl_flow&)> fn) const;

  // Connected sockets, and unconnected datagram ones, and the endpoint each
  // uses: how to find (by cookie, socket diag) those whose endpoint is gone.
  // A socket may be reported more than once.
  struct SocketUse {
    uint64_t cookie = 0;
    Protocol protocol = Protocol::kTcp;
    uint32_t service_id = 0;
    uint32_t backend_id = 0;
    uint32_t backend_generation = 0;
  };
  [[nodiscard]] absl::Status ForEachSocket(
      absl::FunctionRef<bool(const SocketUse&)> fn) const;

  // The maps that Dump() knows: "fl_service", ...
  static absl::Span<const std::string_view> MapNames();
  // `map` with or without "fl_". Until `fn` returns false. kNotFound: no such
  // map.
  [[nodiscard]] absl::Status Dump(
      std::string_view map, absl::FunctionRef<bool(const DumpRow&)> fn) const;

  // How full the maps are. Reads them all: for people and slow metrics.
  [[nodiscard]] absl::StatusOr<std::vector<MapFill>> Fill() const;

 private:
  Inspector() = default;
  absl::StatusOr<uint64_t> Entries(std::string_view map) const;
  absl::Status OpenAll(const PinLayout& layout);
  absl::Status DumpServices(absl::FunctionRef<bool(const DumpRow&)> fn) const;
  absl::Status DumpArrays(std::string_view map,
                          absl::FunctionRef<bool(const DumpRow&)> fn) const;
  absl::Status DumpFlows(absl::FunctionRef<bool(const DumpRow&)> fn) const;
  absl::Status DumpPeers(absl::FunctionRef<bool(const DumpRow&)> fn) const;
  absl::Status DumpRest(std::string_view map,
                        absl::FunctionRef<bool(const DumpRow&)> fn) const;

  // An array, mapped only while it is read.
  struct Array {
    UniqueFd fd;
    uint32_t entries = 0;
  };
  TypedMap<fl_service_key, fl_service> services_;
  FlowTable flows_;
  TypedMap<fl_socket_key, fl_socket> sockets_;
  TypedMap<fl_affinity_key, fl_affinity> affinities_;
  TypedMap<fl_source_range_key, uint32_t> source_ranges_;
  TypedMap<fl_addr, fl_node_addr> node_addresses_;
  Array slots_;
  Array backends_;
  Array peers_;
  UniqueFd counters_;
  std::vector<std::pair<std::string_view, uint32_t>> capacities_;
};

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_INSPECT_H_
