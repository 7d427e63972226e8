// SPDX-License-Identifier: Apache-2.0
// The product, whole, as the differential test drives it: API objects through
// model::Cluster and reconcile::Reconciler into pinned kernel maps, and frames
// through the loaded programs (BPF_PROG_RUN), which are attached to no device;
// sockets are real ones (SocketBed).
//
// Threads: the test's main thread. What is pinned goes with the object.
#ifndef FAIRLEAD_TESTS_PROG_DIFFERENTIAL_WORLD_H_
#define FAIRLEAD_TESTS_PROG_DIFFERENTIAL_WORLD_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/abi/types.h"
#include "tests/harness/scopes.h"
#include "tests/prog/differential_socket.h"
#include "tests/prog/packet.h"
#include "tests/reference/state.h"
#include "userspace/agent/udp_serving.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/kernel_maps.h"
#include "userspace/datapath/loader.h"
#include "userspace/datapath/pin_layout.h"
#include "userspace/datapath/udp_state.h"
#include "userspace/model/cluster.h"
#include "userspace/reconcile/reconciler.h"

namespace fairlead::differential {

inline constexpr uint32_t kMark = 1u << 14;
inline constexpr Port kNodePortMin = 30000;
inline constexpr Port kNodePortMax = 30015;

// The node of all episodes: its name, addresses and ranges.
reference::Node DefaultNode();
class World;
// With that node; loaded once, for tests to share. Aborts if it can't be.
World& SharedWorld();

enum class Direction { kIngress, kEgress };

struct Outcome {
  int action = 0;  // TC_ACT_*
  uint32_t mark = 0;
  packet::Bytes frame;
  // fl_counter_id of all that was counted; one, or a rule is broken.
  std::vector<uint32_t> counted;
};

class World {
 public:
  // Loads the programs, with this node's ranges: a second or two.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<World>> Create(
      const reference::Node& node);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Empty maps, no objects, this node.
  [[nodiscard]] absl::Status Reset(const reference::Node& node);

  // What it was created with.
  const reference::Node& node() const { return node_; }
  model::Cluster& cluster() { return *cluster_; }
  // What has changed in the cluster, into the kernel.
  [[nodiscard]] absl::Status Apply();
  // The agent's process is replaced; flows stay.
  [[nodiscard]] absl::Status Restart(const reference::State& objects);
  // The node's addresses, zone and so on are now these; with other masquerade
  // addresses, other programs go on with the same maps.
  [[nodiscard]] absl::Status SetNode(const reference::Node& node);
  // Stores the state of the backend, as the reconciler does before all that
  // follows from a change. False: there is none that was better before.
  [[nodiscard]] absl::StatusOr<bool> Worsen(const L4Address& backend,
                                            fl_backend_state state);
  // They are what they were before the first Worsen().
  [[nodiscard]] absl::Status Recover();

  // `own`, at egress: it did not come in through a device. `link_header`: of a
  // device that has one.
  [[nodiscard]] absl::StatusOr<Outcome> Run(Direction direction,
                                            const packet::Bytes& frame,
                                            uint32_t mark, bool own = false,
                                            bool link_header = true);
  // What a process of this host, or of a pod, gets of a call.
  // As SocketBed's.
  [[nodiscard]] absl::StatusOr<SocketOutcome> Try(const SocketCall& call,
                                                  UniqueFd* keep);
  [[nodiscard]] absl::StatusOr<SocketOutcome> Again(const SocketCall& call,
                                                    int fd);
  // As if so much time had passed: times in the kernel's tables are set back,
  // the reconciler's clock goes on. False (and nothing done) if this machine
  // has not been up for so long.
  [[nodiscard]] absl::StatusOr<bool> Age(uint32_t seconds);

 private:
  World(harness::BpffsScope bpffs, datapath::PinLayout layout,
        reference::Node node)
      : bpffs_(std::move(bpffs)),
        layout_(std::move(layout)),
        node_(std::move(node)) {}
  absl::Status OpenMaps();
  absl::Status CleanUpUdp(const std::vector<std::string>& services);
  absl::Status StartProcess(model::NodeConfig node);
  absl::StatusOr<std::array<uint64_t, FL_COUNTER_MAX>> ReadCounters();
  // What has been counted since the last call.
  absl::StatusOr<std::vector<uint32_t>> Counted();
  absl::Status Masquerade(const std::vector<IpAddress>& addresses);
  absl::Status WriteNodeFacts(const reference::Node& node);

  harness::BpffsScope bpffs_;
  datapath::PinLayout layout_;
  reference::Node node_;
  std::unique_ptr<SocketBed> sockets_;
  // By masquerade addresses; those of `masquerade_` run.
  std::map<std::vector<IpAddress>, std::unique_ptr<datapath::Programs>>
      programs_;
  std::vector<IpAddress> masquerade_;
  std::unique_ptr<datapath::KernelMaps> maps_;
  std::map<uint32_t, uint8_t> worsened_;  // backend id -> state before

  UniqueFd counter_fd_, affinity_fd_, node_fd_, device_fd_;
  datapath::FlowTable flows_;
  datapath::MmapArray<uint64_t> filters_[2];
  int program_fd_[2][2] = {};  // by direction, link header
  std::unique_ptr<datapath::UdpState> udp_;
  agent::UdpServing serving_;
  bool first_apply_ = true;
  std::unique_ptr<model::Cluster> cluster_;
  std::unique_ptr<reconcile::Reconciler> reconciler_;
  absl::Duration now_ = absl::Seconds(1000);
  uint32_t aged_ = 0;
  std::array<uint64_t, FL_COUNTER_MAX> counters_ = {};
};

}  // namespace fairlead::differential

#endif  // FAIRLEAD_TESTS_PROG_DIFFERENTIAL_WORLD_H_
