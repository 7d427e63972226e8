// SPDX-License-Identifier: Apache-2.0
// The checks and the creation that a hostPath volume's type asks for.
#ifndef FAIRLEAD_USERSPACE_KUBELET_VOLUMES_HOST_PATH_H_
#define FAIRLEAD_USERSPACE_KUBELET_VOLUMES_HOST_PATH_H_

#include <string>

#include "absl/status/status.h"

namespace fairlead::kubelet {

// `type`: as in core/v1 HostPathType; "" checks nothing, and a directory is
// made when there is nothing. Errors have a kubelet's words.
[[nodiscard]] absl::Status PrepareHostPath(const std::string& path,
                                           const std::string& type);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_VOLUMES_HOST_PATH_H_
