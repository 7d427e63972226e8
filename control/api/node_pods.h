// SPDX-License-Identifier: Apache-2.0
// NodePods over the registry's pods, looked through at each question: only
// kubelets ask, and seldom.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_NODE_PODS_H_
#define FAIRLEAD_CONTROL_API_NODE_PODS_H_

#include <memory>

#include "control/api/authorization.h"
#include "control/api/registry.h"

namespace fairlead::api {

std::unique_ptr<NodePods> MakeNodePods(Registry* registry);
// Whether a pod's spec names the object: "secrets", "configmaps" or
// "serviceaccounts". `kube-root-ca.crt` counts as named by every pod.
bool Mentions(const Json& pod, std::string_view resource,
              std::string_view name);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_NODE_PODS_H_
