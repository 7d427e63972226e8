// SPDX-License-Identifier: Apache-2.0
// Notices nodes that fell silent, taints them, takes their pods out of
// service at once and evicts them when their tolerations run out.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_NODE_LIFECYCLE_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_NODE_LIFECYCLE_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

struct NodeLifecycleOptions {
  // A node whose lease was not renewed for this long is not there.
  absl::Duration grace_period = absl::Seconds(40);
  // Replaces the tolerationSeconds that every pod gets by default (300).
  std::optional<absl::Duration> eviction_timeout;
};

struct NodeFacts {
  Object node;
  std::vector<Object> pods;  // bound to it
  // Since its lease or its status last changed, by this process' own clock.
  absl::Duration silent_for;
  bool is_new = false;  // seen for the first time by this process
};

Plan PlanNodeLifecycle(const NodeFacts& facts,
                       const NodeLifecycleOptions& options, absl::Time now);

// When nodes were last heard of, by this process' own clock. Time in which the
// process itself stood still (was stopped, or its machine was) is nobody's
// silence: nobody could be heard.
class Heartbeats {
 public:
  // `period`: how often Breathe() is called at least.
  explicit Heartbeats(absl::Duration period) : period_(period) {}

  // Every time before anybody is heard or judged.
  void Breathe(absl::Duration now);
  // A lease or a status with this stamp; only a new one is a sign of life.
  void Renewed(const std::string& node, std::string_view stamp,
               absl::Duration now);
  void Posted(const std::string& node, std::string_view stamp,
              absl::Duration now);
  void Forget(const std::string& node) { nodes_.erase(node); }
  // nullopt for one that was never heard.
  std::optional<absl::Duration> SilentFor(const std::string& node,
                                          absl::Duration now) const;
  // True once for each node.
  bool IsNew(const std::string& node);

 private:
  struct Heartbeat {
    std::string renewed;  // the lease's renewTime
    std::string posted;   // the Ready condition's lastHeartbeatTime
    absl::Duration heard;  // monotonic
    bool announced = false;
  };
  void Hear(const std::string& node, std::string Heartbeat::*which,
            std::string_view stamp, absl::Duration now);

  absl::Duration period_;
  std::optional<absl::Duration> breathed_;
  absl::flat_hash_map<std::string, Heartbeat> nodes_;
};

class NodeLifecycleController {
 public:
  NodeLifecycleController(const Context& context,
                          const NodeLifecycleOptions& options);
  Shell& shell() { return shell_; }

 private:
  Plan Make(const std::string& name);
  // The present time, after a breath.
  absl::Duration Now();
  void PodChanged(const Object& before, const Object& after);

  Context context_;
  NodeLifecycleOptions options_;
  Heartbeats heartbeats_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_NODE_LIFECYCLE_H_
