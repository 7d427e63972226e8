// SPDX-License-Identifier: Apache-2.0
// `fairlead-agent --cleanup-kube-proxy`: removes what kube-proxy has left on this
// node, without ending what it had opened.
#ifndef FAIRLEAD_USERSPACE_AGENT_KUBE_PROXY_CLEANUP_H_
#define FAIRLEAD_USERSPACE_AGENT_KUBE_PROXY_CLEANUP_H_

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace fairlead::agent {

// Does it, in the calling thread's network namespace, and says what it does in
// the log. Waits at most `drain` for connections of IPVS. OK if there is
// nothing. kFailedPrecondition: a tool is missing (the rest is done all the
// same); kDeadlineExceeded: IPVS' connections go on, its servers were left.
[[nodiscard]] absl::Status CleanUpKubeProxy(absl::Duration drain);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_KUBE_PROXY_CLEANUP_H_
