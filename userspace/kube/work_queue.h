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

  WorkQueue(EventLoop* loop, std::string name, Work work, int parallel = 4);
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
