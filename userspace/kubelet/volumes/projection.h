// SPDX-License-Identifier: Apache-2.0
// What files a projection gives. Pure. Errors are in a kubelet's words, as they
// end up in a FailedMount event.
#ifndef FAIRLEAD_USERSPACE_KUBELET_VOLUMES_PROJECTION_H_
#define FAIRLEAD_USERSPACE_KUBELET_VOLUMES_PROJECTION_H_

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "userspace/kubelet/env.h"
#include "userspace/kubelet/object_cache.h"
#include "userspace/kubelet/volumes/volume.h"

namespace fairlead::kubelet {

struct FileContent {
  std::string data;
  mode_t mode = 0644;
  std::optional<uid_t> owner;  // absent: root
  friend bool operator==(const FileContent&, const FileContent&) = default;
};
// By the path in the volume; a later projection's file wins.
using Payload = std::map<std::string, FileContent>;

// Of a ConfigMap or Secret: its keys, or those that `projection` names.
[[nodiscard]] absl::Status ProjectObject(const Projection& projection,
                                         const ObjectData& object, mode_t mode,
                                         Payload* payload);
[[nodiscard]] absl::Status ProjectFields(const Projection& projection,
                                         const EnvContext& context,
                                         mode_t mode, Payload* payload);
// Whether a file may be made at `path`: relative, with no "..", and not the
// name of what a projected volume has of its own.
bool IsUsablePath(std::string_view path);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_VOLUMES_PROJECTION_H_
