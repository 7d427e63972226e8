// SPDX-License-Identifier: Apache-2.0
// What a Job's spec says about pods that failed and about having succeeded
// enough. Pure functions.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_JOB_POLICY_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_JOB_POLICY_H_

#include <optional>
#include <set>
#include <string>

#include "control/controllers/object.h"

namespace fairlead::controllers {

struct PodVerdict {
  bool counts = true;        // against the limits of failures
  bool fails_index = false;  // its index is not tried again
  std::string fails_job;     // why the whole Job has failed; empty: it hasn't
};

// By the first rule of spec.podFailurePolicy (or null) that the pod matches.
PodVerdict JudgeFailedPod(const Json& policy, const Json& pod);

// Which rule of spec.successPolicy (or null) these indexes fulfil, in words.
std::optional<std::string> FulfilledRule(const Json& policy,
                                         const std::set<int>& succeeded);

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_JOB_POLICY_H_
