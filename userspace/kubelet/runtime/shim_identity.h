// SPDX-License-Identifier: Apache-2.0
// Whom the container's commands run as. For one-threaded programs that are
// about to exec; failures end the process (Fail in shim_spec.h).
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_SHIM_IDENTITY_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_SHIM_IDENTITY_H_

#include "userspace/kubelet/runtime/shim_spec.h"

namespace fairlead::shim {

// Capabilities, groups, user, no_new_privs, in the order that works.
void TakeIdentity(int report, const Spec& spec);

}  // namespace fairlead::shim

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_SHIM_IDENTITY_H_
