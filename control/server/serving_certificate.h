// SPDX-License-Identifier: Apache-2.0
// The certificate that the API server shows: of the cluster's own authority,
// in memory only, made at the start and renewed long before its end.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_SERVER_SERVING_CERTIFICATE_H_
#define FAIRLEAD_CONTROL_SERVER_SERVING_CERTIFICATE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "control/server/config.h"
#include "userspace/base/event_loop.h"
#include "userspace/pki/authority.h"
#include "userspace/pki/tls_server.h"

namespace fairlead::server {

class ServingCertificate {
 public:
  // `loop` and `authority` outlive it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ServingCertificate>>
  Create(EventLoop* loop, const pki::Authority* authority,
         const ControllerConfig& config);

  // What a new connection is served with.
  pki::TlsContext current() const { return context_; }

 private:
  ServingCertificate(EventLoop* loop, const pki::Authority* authority)
      : loop_(loop), authority_(authority) {}
  absl::Status Renew();

  EventLoop* loop_;
  const pki::Authority* authority_;
  std::vector<std::string> names_;
  std::vector<IpAddress> addresses_;
  pki::TlsContext context_;
  Timer timer_;
};

}  // namespace fairlead::server

#endif  // FAIRLEAD_CONTROL_SERVER_SERVING_CERTIFICATE_H_
