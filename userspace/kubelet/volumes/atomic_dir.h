// SPDX-License-Identifier: Apache-2.0
// A directory whose files all change at once: they are links into "..data",
// itself a link to one of the directories "..TIME", which is replaced by a
// rename (Kubernetes' atomic writer; programs watch "..data").
//
// Threads: any, one at a time for a directory.
#ifndef FAIRLEAD_USERSPACE_KUBELET_VOLUMES_ATOMIC_DIR_H_
#define FAIRLEAD_USERSPACE_KUBELET_VOLUMES_ATOMIC_DIR_H_

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "userspace/kubelet/volumes/projection.h"

namespace fairlead::kubelet {

// Makes `path`, which exists, hold exactly `payload`. Touches nothing when it
// does already; after an error or a crash the old files are still whole. A
// `group` gets the files and may read them. `now` becomes part of a name.
[[nodiscard]] absl::Status WriteAtomically(const std::string& path,
                                           const Payload& payload,
                                           std::optional<gid_t> group,
                                           absl::Time now);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_VOLUMES_ATOMIC_DIR_H_
