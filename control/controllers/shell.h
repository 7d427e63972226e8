// SPDX-License-Identifier: Apache-2.0
// Runs one controller: keys in, a plan for each, its writes out.
//
// A key is planned from what the informers show, and not again before they
// show what the last plan wrote: so a plan never counts its own pods as
// missing. A refused write (conflict, already there) means that the plan was
// made from old facts and is made again; other errors back off.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_SHELL_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_SHELL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "control/controllers/informers.h"
#include "userspace/base/clock.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/transport.h"

namespace fairlead::controllers {

struct Plan;

// What all controllers of a process share. Pointers outlive them.
struct Context {
  EventLoop* loop = nullptr;
  kube::Transport* transport = nullptr;
  Informers* informers = nullptr;
  const Clock* clock = &Clock::Real();
};

class Shell {
 public:
  // In the order of Plan::reads; empty the first time.
  using Answers = std::vector<absl::StatusOr<nlohmann::json>>;
  using PlanFunction =
      std::function<Plan(const std::string& key, const Answers& answers)>;

  // `name`: "deployment-controller", the source of its events.
  Shell(const Context& context, std::string name, PlanFunction plan,
        int parallel = 16);
  ~Shell();

  // Keys wait until all informers have synced.
  void Add(std::string key);
  // As Add, for an object that this controller also writes, which is now
  // `after` (null: gone): its own last writes for the key plan nothing anew.
  void AddChanged(std::string key, const kube::Object& after);
  void AddAfter(std::string key, absl::Duration delay);

  struct Stats {
    uint64_t plans = 0;
    uint64_t writes = 0;
    uint64_t conflicts = 0;
    uint64_t errors = 0;
  };
  const Stats& stats() const;
  const std::string& name() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // shared with answers under way
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_SHELL_H_
