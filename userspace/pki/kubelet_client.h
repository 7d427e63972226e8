// SPDX-License-Identifier: Apache-2.0
// Who the API server is to kubelets. Threads: constants.
#ifndef FAIRLEAD_USERSPACE_PKI_KUBELET_CLIENT_H_
#define FAIRLEAD_USERSPACE_PKI_KUBELET_CLIENT_H_

namespace fairlead::pki {

// The common name of its client certificate, as kubeadm has it.
inline constexpr char kKubeletClientUser[] = "kube-apiserver-kubelet-client";

}  // namespace fairlead::pki

#endif  // FAIRLEAD_USERSPACE_PKI_KUBELET_CLIENT_H_
