// SPDX-License-Identifier: Apache-2.0
// What sub-resources that answer no object say. For the verbs' files alone.
#ifndef FAIRLEAD_CONTROL_API_SUBRESOURCES_H_
#define FAIRLEAD_CONTROL_API_SUBRESOURCES_H_

#include "userspace/kube/transport.h"

namespace fairlead::api {

// A 201 that says Success.
kube::Response SuccessStatus(bool pretty);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_SUBRESOURCES_H_
