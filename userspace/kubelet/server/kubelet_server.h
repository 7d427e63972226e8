// SPDX-License-Identifier: Apache-2.0
// The kubelet's own HTTP port, which the API server asks for what only the
// node has: logs, commands inside containers, connections to pods. The paths are Kubernetes'.
//
//   GET /healthz
//   GET /stats/summary, /metrics/resource
//   GET /containerLogs/NAMESPACE/POD/CONTAINER?follow=&previous=&tailLines=...
//   GET|POST /exec/NAMESPACE/POD/CONTAINER?command=...&input=1&output=1...
//   GET|POST /portForward/NAMESPACE/POD
//
// Over TLS each request needs a client certificate that may (access.h), also
// /healthz. Without TLS who reaches the port may do all of this.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_USERSPACE_KUBELET_SERVER_KUBELET_SERVER_H_
#define FAIRLEAD_USERSPACE_KUBELET_SERVER_KUBELET_SERVER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "userspace/base/event_loop.h"
#include "userspace/base/ip_address.h"
#include "userspace/kubelet/pod_worker.h"
#include "userspace/kubelet/server/connection.h"
#include "userspace/kubelet/server/serving_tls.h"
#include "userspace/kubelet/stats/summary.h"

namespace fairlead::kubelet {

class KubeletServer {
 public:
  // The pod, or null.
  using FindPod = std::function<PodWorker*(const std::string& ns,
                                           const std::string& name)>;

  using Stats = std::function<NodeStats()>;

  // `loop` outlives it.
  KubeletServer(EventLoop* loop, FindPod find, Stats stats);
  ~KubeletServer();

  // Port 0: the kernel chooses. No `tls`: plain HTTP.
  [[nodiscard]] absl::Status Listen(const IpAddress& address, Port port,
                                    std::optional<ServingTls> tls);
  Port port() const;

 private:
  struct State;
  // Shared with handlers of the I/O library, which may run after it is gone.
  std::shared_ptr<State> state_;
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_SERVER_KUBELET_SERVER_H_
