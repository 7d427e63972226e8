// SPDX-License-Identifier: Apache-2.0
// fairleadctl explain: what would become of a packet, and why. Threads: one.
#ifndef FAIRLEAD_USERSPACE_CLI_EXPLAIN_COMMAND_H_
#define FAIRLEAD_USERSPACE_CLI_EXPLAIN_COMMAND_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/cli/agent_session.h"

namespace fairlead::cli {

// {"tcp", "CLIENT[:PORT]", "->" or "to" or nothing, "ADDRESS:PORT"}, each a
// word of its own or several in one. kInvalidArgument: says how it is done.
[[nodiscard]] absl::StatusOr<admin::v1::ExplainRequest> ParseExplainWords(
    const std::vector<std::string>& words);

// For people: aligned lines, ended by a newline.
std::string ExplainText(const admin::v1::ExplainReply& reply);

// Prints; an error when a new connection of this node's would be refused or
// dropped, or, of other clients and of live flows, the packet.
[[nodiscard]] absl::Status Explain(AgentSession& agent,
                                   const admin::v1::ExplainRequest& request,
                                   bool json);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_EXPLAIN_COMMAND_H_
