// SPDX-License-Identifier: Apache-2.0
// Who sent a request: by the certificate of its connection, by its bearer
// token, or nobody.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_AUTHENTICATION_H_
#define FAIRLEAD_CONTROL_API_AUTHENTICATION_H_

#include <optional>

#include "absl/status/statusor.h"
#include "control/api/http.h"
#include "control/api/identity.h"
#include "control/api/service_account_tokens.h"
#include "userspace/base/clock.h"
#include "userspace/pki/certificate.h"

namespace fairlead::api {

class Authentication {
 public:
  // nullopt `client_authority`: no certificate is worth anything.
  Authentication(std::optional<pki::Certificate> client_authority,
                 const ServiceAccountTokens* tokens, const Clock* clock)
      : authority_(std::move(client_authority)),
        tokens_(tokens),
        clock_(clock) {}

  // The sender. Without credentials: the administrator where the peer is
  // trusted, else anonymous. Credentials of which none is good: kUnauthenticated
  // with the reason, for the log.
  [[nodiscard]] absl::StatusOr<User> Identify(const kube::Request& request,
                                              const Peer& peer) const;

 private:
  std::optional<pki::Certificate> authority_;
  const ServiceAccountTokens* tokens_;
  const Clock* clock_;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_AUTHENTICATION_H_
