// SPDX-License-Identifier: Apache-2.0
// A queue of keys to reconcile: fair (in order), stingy (a key that is added
// many times before it is worked on is worked on once) and re-entrant (a key
// added while it is worked on is worked on again, after).
//
// Threads: the event loop's only. At most `parallel` keys are under way.
#ifndef FAIRLEAD_USERSPACE_KUBE_WORK_QUEUE_H_
#define FAIRLEAD_USERSPACE_KUBE_WORK_QUEUE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "userspace/base/event_loop.h"

namespace fairlead::kube {

class WorkQueue {
 public:
  // Reconciles one key; calls `done` once, now or later, with what became of
  // it. An error puts the key back with exponential back-off.
  using Work = std::function<void(const std::string& key,
                                  std::function<void(absl::Status)> done)>;

  // When a key that may start does: as soon as the loop comes to it; or when it
  // is this queue's turn, all such queues of the loop together having a share of
  // its time. That is a quarter while the loop has other things to do, such as
  // requests from outside, and more the more keys wait; all of it when it hasn't.
  enum class Start { kAtOnce, kInTurn };

  WorkQueue(EventLoop* loop, std::string name, Work work, int parallel = 4,
            Start start = Start::kAtOnce);
  ~WorkQueue();

  void Add(std::string key);
  void AddAfter(std::string key, absl::Duration delay);
  size_t size() const;

 private:
  class Impl;
  // Shared with `done` callbacks that may outlive the queue.
  std::shared_ptr<Impl> impl_;
};

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_WORK_QUEUE_H_
