// SPDX-License-Identifier: Apache-2.0
// Who may speak to the admin service: connections to a unix socket that only
// its owner can open, from processes of that owner or of root.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_USERSPACE_AGENT_ADMIN_LISTENER_H_
#define FAIRLEAD_USERSPACE_AGENT_ADMIN_LISTENER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "userspace/base/event_loop.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::agent {

class AdminListener {
 public:
  // Gets each connection that is let in; non-blocking.
  using Accepted = std::function<void(UniqueFd)>;

  // Replaces the socket of an agent that is gone; kAlreadyExists if one
  // answers on it. `loop` outlives the listener.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<AdminListener>> Open(
      const std::string& path, EventLoop* loop, Accepted accepted);
  // Removes the socket.
  ~AdminListener();

 private:
  class Impl;
  explicit AdminListener(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  // Shared with the accept under way.
  std::shared_ptr<Impl> impl_;
};

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_ADMIN_LISTENER_H_
