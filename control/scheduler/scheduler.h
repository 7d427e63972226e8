// SPDX-License-Identifier: Apache-2.0
// Binds pods to nodes: one decision after the other, bindings in parallel.
//
// A pod that fits nowhere says so in its PodScheduled condition and an event,
// and is tried again when a node or a placed pod changes in a way that might
// help.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_SCHEDULER_SCHEDULER_H_
#define FAIRLEAD_CONTROL_SCHEDULER_SCHEDULER_H_

#include <cstdint>
#include <memory>

#include "control/controllers/shell.h"

namespace fairlead::scheduler {

class Scheduler {
 public:
  // REQUIRES: before the informers are started.
  explicit Scheduler(const controllers::Context& context);
  ~Scheduler();

  struct Stats {
    uint64_t bound = 0;
    uint64_t unschedulable = 0;  // decisions, not pods
    uint64_t errors = 0;
  };
  const Stats& stats() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::scheduler

#endif  // FAIRLEAD_CONTROL_SCHEDULER_SCHEDULER_H_
