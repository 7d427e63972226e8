// SPDX-License-Identifier: Apache-2.0
// What the API server shows kubelets, and whom it takes for one: a client
// certificate of the cluster's own authority, in memory only and renewed each
// week, or the one of --kubelet-client-certificate, read again as it changes.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_SERVER_KUBELET_CLIENT_H_
#define FAIRLEAD_CONTROL_SERVER_KUBELET_CLIENT_H_

#include <memory>

#include "absl/status/statusor.h"
#include "control/server/config.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/tls_source.h"
#include "userspace/pki/authority.h"

namespace fairlead::server {

class KubeletClient {
 public:
  // `loop` and `authority` outlive it. Errors name the file that is no good.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<KubeletClient>> Create(
      EventLoop* loop, const pki::Authority* authority,
      const KubeletClientOptions& options);

  // For a new connection.
  std::shared_ptr<kube::TlsSettings> current();

 private:
  KubeletClient(EventLoop* loop, const pki::Authority* authority)
      : loop_(loop), authority_(authority) {}
  absl::Status Renew();

  EventLoop* loop_;
  const pki::Authority* authority_;
  kube::ApiServer peer_;
  kube::TlsSource source_;
  Timer timer_;
};

}  // namespace fairlead::server

#endif  // FAIRLEAD_CONTROL_SERVER_KUBELET_CLIENT_H_
