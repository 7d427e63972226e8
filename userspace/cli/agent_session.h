// SPDX-License-Identifier: Apache-2.0
// Asking an agent over its unix socket. Threads: one.
#ifndef FAIRLEAD_USERSPACE_CLI_AGENT_SESSION_H_
#define FAIRLEAD_USERSPACE_CLI_AGENT_SESSION_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/admin.grpc.pb.h"

namespace fairlead::cli {

class AgentSession {
 public:
  // kUnavailable, with what to do, when no agent listens there.
  [[nodiscard]] static absl::StatusOr<AgentSession> Open(
      const std::string& socket);

  [[nodiscard]] absl::StatusOr<admin::v1::StatusReply> Status();
  [[nodiscard]] absl::StatusOr<admin::v1::ListServicesReply> ListServices(
      const admin::v1::ListServicesRequest& request);
  [[nodiscard]] absl::StatusOr<admin::v1::ListBackendsReply> ListBackends(
      const admin::v1::ListBackendsRequest& request);
  [[nodiscard]] absl::StatusOr<admin::v1::CountersReply> Counters(
      const admin::v1::CountersRequest& request);
  [[nodiscard]] absl::StatusOr<admin::v1::ExplainReply> Explain(
      const admin::v1::ExplainRequest& request);
  // Calls `each` for every answer, in order.
  [[nodiscard]] absl::Status ListFlows(
      const admin::v1::ListFlowsRequest& request,
      const std::function<void(const admin::v1::Flow&)>& each);
  [[nodiscard]] absl::Status DumpMap(
      const admin::v1::DumpMapRequest& request,
      const std::function<void(const admin::v1::MapEntry&)>& each);

 private:
  AgentSession() = default;
  std::unique_ptr<admin::v1::Agent::Stub> stub_;
};

// --socket; else the agent of --node in the box --cluster; else the machine's
// own agent; else the first node of the only box.
struct AgentChoice {
  std::string socket;
  std::string cluster;
  std::string node;
};
[[nodiscard]] absl::StatusOr<AgentSession> OpenAgent(const AgentChoice& choice);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_AGENT_SESSION_H_
