// SPDX-License-Identifier: Apache-2.0
// The kinds that only the control plane speaks of.
#ifndef FAIRLEAD_USERSPACE_KUBE_CONTROL_RESOURCES_H_
#define FAIRLEAD_USERSPACE_KUBE_CONTROL_RESOURCES_H_

#include "userspace/kube/resource.h"

namespace fairlead::kube {

const Resource& DaemonSets();
const Resource& ControllerRevisions();
const Resource& Jobs();
const Resource& PodDisruptionBudgets();
const Resource& PriorityClasses();
const Resource& ServiceCidrs();
const Resource& IpAddresses();
const Resource& Endpoints();
const Resource& ClusterRoles();

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_CONTROL_RESOURCES_H_
