// SPDX-License-Identifier: Apache-2.0
// `fairlead-agent --hand-over`: back to kube-proxy, whose rules are there
// already.
#ifndef FAIRLEAD_USERSPACE_AGENT_HAND_OVER_H_
#define FAIRLEAD_USERSPACE_AGENT_HAND_OVER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace fairlead::agent {

// Leaves new flows to netfilter, waits until ours have ended, at most `timeout`,
// and removes programs and maps. Says how far it is: on a terminal in one line,
// else in the log.
[[nodiscard]] absl::Status HandOverToKubeProxy(const std::string& bpf_root,
                                               absl::Duration timeout);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_HAND_OVER_H_
