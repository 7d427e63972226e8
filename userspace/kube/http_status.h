// SPDX-License-Identifier: Apache-2.0
// What an API server's HTTP status is in this code base. Pure; any thread.
#ifndef FAIRLEAD_USERSPACE_KUBE_HTTP_STATUS_H_
#define FAIRLEAD_USERSPACE_KUBE_HTTP_STATUS_H_

#include <string_view>

#include "absl/status/status.h"

namespace fairlead::kube {

// `reason`: a Kubernetes Status' reason, "" if unknown; it tells apart what
// shares 409. kUnknown for a status that no API server answers with.
absl::StatusCode AbslCodeOf(int http_status, std::string_view reason);

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_HTTP_STATUS_H_
