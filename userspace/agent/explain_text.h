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
#include "userspace/model/cluster.h"
#include "userspace/model/explain.h"

namespace fairlead::agent {

// "10.0.0.1:80", "[fd00::1]:80"; without a port: port 0.
[[nodiscard]] absl::StatusOr<L4Address> ParseL4Address(std::string_view text,
                                                       Protocol protocol);
// "10.0.0.1:80", "[fd00::1]:80"
std::string HostPort(const L4Address& address);

// Who a client is to this node, as bpf/lib/lookup.h decides it: one order, one
// answer.
enum class ClientKind : uint8_t { kPod, kHost, kOutside };
struct Client {
  ClientKind kind = ClientKind::kOutside;
  std::string reason;
};
Client ClientOf(const IpAddress& source, const fl_config& config,
                const model::NodeConfig& node);
std::string_view ClientKindName(ClientKind kind);

// "externalTrafficPolicy: Local", the policy that a side follows.
std::string PolicyText(const model::ExplainedFrontend& frontend,
                       bool external);
// Why a source that goes to `endpoint` is changed, or is not.
std::string SourceReason(const model::ExplainedFrontend& frontend,
                         ClientKind client, const model::NodeConfig& node,
                         bool to_itself, bool masqueraded);

// What connect() decides with this entry; null: there is none.
struct SocketDecision {
  std::string_view decision;  // translated, refused, declined, passed
  std::string_view reason;
};
SocketDecision DecideSocket(const fl_service* service, bool has_backend_on,
                            Protocol protocol);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_EXPLAIN_TEXT_H_
