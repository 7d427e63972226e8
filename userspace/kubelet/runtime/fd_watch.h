// SPDX-License-Identifier: Apache-2.0
// Runs a callback whenever a descriptor can be read; a pidfd can be read once
// its process has ended.
//
// Threads: the event loop's only. The callback may destroy the watch.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_FD_WATCH_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_FD_WATCH_H_

#include <functional>
#include <memory>

#include "userspace/base/event_loop.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::kubelet {

class FdWatch {
 public:
  // Owns `fd`. Destroying the watch cancels.
  FdWatch(EventLoop* loop, UniqueFd fd, std::function<void()> on_readable);
  ~FdWatch();
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;

  int fd() const;

 private:
  struct State;
  // Shared with the pending wait, which outlives a cancelled watch.
  std::shared_ptr<State> state_;
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_FD_WATCH_H_
