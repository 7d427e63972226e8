// SPDX-License-Identifier: Apache-2.0
// The container's view of the file system. For one-threaded programs that are
// about to exec; failures end the process (Fail in shim_spec.h).
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_SHIM_MOUNTS_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_SHIM_MOUNTS_H_

#include "userspace/kubelet/runtime/shim_spec.h"

namespace fairlead::shim {

// In a mount namespace of its own from here on.
void SetUpMounts(int report, const Spec& spec);

}  // namespace fairlead::shim

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_SHIM_MOUNTS_H_
