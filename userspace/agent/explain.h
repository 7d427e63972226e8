// SPDX-License-Identifier: Apache-2.0
// What would become of a packet, and why: what the program does with it comes
// from a trial (datapath/packet_trial.h), the reasons from the model.
//
// Threads: the loop's; a trial takes well under a millisecond, there are at
// most a few hundred, and a walk through the flow table. Reads only.
#ifndef FAIRLEAD_USERSPACE_AGENT_EXPLAIN_H_
#define FAIRLEAD_USERSPACE_AGENT_EXPLAIN_H_

#include "absl/status/status.h"
#include "proto/admin.pb.h"
#include "userspace/agent/agent.h"
#include "userspace/datapath/packet_trial.h"

namespace fairlead::agent {

// kInvalidArgument: the request can't be understood; says why.
[[nodiscard]] absl::Status FillExplain(
    const Agent& agent, datapath::PacketTrial* trial,
    const admin::v1::ExplainRequest& request, uint32_t now_seconds,
    admin::v1::ExplainReply* reply);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_EXPLAIN_H_
