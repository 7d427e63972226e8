// SPDX-License-Identifier: Apache-2.0
// The control plane as one thing: store, API server, controllers, scheduler.
//
// Threads: the event loop's only (the store has a writer thread of its own).
#ifndef FAIRLEAD_CONTROL_SERVER_CONTROL_PLANE_H_
#define FAIRLEAD_CONTROL_SERVER_CONTROL_PLANE_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "control/server/config.h"
#include "userspace/base/event_loop.h"

namespace fairlead::server {

class ControlPlane {
 public:
  // Opens the store, listens, and starts the controllers. `loop` outlives the
  // control plane. `on_ready` runs once, when the controllers know the whole
  // cluster.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ControlPlane>> Create(
      EventLoop* loop, const ControllerConfig& config,
      std::function<void()> on_ready);
  virtual ~ControlPlane() = default;

  // Makes a backup of the store now (server/backups.h).
  virtual void BackUp() = 0;
};

}  // namespace fairlead::server

#endif  // FAIRLEAD_CONTROL_SERVER_CONTROL_PLANE_H_
