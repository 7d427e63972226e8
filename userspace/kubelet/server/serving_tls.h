// SPDX-License-Identifier: Apache-2.0
// The TLS side of the kubelet's port: its serving certificate and whose client
// certificates it takes, from files that may be replaced while it runs.
//
// Threads: the event loop's only. Does file I/O, of three small files.
#ifndef FAIRLEAD_USERSPACE_KUBELET_SERVER_SERVING_TLS_H_
#define FAIRLEAD_USERSPACE_KUBELET_SERVER_SERVING_TLS_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/kubelet/options.h"
#include "userspace/pki/certificate.h"
#include "userspace/pki/tls_server.h"

namespace fairlead::kubelet {

class ServingTls {
 public:
  // Errors name the file that is missing or no good.
  [[nodiscard]] static absl::StatusOr<ServingTls> Open(TlsFiles files);

  // What a new connection is served with. Files that have changed are read
  // again, at most every 10 s; what can't be used leaves the last good ones in
  // use, and a warning. `now` is monotonic.
  pki::TlsContext Current(absl::Duration now);
  // Of the last Current().
  const pki::Certificate& client_authority() const {
    return *client_authority_;
  }

 private:
  explicit ServingTls(TlsFiles files) : files_(std::move(files)) {}
  absl::Status Load();

  TlsFiles files_;
  std::string read_;  // the files' texts, one after the other
  pki::TlsContext context_;
  std::optional<pki::Certificate> client_authority_;
  absl::Duration next_look_ = absl::ZeroDuration();
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_SERVER_SERVING_TLS_H_
