// SPDX-License-Identifier: Apache-2.0
#include "control/api/authentication.h"

#include <utility>

#include "absl/strings/match.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

// The token of "Authorization: Bearer TOKEN"; nullopt: there is no such
// header. Another scheme is no credential, as for the API.
std::optional<std::string_view> BearerOf(const kube::Headers& headers) {
  constexpr std::string_view kScheme = "bearer ";
  std::string_view value = FindHeader(headers, "authorization");
  if (!absl::StartsWithIgnoreCase(Absl(value), Absl(kScheme))) {
    return std::nullopt;
  }
  value.remove_prefix(kScheme.size());
  while (value.starts_with(' ')) value.remove_prefix(1);
  if (value.empty()) return std::nullopt;
  return value;
}

}  // namespace

absl::StatusOr<User> Authentication::Identify(const kube::Request& request,
                                              const Peer& peer) const {
  absl::Status bad;
  if (peer.certificate.has_value()) {
    bad = authority_ ? pki::VerifyClient(*authority_, *peer.certificate,
                                         clock_->Now())
                     : absl::UnauthenticatedError("no client authority");
    if (bad.ok()) {
      pki::Subject subject = peer.certificate->subject();
      if (!subject.common_name.empty()) {
        User user{std::move(subject.common_name),
                  "",
                  std::move(subject.organizations),
                  {}};
        user.groups.emplace_back("system:authenticated");
        return user;
      }
      bad = absl::UnauthenticatedError("client certificate: no common name");
    }
  }
  if (std::optional<std::string_view> token = BearerOf(request.headers)) {
    absl::StatusOr<User> user = tokens_->Authenticate(*token);
    if (user.ok()) return user;
    bad = user.status();
  }
  if (!bad.ok()) return bad;
  return peer.trusted ? Administrator() : Anonymous();
}

}  // namespace fairlead::api
