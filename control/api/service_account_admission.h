// SPDX-License-Identifier: Apache-2.0
// Gives new pods what their ServiceAccount brings: a token, the cluster's
// certificate authority and the namespace, mounted in every container at
// /var/run/secrets/kubernetes.io/serviceaccount, and the account's image pull
// secrets. A pod that names an account that isn't there is refused.
//
// The account "default" may be missing: the controllers make it in every
// namespace, and a pod that comes right behind its namespace must not be
// lost. Its kubelet waits for the account.
//
// As Kubernetes' admission plugin ServiceAccount.
//
// Threads: the API server's only.
#ifndef FAIRLEAD_CONTROL_API_SERVICE_ACCOUNT_ADMISSION_H_
#define FAIRLEAD_CONTROL_API_SERVICE_ACCOUNT_ADMISSION_H_

#include <memory>

#include "control/api/kind.h"

namespace fairlead::api {

std::unique_ptr<Admission> MakeServiceAccountAdmission();

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_SERVICE_ACCOUNT_ADMISSION_H_
