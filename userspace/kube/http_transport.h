// SPDX-License-Identifier: Apache-2.0
// Transport over HTTP/1.1 (plain; TLS where the URL says https), with a small
// pool of kept-alive connections. Threads and cancelling: as Transport.
#ifndef FAIRLEAD_USERSPACE_KUBE_HTTP_TRANSPORT_H_
#define FAIRLEAD_USERSPACE_KUBE_HTTP_TRANSPORT_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/kubeconfig.h"
#include "userspace/kube/transport.h"

namespace fairlead::kube {

struct HttpTransportOptions {
  absl::Duration connect_timeout = absl::Seconds(5);
  absl::Duration request_timeout = absl::Seconds(30);  // not for Stream bodies
  size_t max_body_bytes = 256u << 20;
};

// `loop` must outlive the transport.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Transport>> MakeHttpTransport(
    EventLoop* loop, const ApiServer& server,
    const HttpTransportOptions& options = {});

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_HTTP_TRANSPORT_H_
