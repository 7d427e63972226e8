// SPDX-License-Identifier: Apache-2.0
// The TLS settings of each new connection, as the client certificate rotates:
// one from files is read again every 10 s, and after it was refused, before
// the next request (client-go does it too, each 5 minutes). A pair that can't
// be used, or of which only one file has been replaced yet, leaves the last
// good one in use.
// Threads: the event loop's only.
#ifndef FAIRLEAD_USERSPACE_KUBE_TLS_SOURCE_H_
#define FAIRLEAD_USERSPACE_KUBE_TLS_SOURCE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/kube/byte_stream.h"
#include "userspace/kube/kubeconfig.h"

namespace fairlead::kube {

class TlsSource {
 public:
  // No TLS.
  TlsSource() = default;
  // Errors: as TlsSettings::Make.
  [[nodiscard]] static absl::StatusOr<TlsSource> Make(const ApiServer& server);

  // Another pointer than before once the certificate has changed; what was
  // connected with the old one shouldn't be used for new requests. Null
  // without TLS. `now` is monotonic.
  const std::shared_ptr<TlsSettings>& Current(absl::Duration now);
  // The server refused us: the files are read before the next request.
  void Refused() { next_read_ = absl::ZeroDuration(); }

 private:
  ApiServer server_;
  std::shared_ptr<TlsSettings> settings_;
  absl::Duration next_read_ = absl::ZeroDuration();
};

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_TLS_SOURCE_H_
