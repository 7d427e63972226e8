// SPDX-License-Identifier: Apache-2.0
// Tokens of service accounts: made for a TokenRequest, bound to an object or
// not, and checked with every request that carries one. A token dies with its
// time, with its account, and with the object it is bound to.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_SERVICE_ACCOUNT_TOKENS_H_
#define FAIRLEAD_CONTROL_API_SERVICE_ACCOUNT_TOKENS_H_

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "control/api/http.h"
#include "control/api/identity.h"
#include "control/api/registry.h"
#include "control/api/verbs.h"
#include "userspace/pki/key.h"

namespace fairlead::api {

// Of the cluster's tokens, unless the request names other audiences.
inline constexpr char kTokenIssuer[] =
    "https://kubernetes.default.svc.cluster.local";

class ServiceAccountTokens {
 public:
  // nullopt `key`: makes none and takes none.
  ServiceAccountTokens(Registry* registry, std::optional<pki::Key> key)
      : registry_(registry), key_(std::move(key)) {}

  // POST of serviceaccounts/NAME/token.
  void Create(const ApiRequestRef& request, const ResponderRef& responder);

  // Whose token this is, now; kUnauthenticated with the reason, which is for
  // the log and never for the client.
  [[nodiscard]] absl::StatusOr<User> Authenticate(std::string_view token) const;

 private:
  [[nodiscard]] absl::StatusOr<Json> Answer(const ApiRequest& request) const;
  // Who set what of the TokenRequest `body`, as of an object that is kept.
  Json ManagedFields(const ApiRequest& request, const Json& body) const;
  // The pod, secret or node that `ref` names, or the API's error.
  [[nodiscard]] absl::StatusOr<Json> BoundObject(const ApiRequest& request,
                                                 const Json& ref) const;
  // The object as it is now; null when there is none.
  Json Find(const char* plural, std::string_view ns,
            std::string_view name) const;

  Registry* registry_;
  std::optional<pki::Key> key_;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_SERVICE_ACCOUNT_TOKENS_H_
