// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/datapath.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/container/flat_hash_set.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/program_config.h"
#include "userspace/datapath/requirements.h"

namespace fairlead::datapath {
namespace {

absl::Status CheckRequirements(const Options& options) {
  FL_RETURN_IF_ERROR(CheckPrivileges());
  FL_RETURN_IF_ERROR(PinLayout(options.pin_root).Check());
  if (options.cgroup_root) {
    FL_RETURN_IF_ERROR(CheckCgroupRoot(*options.cgroup_root));
  }
  return CheckKernelFeatures();
}

// Programs first: none is left running over a map that is being taken away.
absl::Status RemoveVersion(const PinLayout& layout) {
  FL_RETURN_IF_ERROR(DetachCgroup(layout));
  FL_ASSIGN_OR_RETURN(std::vector<int> devices, AttachedDevices(layout));
  for (int ifindex : devices) {
    FL_RETURN_IF_ERROR(DetachDevice(layout, ifindex));
  }
  FL_RETURN_IF_ERROR(RemovePins(layout.LinksDir()));
  FL_RETURN_IF_ERROR(layout.RemovePrograms());
  FL_RETURN_IF_ERROR(RemovePins(layout.MapsDir()));
  return RemoveFolder(layout.version_dir());
}

// Removes every version but `keep` (a directory's path).
absl::Status RemoveVersions(const std::string& pin_root,
                            const std::string& keep) {
  FL_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(pin_root));
  for (const std::string& name : names) {
    PinLayout layout(pin_root, name);
    if (VersionOf(name) == 0 || layout.version_dir() == keep) continue;
    FL_RETURN_IF_ERROR(RemoveVersion(layout));
  }
  return absl::OkStatus();
}

// Our own maps while others are at work: what an upgrade that was
// interrupted before its programs were in place left. It begins anew.
absl::Status DiscardUnused(const PinLayout& ours) {
  FL_ASSIGN_OR_RETURN(std::vector<std::string> links,
                      ListDirectory(ours.LinksDir()));
  if (!links.empty()) return absl::OkStatus();
  return RemoveVersion(ours);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Datapath>> Datapath::Open(
    const Options& options) {
  FL_RETURN_IF_ERROR(CheckRequirements(options));
  PinLayout layout(options.pin_root, VersionName(options.sizes));
  std::unique_ptr<Datapath> datapath(new Datapath(layout, options.tc_mode));
  FL_ASSIGN_OR_RETURN(std::vector<PinLayout> others, FindPredecessors(layout));
  if (!others.empty()) FL_RETURN_IF_ERROR(DiscardUnused(layout));
  datapath->restarted_ =
      !others.empty() ||
      access(layout.MapPath("fl_service").c_str(), F_OK) == 0;
  FL_RETURN_IF_ERROR(layout.CreateDirectories());
  FL_ASSIGN_OR_RETURN(datapath->programs_,
                      Programs::Load(layout, options.config, options.sizes));
  FL_ASSIGN_OR_RETURN(datapath->maps_, KernelMaps::Open(layout));
  FL_ASSIGN_OR_RETURN(datapath->inspector_, Inspector::Open(layout));
  FL_ASSIGN_OR_RETURN(PinnedMap node, OpenPinnedMap(layout, "fl_node"));
  datapath->node_ = {"fl_node", std::move(node.fd)};
  FL_ASSIGN_OR_RETURN(PinnedMap devices_map,
                      OpenPinnedMap(layout, "fl_device"));
  datapath->devices_ = {"fl_device", std::move(devices_map.fd)};
  FL_ASSIGN_OR_RETURN(PinnedMap foreign, OpenPinnedMap(layout, "fl_foreign"));
  datapath->foreign_ = {"fl_foreign", std::move(foreign.fd)};
  if (!others.empty()) {
    datapath->upgrade_.emplace().from = others[0].version_dir();
    datapath->upgrade_->status = datapath->TakeOver(others[0], options);
  }
  FL_RETURN_IF_ERROR(
      datapath->AttachAll(*datapath->programs_, options.cgroup_root));
  FL_RETURN_IF_ERROR(WriteProgramConfig(layout, options.config));
  FL_RETURN_IF_ERROR(datapath->programs_->Keep(layout));
  // Another version's programs end only now that ours are in place.
  FL_RETURN_IF_ERROR(RemoveVersions(options.pin_root, layout.version_dir()));
  return datapath;
}

absl::Status Datapath::AttachAll(
    const Programs& programs, const std::optional<std::string>& cgroup_root) {
  if (cgroup_root) {
    FL_RETURN_IF_ERROR(AttachCgroup(layout_, programs, *cgroup_root));
  } else {
    FL_RETURN_IF_ERROR(DetachCgroup(layout_));
  }
  FL_RETURN_IF_ERROR(PruneDevices());
  // Devices that the last run attached get the new programs now; whether they
  // are still wanted is the caller's to say.
  FL_ASSIGN_OR_RETURN(std::vector<int> devices, AttachedDevices());
  for (int ifindex : devices) {
    FL_RETURN_IF_ERROR(
        datapath::AttachDevice(layout_, programs, ifindex, tc_mode_));
  }
  return absl::OkStatus();
}

// The flows that their programs open between the second copy and the end of
// the third are missing to ours for some milliseconds. The programs that run
// then drop such a flow's packets; the ones of every day would reset it.
absl::Status Datapath::TakeOver(const PinLayout& theirs,
                                const Options& options) {
  using Which = Predecessor::Which;
  fl_config config = options.config;
  config.changeover = 1;
  FL_ASSIGN_OR_RETURN(std::unique_ptr<Programs> changeover,
                      Programs::Load(layout_, config, options.sizes));
  FL_ASSIGN_OR_RETURN(std::unique_ptr<Predecessor> predecessor,
                      Predecessor::Open(theirs, layout_, maps_.get()));
  FL_ASSIGN_OR_RETURN(std::vector<std::string> links,
                      ListDirectory(layout_.LinksDir()));
  auto copy = [&]() -> absl::Status {
    // With links of ours, an earlier attempt ended after this: what we have is
    // newer.
    if (links.empty()) {
      FL_RETURN_IF_ERROR(predecessor->CopyTables());
      // The second copy is short, and so is what it leaves to the third.
      FL_RETURN_IF_ERROR(predecessor->CopyState(Which::kAll));
      FL_RETURN_IF_ERROR(predecessor->CopyState(Which::kAll));
    }
    FL_RETURN_IF_ERROR(predecessor->MoveLinks());
    FL_RETURN_IF_ERROR(AttachAll(*changeover, options.cgroup_root));
    // Their programs may run to their end on another CPU still: this waits for
    // that (an RCU grace period). Where it isn't had, it is short of nothing
    // but those.
    (void)syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
    return predecessor->CopyState(Which::kMissing);
  };
  absl::Status status = copy();
  upgrade_->copied = predecessor->stats();
  return status;
}

absl::StatusOr<fl_node> Datapath::Node() const {
  FL_ASSIGN_OR_RETURN(std::optional<fl_node> node, node_.Lookup(0));
  return node.value_or(fl_node{});
}

absl::Status Datapath::SetNodePods(const std::vector<IpPrefix>& ranges) {
  FL_ASSIGN_OR_RETURN(fl_node node, Node());
  PutNodePods(ranges, &node);
  return node_.Update(0, node);
}

// An update isn't atomic to programs that run: while the list is written, its
// length is 0.
absl::Status Datapath::SetServiceRanges(const std::vector<IpPrefix>& ranges) {
  FL_ASSIGN_OR_RETURN(fl_node old, Node());
  fl_node node = old;
  PutServiceRanges(ranges, &node);
  if (std::memcmp(&node, &old, sizeof node) == 0) return absl::OkStatus();
  old.services4_count = old.services6_count = 0;
  FL_RETURN_IF_ERROR(node_.Update(0, old));
  fl_node hidden = node;
  hidden.services4_count = hidden.services6_count = 0;
  FL_RETURN_IF_ERROR(node_.Update(0, hidden));
  return node_.Update(0, node);
}

absl::StatusOr<std::vector<IpPrefix>> Datapath::ServiceRanges() const {
  FL_ASSIGN_OR_RETURN(fl_node node, Node());
  return ServiceRangesOf(node);
}

absl::Status Datapath::SetPodDevice(int ifindex, bool pods) {
  if (!pods) return devices_.Delete(ifindex);
  return devices_.Update(ifindex, {FL_DEVICE_PODS});
}

absl::StatusOr<std::vector<int>> Datapath::PodDevices() const {
  std::vector<int> devices;
  FL_RETURN_IF_ERROR(
      devices_.ForEach([&](const uint32_t& ifindex, const fl_device&) {
        devices.push_back(static_cast<int>(ifindex));
        return true;
      }));
  return devices;
}

// Those that stay are there all the time.
absl::Status Datapath::SetForeignFlows(absl::Span<const fl_flow_key> keys) {
  auto bytes = [](const fl_flow_key& key) {
    return absl::string_view(reinterpret_cast<const char*>(&key), sizeof key);
  };
  absl::flat_hash_set<absl::string_view> wanted;
  for (const fl_flow_key& key : keys) wanted.insert(bytes(key));
  std::vector<fl_flow_key> ended;
  FL_RETURN_IF_ERROR(
      foreign_.ForEach([&](const fl_flow_key& key, const uint32_t&) {
        if (wanted.erase(bytes(key)) == 0) ended.push_back(key);
        return true;
      }));
  for (const fl_flow_key& key : ended) {
    FL_RETURN_IF_ERROR(foreign_.Delete(key));
  }
  for (absl::string_view text : wanted) {
    fl_flow_key key;
    std::memcpy(&key, text.data(), sizeof key);
    FL_RETURN_IF_ERROR(foreign_.Update(key, 1));
  }
  return absl::OkStatus();
}

absl::Status Datapath::AttachDevice(int ifindex) {
  return datapath::AttachDevice(layout_, *programs_, ifindex, tc_mode_);
}

absl::Status Datapath::DetachDevice(int ifindex) {
  return datapath::DetachDevice(layout_, ifindex);
}

absl::StatusOr<std::vector<int>> Datapath::AttachedDevices() const {
  return datapath::AttachedDevices(layout_);
}

absl::Status Datapath::PruneDevices() {
  return datapath::PruneDevices(layout_);
}

absl::StatusOr<std::unique_ptr<EventReader>> Datapath::ReadEvents(
    EventReader::Callback callback) const {
  return EventReader::Start(layout_, std::move(callback));
}

absl::Status Cleanup(const std::string& pin_root) {
  FL_RETURN_IF_ERROR(CheckPrivileges());
  if (access(pin_root.c_str(), F_OK) != 0 && errno == ENOENT) {
    return absl::OkStatus();
  }
  FL_RETURN_IF_ERROR(PinLayout(pin_root).Check());
  FL_RETURN_IF_ERROR(RemoveVersions(pin_root, /*keep=*/""));
  // The root may be a mount point, or hold what isn't ours.
  if (rmdir(pin_root.c_str()) != 0 && errno != EBUSY && errno != ENOTEMPTY &&
      errno != ENOENT) {
    return ErrnoStatus(errno, "rmdir", pin_root);
  }
  return absl::OkStatus();
}

}  // namespace fairlead::datapath
