// SPDX-License-Identifier: Apache-2.0
// The agent's state as messages of the admin API. Pure; on the loop's thread
// where they read an Agent.
#ifndef FAIRLEAD_USERSPACE_AGENT_VIEWS_H_
#define FAIRLEAD_USERSPACE_AGENT_VIEWS_H_

#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "proto/admin.pb.h"
#include "userspace/agent/agent.h"

namespace fairlead::agent {

// All but the maps' fill, which takes longer than the loop should wait.
void FillStatus(const Agent& agent, admin::v1::StatusReply* reply);
void FillServices(const Agent& agent,
                  const admin::v1::ListServicesRequest& request,
                  admin::v1::ListServicesReply* reply);
void FillBackends(const Agent& agent,
                  const admin::v1::ListBackendsRequest& request,
                  admin::v1::ListBackendsReply* reply);

// Service id -> "default/web:http".
using ServiceNames = absl::flat_hash_map<uint32_t, std::string>;
ServiceNames NamesOfServices(const Agent& agent);

admin::v1::Flow ToMessage(const fl_flow_key& key, const fl_flow& flow,
                          const ServiceNames& names, uint32_t now_seconds);

// Does "default/web" match what a person typed: "", "web", "default/web"?
bool MatchesService(std::string_view key, std::string_view wanted);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_VIEWS_H_
