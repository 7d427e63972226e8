// SPDX-License-Identifier: Apache-2.0
// Runs a Job's pods until enough have succeeded, or it has failed.
//
// Each pod is counted exactly once: it carries a finalizer until its uid is in
// status.uncountedTerminatedPods, and becomes a number there only when the
// finalizer is gone.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_JOB_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_JOB_H_

#include <string>
#include <vector>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

struct JobFacts {
  Object job;
  std::vector<Object> pods;  // that it controls
};

Plan PlanJob(const JobFacts& facts, absl::Time now);
// Pods whose Job is gone: nobody will count them.
Plan PlanJoblessPods(const std::vector<Object>& pods);

// "0-2,5": a set of indexes as the API writes it.
std::string FormatIndexes(const std::vector<int>& sorted);
std::vector<int> ParseIndexes(std::string_view text);

class JobController {
 public:
  explicit JobController(const Context& context);
  Shell& shell() { return shell_; }

 private:
  Plan Make(const std::string& key);

  Context context_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_JOB_H_
