// SPDX-License-Identifier: Apache-2.0
// What the agent says about its health, in the words of kube-proxy: /healthz
// for load balancers that must leave this node out, /livez for whoever would
// restart the agent, and the answer of a Service's health-check NodePort.
// Pure; no thread rule.
#ifndef FAIRLEAD_USERSPACE_AGENT_HEALTH_H_
#define FAIRLEAD_USERSPACE_AGENT_HEALTH_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "userspace/agent/http_server.h"
#include "userspace/agent/metrics.h"
#include "userspace/kube/objects.h"

namespace fairlead::agent {

// A change that is queued for longer than this makes the agent unhealthy:
// twice kube-proxy's sync period.
inline constexpr absl::Duration kMaxWaiting = absl::Seconds(60);

struct Health {
  bool healthy = false;
  std::string reason;  // why not
};

struct HealthFacts {
  // Services and EndpointSlices have been listed, and what was listed applied.
  bool synced = false;
  absl::Duration waiting;  // ApplyLoop::waiting()
  size_t failed_services = 0;
  absl::Time last_updated;
  absl::Time now;
  bool node_eligible = true;
  absl::Status api_server;  // told, but decides nothing: traffic goes on
};

// May new traffic of outside load balancers come to this node? Not when it is
// about to go.
bool IsEligible(const kube::Node& node);

// May this node be used?
Health HealthOf(const HealthFacts& facts);
// Would a restart help? An agent that waits for its first list is alive.
Health LivenessOf(const HealthFacts& facts);

// 503: unhealthy, or the node isn't eligible.
HttpReply HealthzReply(const HealthFacts& facts);
// 503: not alive. The node's state doesn't matter.
HttpReply LivezReply(const HealthFacts& facts);
// 503: no endpoint here, or unhealthy. `service` is "namespace/name".
HttpReply ServiceHealthReply(std::string_view service, int local_endpoints,
                             bool proxy_healthy);

// Answers by their status, for proxy_healthz_total{code}.
class AnswerCounter {
 public:
  void Count(const HttpReply& reply) { ++codes_[reply.status]; }
  void AddTo(PrometheusText* text, std::string_view name,
             std::string_view help) const;

 private:
  std::map<int, uint64_t> codes_;
};

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_HEALTH_H_
