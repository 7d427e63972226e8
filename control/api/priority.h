// SPDX-License-Identifier: Apache-2.0
// Gives new pods the priority of the PriorityClass they name, or that of the
// class that is the default.
//
// Threads: the API server's only.
#ifndef FAIRLEAD_CONTROL_API_PRIORITY_H_
#define FAIRLEAD_CONTROL_API_PRIORITY_H_

#include <memory>

#include "control/api/kind.h"

namespace fairlead::api {

std::unique_ptr<Admission> MakePriorityAdmission();

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_PRIORITY_H_
