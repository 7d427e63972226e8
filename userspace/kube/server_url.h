// SPDX-License-Identifier: Apache-2.0
// An API server's URL in parts. Pure; any thread.
#ifndef FAIRLEAD_USERSPACE_KUBE_SERVER_URL_H_
#define FAIRLEAD_USERSPACE_KUBE_SERVER_URL_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fairlead::kube {

// Where requests go.
struct Endpoint {
  bool tls = false;
  std::string host;  // without brackets
  std::string port;
  std::string host_header;
  std::string base_path;  // without a slash at its end
};

// "https://[fd00::1]:6443/prefix". Errors name the URL.
[[nodiscard]] absl::StatusOr<Endpoint> ParseUrl(std::string_view url);

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_SERVER_URL_H_
