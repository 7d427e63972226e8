// SPDX-License-Identifier: Apache-2.0
// The data path as a whole: Open() finds or makes the pinned maps, loads the
// programs over them and puts them on the cgroup; devices are added one by
// one. Destroying the object removes nothing: traffic goes on, and the next
// Open() continues from the pins. Cleanup() removes everything.
//
// Threads: one at a time (the loop), in the network namespace whose devices
// are meant, for every call. What EventReader says applies to events.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_DATAPATH_H_
#define FAIRLEAD_USERSPACE_DATAPATH_DATAPATH_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "bpf/abi/types.h"
#include "userspace/base/ip_address.h"
#include "userspace/datapath/attach.h"
#include "userspace/datapath/event_reader.h"
#include "userspace/datapath/inspect.h"
#include "userspace/datapath/kernel_maps.h"
#include "userspace/datapath/loader.h"
#include "userspace/datapath/map_sizes.h"
#include "userspace/datapath/node_facts.h"
#include "userspace/datapath/pin_layout.h"
#include "userspace/datapath/predecessor.h"
#include "userspace/datapath/typed_map.h"

namespace fairlead::datapath {

struct Options {
  // A directory of a BPF file system, of this node alone; made if needed.
  std::string pin_root;
  // A cgroup v2 directory whose processes use the socket path; none: no
  // socket path, everything goes through the packet path.
  std::optional<std::string> cgroup_root;
  fl_config config = {};
  MapSizes sizes;  // with others than last time, what was there is copied
  TcMode tc_mode = TcMode::kAuto;
};

class Datapath {
 public:
  // Checks all requirements before it touches anything; each failure is one
  // message that says what is missing and how to get it. With another
  // `config` than last time, programs are replaced in place.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Datapath>> Open(
      const Options& options);

  // Were the maps there already, or others in their place?
  bool restarted() const { return restarted_; }
  // Are the programs those that the last run left, untouched?
  bool kept_programs() const { return programs_->kept(); }
  // What came from another version of the agent, or from maps of other sizes;
  // nullopt: nothing.
  struct Upgrade {
    std::string from;  // its directory
    Predecessor::Stats copied;
    // Not OK: the rest of its state is lost, flows begin anew.
    absl::Status status;
  };
  const std::optional<Upgrade>& upgrade() const { return upgrade_; }
  const PinLayout& layout() const { return layout_; }

  // The tables that the reconciler writes. Lives as long as this object.
  KernelMaps& maps() { return *maps_; }
  // The loaded programs, for who measures them.
  const Programs& programs() const { return *programs_; }
  // What people may look at. Lives as long as this object.
  const Inspector& inspector() const { return *inspector_; }

  // This node's own pod addresses, at most one range of each family: of the
  // cluster's other pods it is known then that they are on other nodes.
  [[nodiscard]] absl::Status SetNodePods(const std::vector<IpPrefix>& ranges);
  // The ranges that ClusterIPs are from: a port that none of them has is
  // refused there, an address that no Service has dropped. REQUIRES: they are
  // ServiceRanges::used. Writes nothing if they are there already.
  [[nodiscard]] absl::Status SetServiceRanges(
      const std::vector<IpPrefix>& ranges);
  // As they are now: after a restart, the last run's.
  [[nodiscard]] absl::StatusOr<std::vector<IpPrefix>> ServiceRanges() const;
  // Whether what comes in through the device is from a pod (only asked with
  // FL_PODS_BY_DEVICE).
  [[nodiscard]] absl::Status SetPodDevice(int ifindex, bool pods);
  [[nodiscard]] absl::StatusOr<std::vector<int>> PodDevices() const;
  // What netfilter translates (only asked with fl_config.takeover): exactly
  // these, whatever there was before. kResourceExhausted: as many as fit.
  [[nodiscard]] absl::Status SetForeignFlows(
      absl::Span<const fl_flow_key> keys);

  // Attaches to, or replaces on, a device of this network namespace.
  [[nodiscard]] absl::Status AttachDevice(int ifindex);
  // OK if it isn't attached, or the device is gone.
  [[nodiscard]] absl::Status DetachDevice(int ifindex);
  // Devices that carry our programs, those of earlier runs included.
  [[nodiscard]] absl::StatusOr<std::vector<int>> AttachedDevices() const;
  // Forgets devices that are gone.
  [[nodiscard]] absl::Status PruneDevices();

  // Starts to deliver events until the reader is destroyed.
  [[nodiscard]] absl::StatusOr<std::unique_ptr<EventReader>> ReadEvents(
      EventReader::Callback callback) const;

 private:
  Datapath(PinLayout layout, TcMode tc_mode)
      : layout_(std::move(layout)), tc_mode_(tc_mode) {}

  // Puts these programs on the cgroup and on every device that has some.
  absl::Status AttachAll(const Programs& programs,
                         const std::optional<std::string>& cgroup_root);
  absl::Status TakeOver(const PinLayout& theirs, const Options& options);
  absl::StatusOr<fl_node> Node() const;

  PinLayout layout_;
  TcMode tc_mode_;
  bool restarted_ = false;
  std::optional<Upgrade> upgrade_;
  std::unique_ptr<Programs> programs_;
  std::unique_ptr<KernelMaps> maps_;
  TypedMap<uint32_t, fl_node> node_;
  TypedMap<uint32_t, fl_device> devices_;
  TypedMap<fl_flow_key, uint32_t> foreign_;
  std::unique_ptr<Inspector> inspector_;
};

// Removes programs, maps and directories, of every version. OK if there is
// nothing; can be repeated after a failure.
[[nodiscard]] absl::Status Cleanup(const std::string& pin_root);

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_DATAPATH_H_
