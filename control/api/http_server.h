// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 on listening sockets, plain or over TLS: parses requests, hands them to a request
// function, writes the answers; keep-alive, chunked streams, limits.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_HTTP_SERVER_H_
#define FAIRLEAD_CONTROL_API_HTTP_SERVER_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "control/api/http.h"
#include "userspace/base/event_loop.h"
#include "userspace/base/unique_fd.h"
#include "userspace/pki/tls_server.h"

namespace fairlead::api {

struct HttpLimits {
  size_t max_body_bytes = 3u << 20;
  size_t max_header_bytes = 64u << 10;
  // For a request's head to arrive whole once it has begun (as long as
  // kube-apiserver waits), and for its body.
  absl::Duration header_timeout = absl::Seconds(32);
  absl::Duration request_timeout = absl::Seconds(60);
  // For a client to take anything at all of what waits for it.
  absl::Duration write_timeout = absl::Seconds(60);
  absl::Duration idle_timeout = absl::Minutes(5);
  absl::Duration handshake_timeout = absl::Seconds(10);
};

using ServeFunction =
    std::function<void(kube::Request, const Peer&, ResponderRef)>;

class HttpServer {
 public:
  HttpServer(EventLoop* loop, HttpLimits limits, ServeFunction serve);
  // Closes all connections.
  ~HttpServer();

  // Serves a listening TCP socket. Null `tls`: plain, and whoever connects is
  // trusted.
  [[nodiscard]] absl::Status Accept(UniqueFd listener, bool ipv6,
                                    pki::TlsSource tls = nullptr);

  size_t connections() const;
  uint64_t requests() const;

 private:
  class Impl;
  // Shared with handlers of the I/O library, which may run after it is gone.
  std::shared_ptr<Impl> impl_;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_HTTP_SERVER_H_
