// SPDX-License-Identifier: Apache-2.0
// What the kubelet gives each container of a pod to ask the API server with: a
// token that rotates, and the server's CA
// (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/).
// Threads: pure functions, but for the files and the environment that they read.
#ifndef FAIRLEAD_USERSPACE_KUBE_SERVICE_ACCOUNT_H_
#define FAIRLEAD_USERSPACE_KUBE_SERVICE_ACCOUNT_H_

#include <string>

#include "absl/status/statusor.h"
#include "userspace/kube/kubeconfig.h"

namespace fairlead::kube {

inline constexpr char kServiceAccountFolder[] =
    "/var/run/secrets/kubernetes.io/serviceaccount";

// Is there a token?
bool HasServiceAccount(const std::string& folder);

// Its credentials, without an address. kFailedPrecondition: names what is
// missing.
[[nodiscard]] absl::StatusOr<ApiServer> LoadServiceAccount(
    const std::string& folder);

// The same, at KUBERNETES_SERVICE_HOST and _PORT. kInvalidArgument: this isn't
// a pod.
[[nodiscard]] absl::StatusOr<ApiServer> InClusterServer(
    const std::string& folder);

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_SERVICE_ACCOUNT_H_
