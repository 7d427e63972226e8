// SPDX-License-Identifier: Apache-2.0
// Keeps the programs that explanations are tried on: loaded when the first
// one is asked for, and for a while after the last.
//
// Threads: Prepare() on the asking thread, as it takes a second; the others on
// the loop's. One object serves one agent.
#ifndef FAIRLEAD_USERSPACE_AGENT_EXPLAINER_H_
#define FAIRLEAD_USERSPACE_AGENT_EXPLAINER_H_

#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "proto/admin.pb.h"
#include "userspace/agent/agent.h"
#include "userspace/base/event_loop.h"
#include "userspace/datapath/packet_trial.h"

namespace fairlead::agent {

// What Prepare() needs to know of the agent.
struct ExplainSetup {
  datapath::PinLayout layout{""};
  fl_config config = {};
};

class Explainer {
 public:
  explicit Explainer(EventLoop* loop) : loop_(loop) {}

  // Loads programs with this configuration unless they are loaded.
  [[nodiscard]] absl::Status Prepare(const ExplainSetup& setup);
  // kUnavailable: another configuration has come since Prepare().
  [[nodiscard]] absl::Status Explain(const Agent& agent,
                                     const admin::v1::ExplainRequest& request,
                                     uint32_t now_seconds,
                                     admin::v1::ExplainReply* reply);

 private:
  EventLoop* loop_;
  std::mutex loading_;
  std::mutex mutex_;
  std::shared_ptr<datapath::PacketTrial> trial_;  // guarded by mutex_
  Timer expiry_;                                  // the loop's
};

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_EXPLAINER_H_
