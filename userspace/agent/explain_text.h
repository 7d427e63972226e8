// SPDX-License-Identifier: Apache-2.0
// The words of an explanation, and the words that ask for one. Pure functions.
#ifndef FAIRLEAD_USERSPACE_AGENT_EXPLAIN_TEXT_H_
#define FAIRLEAD_USERSPACE_AGENT_EXPLAIN_TEXT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "bpf/abi/types.h"
#include "userspace/base/ip_address.h"
#include "userspace/datapath/client_kind.h"
#include "userspace/model/cluster.h"
#include "userspace/model/explain.h"

namespace fairlead::agent {

// "10.0.0.1:80", "[fd00::1]:80"; without a port: port 0.
[[nodiscard]] absl::StatusOr<L4Address> ParseL4Address(std::string_view text,
                                                       Protocol protocol);
// "10.0.0.1:80", "[fd00::1]:80"
std::string HostPort(const L4Address& address);

// "externalTrafficPolicy: Local", the policy that a side follows.
std::string PolicyText(const model::ExplainedFrontend& frontend,
                       bool external);
// Why a source that goes to `endpoint` is changed, or is not.
std::string SourceReason(const model::ExplainedFrontend& frontend,
                         datapath::ClientKind client,
                         const model::NodeConfig& node,
                         bool to_itself, bool masqueraded);

// What connect() decides, as bpf/progs/socket.bpf.c does.
struct SocketCase {
  const fl_service* service = nullptr;  // the frontend's entry, if any
  bool any_backend_on = false;          // of its internal selection
  bool host = false;                    // a process of this host, not a pod
  bool loopback = false;                // the destination is
  // Without a frontend: the address is of the range of ClusterIPs, ...
  bool service_range = false;
  bool other_frontends = false;  // ... and has frontends on other ports
  Protocol protocol = Protocol::kTcp;
};
struct SocketDecision {
  std::string_view decision;  // translated, refused, declined, passed
  std::string_view reason;
  fl_counter_id counter = FL_COUNTER_NOT_OURS;
};
SocketDecision DecideSocket(const SocketCase& socket);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_EXPLAIN_TEXT_H_
