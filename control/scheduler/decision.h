// SPDX-License-Identifier: Apache-2.0
// Chooses a node for a pod. A pure function: equal inputs, equal choice.
#ifndef FAIRLEAD_CONTROL_SCHEDULER_DECISION_H_
#define FAIRLEAD_CONTROL_SCHEDULER_DECISION_H_

#include <string>

#include "control/scheduler/snapshot.h"

namespace fairlead::scheduler {

struct Decision {
  std::string node;     // empty: none fits
  std::string message;  // then why not, for people
};

Decision Decide(const PodView& pod, const Snapshot& snapshot);

}  // namespace fairlead::scheduler

#endif  // FAIRLEAD_CONTROL_SCHEDULER_DECISION_H_
