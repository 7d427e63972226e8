// SPDX-License-Identifier: Apache-2.0
// A pod's volumes and their mounts (core/v1), decoded. Values only.
#ifndef FAIRLEAD_USERSPACE_KUBELET_VOLUMES_VOLUME_H_
#define FAIRLEAD_USERSPACE_KUBELET_VOLUMES_VOLUME_H_

#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "userspace/kubelet/resources.h"

namespace fairlead::kubelet {

// One file of a projection.
struct ProjectedFile {
  std::string path;  // in the volume
  std::optional<mode_t> mode;
  std::string key;                      // of a ConfigMap or Secret
  std::string field;                    // downwardAPI: its fieldRef
  std::optional<ResourceRef> resource;  // or its resourceFieldRef
};

struct Projection {
  enum class Kind { kConfigMap, kSecret, kDownwardApi, kToken };
  Kind kind = Kind::kConfigMap;
  std::string object;                // kConfigMap, kSecret: its name
  bool optional = false;             // likewise: it needn't be there
  std::vector<ProjectedFile> files;  // of those two, none: all keys
  std::string audience;              // kToken; "": the API server's own
  absl::Duration lifetime;           // kToken: asked for
};

struct Volume {
  enum class Kind { kEmptyDir, kHostPath, kProjected, kUnsupported };
  std::string name;
  Kind kind = Kind::kUnsupported;
  // kProjected; a configMap, secret or downwardAPI volume is one of one.
  std::vector<Projection> projections;
  mode_t mode = 0644;  // of files that name none
  // kEmptyDir
  bool in_memory = false;
  std::optional<int64_t> size_limit;  // bytes
  // kHostPath
  std::string path, type;
  std::string unsupported;  // the field that says which kind it is
};
Volume DecodeVolume(const nlohmann::json& volume);

struct VolumeMount {
  std::string volume;
  std::string path;  // in the container
  std::string sub_path, sub_path_expr;
  bool read_only = false;
};
VolumeMount DecodeVolumeMount(const nlohmann::json& mount);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_VOLUMES_VOLUME_H_
