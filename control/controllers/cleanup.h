// SPDX-License-Identifier: Apache-2.0
// Removes what nobody else will: pods of nodes that are gone, terminating pods
// without a node, finished pods beyond a number, and old events.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_CLEANUP_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_CLEANUP_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

struct CleanupOptions {
  int max_terminated_pods = 12500;
  absl::Duration event_ttl = absl::Hours(1);
  // A node that is missing for less may only be registering anew.
  absl::Duration missing_node_grace = absl::Seconds(40);
};

struct PodCleanupFacts {
  // At least those that may have to go: of a node that is gone, terminating
  // without a node, finished.
  std::vector<Object> pods;
  absl::flat_hash_set<std::string> nodes;  // of theirs, those that exist
  // Since when pods are bound to a node that is not there.
  absl::flat_hash_map<std::string, absl::Time> missing_since;
};

Plan PlanPodCleanup(const PodCleanupFacts& facts,
                    const CleanupOptions& options, absl::Time now);
// `events`: the list as the API server answered it.
Plan PlanEventCleanup(const Json& events, const CleanupOptions& options,
                      absl::Time now);

class CleanupController {
 public:
  CleanupController(const Context& context, const CleanupOptions& options);
  Shell& shell() { return shell_; }

 private:
  Plan Make(const std::string& key, const Shell::Answers& answers);
  PodCleanupFacts PodFacts(absl::Time now);

  Context context_;
  CleanupOptions options_;
  absl::flat_hash_map<std::string, absl::Time> missing_since_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_CLEANUP_H_
