// SPDX-License-Identifier: Apache-2.0
// The admin API (userspace/admin/admin.proto) on the connections that an
// AdminListener lets in.
//
// Threads: make and destroy it on the thread that runs the loop, while the
// loop isn't running. Calls come on gRPC's threads: they read the kernel's
// tables there and post to the loop for everything else.
#ifndef FAIRLEAD_USERSPACE_AGENT_ADMIN_SERVICE_H_
#define FAIRLEAD_USERSPACE_AGENT_ADMIN_SERVICE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "userspace/agent/agent.h"
#include "userspace/base/event_loop.h"

namespace fairlead::agent {

class AdminServer {
 public:
  // Replaces the socket of an agent that is gone; kAlreadyExists if one
  // answers on it. `loop` and `agent` outlive the server.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<AdminServer>> Start(
      const std::string& socket_path, EventLoop* loop, const Agent* agent);
  // Ends calls under way and removes the socket.
  ~AdminServer();

 private:
  class Impl;
  explicit AdminServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_ADMIN_SERVICE_H_
