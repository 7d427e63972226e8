// SPDX-License-Identifier: Apache-2.0
// What would become of a packet: the packet path's own programs, loaded a
// second time. They read the live tables of frontends, backends and addresses;
// flows, affinity, counters and events are private copies, so that a trial
// leaves no trace. What they remember of the packet's flow and client, and of
// others' flows that may be in its way, is copied from the live tables.
//
// Threads: one at a time, in the network namespace of the data path. Owns
// programs, private maps and descriptors; pins and attaches nothing.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_PACKET_TRIAL_H_
#define FAIRLEAD_USERSPACE_DATAPATH_PACKET_TRIAL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "bpf/abi/types.h"
#include "userspace/base/ip_address.h"
#include "userspace/datapath/client_kind.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/pin_layout.h"
#include "userspace/datapath/typed_map.h"

namespace fairlead::datapath {

struct TrialPacket {
  L4Address source;  // of the destination's protocol and family
  L4Address destination;
  // The first packet of a connection (SYN, INIT); or one in its midst. A
  // datagram is both.
  bool opening = true;
  // Sent by this host itself: it leaves through egress without having come in.
  bool from_host = false;
  int ifindex = 0;  // the device that it comes in by; 0: none in particular
};

// What the live flow table has towards an endpoint that the packet may go to.
// Of flows that are over, too, which make place for a new one.
struct TrialObstacles {
  uint32_t source_ports = 0;  // that masqueraded flows have, of all that they may
  // The frontend of another flow between this client's port and the endpoint.
  std::optional<L4Address> other_flow;
};

// Where a packet without a flow may go to.
struct TrialService {
  uint32_t id = 0;  // 0: of none
  std::vector<L4Address> endpoints;
};

struct TrialOutcome {
  enum class Verdict : uint8_t {
    kPassed,    // untouched or translated, on its way
    kRejected,  // answered with a refusal
    kDropped,
  };
  struct Step {
    fl_hook hook = FL_HOOK_INGRESS;
    uint32_t counter = 0;  // enum fl_counter_id: the one that was counted
  };
  Verdict verdict = Verdict::kPassed;
  std::vector<Step> steps;  // the hooks that it came through, in order
  L4Address source;         // as it leaves
  L4Address destination;
  // Of the flow that the packet belongs to or has opened; 0: none.
  uint32_t service_id = 0;
  uint32_t backend_id = 0;
  // It followed an entry that the live table has.
  std::optional<fl_flow> followed;
  // The live entry of its client that was there for a new flow.
  std::optional<fl_affinity> affinity;
};

class PacketTrial {
 public:
  // Takes about a second: the verifier reads every program again.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<PacketTrial>> Load(
      const PinLayout& layout, const fl_config& config);
  ~PacketTrial();
  PacketTrial(const PacketTrial&) = delete;
  PacketTrial& operator=(const PacketTrial&) = delete;

  const fl_config& config() const { return config_; }

  // Who the programs take the source for. `from_host` isn't looked at.
  [[nodiscard]] absl::StatusOr<ClientKind> Client(
      const TrialPacket& packet) const;
  // The range that programs know only ClusterIPs to be from, if `address` is
  // of one.
  [[nodiscard]] absl::StatusOr<std::optional<IpPrefix>> ServiceRange(
      const IpAddress& address) const;
  // How many source ports masqueraded flows may have towards an endpoint.
  uint32_t SourcePorts() const;
  // Copies what is live around this packet: its own flow, its client's affinity
  // and, if there are endpoints, all that is in its way to each. That reads the
  // whole flow table (a few milliseconds). kResourceExhausted: more flows
  // than the copy has room for.
  // REQUIRES: source and destination of one family.
  [[nodiscard]] absl::StatusOr<std::vector<TrialObstacles>> Prepare(
      const TrialPacket& packet, const TrialService& service);
  // The packet that was prepared for; each run begins with what was copied.
  [[nodiscard]] absl::StatusOr<TrialOutcome> Run();
  // The live entry of the packet's tuple at ingress.
  [[nodiscard]] absl::StatusOr<std::optional<fl_flow>> LiveFlow(
      const TrialPacket& packet) const;

 private:
  struct Skeleton;
  struct Tables {
    FlowTable flows;
    TypedMap<fl_affinity_key, fl_affinity> affinities;
  };
  // Read only, by the programs as well.
  struct Places {
    TypedMap<fl_addr, fl_node_addr> addresses;
    TypedMap<uint32_t, fl_node> node;
    TypedMap<uint32_t, fl_device> devices;
  };
  explicit PacketTrial(const fl_config& config);
  // The packet and what is copied for it.
  struct Scene {
    struct Entry {
      fl_flow_key key;
      fl_flow flow;
    };
    TrialPacket packet;
    std::vector<Entry> flows;  // of its tuple and of those in its way
    std::vector<Entry> ports;  // what has source ports
    std::optional<fl_affinity_key> affinity_key;
    std::optional<fl_affinity> affinity;
  };
  absl::Status Open(const PinLayout& layout);
  absl::Status Empty();
  absl::Status AddFlow(const fl_flow_key& key);
  absl::Status AddOwnFlow();
  absl::Status AddAffinity(uint32_t service_id);
  absl::StatusOr<std::vector<TrialObstacles>> AddOthersFlows(
      absl::Span<const L4Address> endpoints);
  absl::Status Restore();
  absl::Status Undo();
  absl::Status Redraw();
  absl::StatusOr<TrialOutcome> RunHooks(const TrialPacket& packet);
  // Changes `frame` and `mark` as the program does.
  absl::Status RunHook(fl_hook hook, const TrialPacket& packet,
                       std::vector<uint8_t>* frame, uint32_t* mark,
                       TrialOutcome* outcome);
  absl::StatusOr<uint32_t> TakeCounter();

  fl_config config_;
  std::unique_ptr<Skeleton> skeleton_;
  Places places_;
  Tables live_;
  Tables copy_;
  Scene scene_;
  std::array<uint64_t, FL_COUNTER_MAX> counted_ = {};  // packets, by id
};

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_PACKET_TRIAL_H_
