// SPDX-License-Identifier: Apache-2.0
// The pages of the metrics port that are for people and for kube-proxy's
// tools: /flagz, /statusz, /configz. Pure.
#ifndef FAIRLEAD_USERSPACE_AGENT_STATUS_PAGES_H_
#define FAIRLEAD_USERSPACE_AGENT_STATUS_PAGES_H_

#include <string_view>

#include "absl/time/time.h"
#include "userspace/agent/config.h"
#include "userspace/agent/http_server.h"

namespace fairlead::agent {

// Flag and effective value, a line each.
HttpReply FlagzReply(const AgentConfig& config);
// {"kubeproxy.config.k8s.io": KubeProxyConfiguration}
HttpReply ConfigzReply(const AgentConfig& config);
// Since when, for how long, which version, which pages.
HttpReply StatuszReply(absl::Time started, absl::Time now,
                       std::string_view version);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_STATUS_PAGES_H_
