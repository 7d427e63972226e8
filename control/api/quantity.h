// SPDX-License-Identifier: Apache-2.0
// userspace/kube/quantity.h by the name that this room uses.
#ifndef FAIRLEAD_CONTROL_API_QUANTITY_H_
#define FAIRLEAD_CONTROL_API_QUANTITY_H_

#include "userspace/kube/quantity.h"

namespace fairlead::api {

using kube::Quantity;

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_QUANTITY_H_
