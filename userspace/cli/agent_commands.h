// SPDX-License-Identifier: Apache-2.0
// What an agent knows, for people and (-o json) for scripts. Each prints to
// standard output. Threads: one.
#ifndef FAIRLEAD_USERSPACE_CLI_AGENT_COMMANDS_H_
#define FAIRLEAD_USERSPACE_CLI_AGENT_COMMANDS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "userspace/cli/agent_session.h"

namespace fairlead::cli {

// An error when the agent is not healthy.
[[nodiscard]] absl::Status AgentStatus(AgentSession& agent, bool json);

[[nodiscard]] absl::Status ServiceList(AgentSession& agent,
                                       const std::string& ns,
                                       const std::string& service, bool json);
[[nodiscard]] absl::Status BackendList(AgentSession& agent,
                                       const std::string& service, bool json);

struct FlowFilter {
  std::string service, backend, client;
  uint32_t limit = 0;  // 0: all
};
[[nodiscard]] absl::Status FlowList(AgentSession& agent,
                                    const FlowFilter& filter, bool json);

// An empty map: all. The lines are sorted, so that two dumps can be compared.
[[nodiscard]] absl::Status MapDump(AgentSession& agent, const std::string& map,
                                   bool json);
[[nodiscard]] absl::Status Counters(AgentSession& agent, bool include_zero,
                                    bool json);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_AGENT_COMMANDS_H_
