// SPDX-License-Identifier: Apache-2.0
// Putting programs on cgroups and devices so that they stay there without
// this process, and are replaced in place by the next one.
//
// A link is recognised as ours by its pin. Threads: one at a time; devices are
// those of the calling thread's network namespace.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_ATTACH_H_
#define FAIRLEAD_USERSPACE_DATAPATH_ATTACH_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/datapath/loader.h"
#include "userspace/datapath/pin_layout.h"

namespace fairlead::datapath {

// kAuto: tcx, or clsact where the kernel has no tcx (before 6.6).
enum class TcMode { kAuto, kTcx, kClsact };

// Attaches all socket programs to the cgroup. A pinned link to another cgroup
// (or to one that is gone) is replaced.
[[nodiscard]] absl::Status AttachCgroup(const PinLayout& layout,
                                        const Programs& programs,
                                        const std::string& cgroup_root);
[[nodiscard]] absl::Status DetachCgroup(const PinLayout& layout);

[[nodiscard]] absl::Status AttachDevice(const PinLayout& layout,
                                        const Programs& programs, int ifindex,
                                        TcMode mode);
// OK if nothing is attached, or the device is gone.
[[nodiscard]] absl::Status DetachDevice(const PinLayout& layout, int ifindex);
// These in place of those that run, wherever some do.
[[nodiscard]] absl::Status ReplacePrograms(const PinLayout& layout,
                                           const Programs& programs);
// Interface indices that have pins, rising.
[[nodiscard]] absl::StatusOr<std::vector<int>> AttachedDevices(
    const PinLayout& layout);
// Is a file in LinksDir() one that AttachCgroup or AttachDevice would make?
bool IsLinkName(std::string_view file_name);
// Removes the pins of devices that are gone.
[[nodiscard]] absl::Status PruneDevices(const PinLayout& layout);

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_ATTACH_H_
