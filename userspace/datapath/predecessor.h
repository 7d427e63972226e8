// SPDX-License-Identifier: Apache-2.0
// What an agent of another version, or with maps of other sizes, left in the
// kernel, taken over without a gap (docs/design/upgrade.md says in which order). Its maps are read as it says
// that they are laid out, and written as ours; its links are moved and then get
// our programs. It works in both directions: an older version takes over from
// a newer one in the same way.
//
// Threads: one at a time. The programs of both versions run meanwhile.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_PREDECESSOR_H_
#define FAIRLEAD_USERSPACE_DATAPATH_PREDECESSOR_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/abi/types.h"
#include "userspace/base/unique_fd.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/kernel_maps.h"
#include "userspace/datapath/pin_layout.h"
#include "userspace/datapath/record_layout.h"

namespace fairlead::datapath {

// Directories below a root that hold maps, the newest version first.
[[nodiscard]] absl::StatusOr<std::vector<PinLayout>> FindVersions(
    const std::string& root);
// Those of them that aren't `ours`: of other versions, or with maps of other
// sizes.
[[nodiscard]] absl::StatusOr<std::vector<PinLayout>> FindPredecessors(
    const PinLayout& ours);

class Predecessor {
 public:
  // REQUIRES: our maps exist. `maps` (ours) outlives the object.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Predecessor>> Open(
      const PinLayout& theirs, const PinLayout& ours, KernelMaps* maps);

  // Services, backends and what belongs to them; what they stand for is
  // published last. Nobody else writes them.
  [[nodiscard]] absl::Status CopyTables();

  // Flows, affinities, sockets: what their programs may change at any moment.
  enum class Which {
    kAll,      // over what is there: before our programs run
    kMissing,  // while they do: what has come since, over older copies only
  };
  [[nodiscard]] absl::Status CopyState(Which which);

  // Their links become ours, with the programs that they run.
  [[nodiscard]] absl::Status MoveLinks();

  // What was copied so far, for people.
  struct Stats {
    uint64_t services = 0;
    uint64_t backends = 0;
    uint64_t flow_entries = 0;
    uint64_t sockets = 0;
  };
  const Stats& stats() const { return stats_; }

 private:
  // One map of both versions.
  struct Pair {
    std::string name;
    UniqueFd theirs;
    UniqueFd ours;
    MapLayout from;
    RecordConversion key;
    RecordConversion value;
  };

  Predecessor(PinLayout theirs, PinLayout ours, KernelMaps* maps)
      : theirs_(std::move(theirs)), ours_(std::move(ours)), maps_(maps) {}
  absl::StatusOr<Pair> OpenPair(const std::string& name) const;
  // Each entry, as ours.
  template <typename K, typename V>
  absl::Status ForEach(const Pair& pair,
                       absl::FunctionRef<absl::Status(const K&, const V&)> fn);
  template <typename K, typename V>
  absl::Status CopyEntries(const std::string& name, Which which,
                           uint64_t* count);
  absl::Status CopyBackends();
  absl::Status CopyFlows(Which which);
  // An entry of theirs: where it was read, and what its mark was.
  struct FlowCopy {
    uint32_t index;
    uint64_t mark;
    fl_flow_entry entry;
  };
  absl::Status CopyFlow(const FlowCopy& theirs, Which which);
  absl::Status MergeFlow(const FlowCopy& theirs);
  absl::Status CopyPeers(Which which);
  absl::Status SetFilterBit(reconcile::Filter filter, const fl_addr& addr,
                            __be16 port, uint8_t proto);

  PinLayout theirs_;
  PinLayout ours_;
  KernelMaps* maps_;
  FlowTable flows_;
  MapLayouts from_;
  MapLayouts to_;
  // Of the entries that were copied last, by place: their marks there, and those
  // of the copies here.
  std::vector<uint64_t> their_marks_;
  std::vector<uint64_t> our_marks_;
  // Sockets in fl_peer that were copied: cookie by place.
  absl::flat_hash_map<uint32_t, uint64_t> peers_;
  Stats stats_;
};

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_PREDECESSOR_H_
