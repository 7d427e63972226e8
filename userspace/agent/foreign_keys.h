// SPDX-License-Identifier: Apache-2.0
// How fl_foreign names a flow of netfilter's. Pure.
#ifndef FAIRLEAD_USERSPACE_AGENT_FOREIGN_KEYS_H_
#define FAIRLEAD_USERSPACE_AGENT_FOREIGN_KEYS_H_

#include <vector>

#include "bpf/abi/types.h"
#include "userspace/netlink/conntrack.h"

namespace fairlead::agent {

// What fl_foreign holds of one flow: up to three keys (bpf/abi/types.h).
// `of_host`: is its client one of this host's addresses?
void AppendForeignKeys(const netlink::TranslatedFlow& flow, bool of_host,
                       std::vector<fl_flow_key>* keys);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_FOREIGN_KEYS_H_
