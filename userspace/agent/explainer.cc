// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/explainer.h"

#include <cstring>
#include <utility>

#include "userspace/agent/explain.h"
#include "userspace/base/status.h"

namespace fairlead::agent {
namespace {

// Programs, and a second flow table: not for ever.
constexpr absl::Duration kKeep = absl::Minutes(5);

bool Same(const fl_config& a, const fl_config& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

}  // namespace

absl::Status Explainer::Prepare(const ExplainSetup& setup) {
  std::lock_guard<std::mutex> one_at_a_time(loading_);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (trial_ != nullptr && Same(trial_->config(), setup.config)) {
      return absl::OkStatus();
    }
  }
  FL_ASSIGN_OR_RETURN(std::unique_ptr<datapath::PacketTrial> trial,
                      datapath::PacketTrial::Load(setup.layout, setup.config));
  std::lock_guard<std::mutex> lock(mutex_);
  trial_ = std::move(trial);
  return absl::OkStatus();
}

absl::Status Explainer::Explain(const Agent& agent,
                                const admin::v1::ExplainRequest& request,
                                uint32_t now_seconds,
                                admin::v1::ExplainReply* reply) {
  std::shared_ptr<datapath::PacketTrial> trial;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    trial = trial_;
  }
  if (trial == nullptr || !Same(trial->config(), agent.program_config())) {
    return absl::UnavailableError(
        "the node's addresses have just changed: ask again");
  }
  expiry_ = loop_->After(kKeep, [this] {
    std::lock_guard<std::mutex> lock(mutex_);
    trial_.reset();
  });
  return FillExplain(agent, trial.get(), request, now_seconds, reply);
}

}  // namespace fairlead::agent
