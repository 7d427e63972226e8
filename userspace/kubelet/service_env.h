// SPDX-License-Identifier: Apache-2.0
// The variables by which a container finds the Services of its namespace
// (NAME_SERVICE_HOST, NAME_SERVICE_PORT, the older NAME_PORT_80_TCP_ADDR ...).
// Pure.
#ifndef FAIRLEAD_USERSPACE_KUBELET_SERVICE_ENV_H_
#define FAIRLEAD_USERSPACE_KUBELET_SERVICE_ENV_H_

#include <string>
#include <utility>
#include <vector>

#include "userspace/kube/informer.h"

namespace fairlead::kubelet {

// Services without a cluster IP have none.
std::vector<std::pair<std::string, std::string>> ServiceVariables(
    const std::vector<kube::Object>& services);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_SERVICE_ENV_H_
