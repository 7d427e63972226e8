// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/server/access.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "userspace/base/strings.h"
#include "userspace/pki/kubelet_client.h"

namespace fairlead::kubelet {
namespace {

constexpr char kAdministrators[] = "system:masters";

std::string VerbOf(const std::string& method) {
  if (method == "POST") return "create";
  if (method == "PUT") return "update";
  return absl::AsciiStrToLower(method);
}

// What of a node a path is, for whoever grants rights on nodes/....
std::string SubresourceOf(const StreamRequest& request) {
  const std::string first = request.path.empty() ? "" : request.path[0];
  if (first == "stats" || first == "metrics") return first;
  return "proxy";
}

}  // namespace

std::optional<Refusal> CheckAccess(
    const pki::Certificate& client_authority,
    const std::optional<pki::Certificate>& shown, const StreamRequest& request,
    absl::Time now) {
  const absl::Status known =
      shown ? pki::VerifyClient(client_authority, *shown, now)
            : absl::UnauthenticatedError("no client certificate");
  if (!known.ok())
    return Refusal{401, "Unauthorized", std::string(known.message())};
  const pki::Subject user = shown->subject();
  const auto& groups = user.organizations;
  if (user.common_name == pki::kKubeletClientUser ||
      std::find(groups.begin(), groups.end(), kAdministrators) !=
          groups.end()) {
    return std::nullopt;
  }
  return Refusal{403,
                 StrCat("Forbidden (user=", user.common_name,
                        ", verb=", VerbOf(request.method),
                        ", resource=nodes, subresource=",
                        SubresourceOf(request), ")"),
                 "neither the API server nor of system:masters"};
}

}  // namespace fairlead::kubelet
