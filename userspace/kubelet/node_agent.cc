// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/node_agent.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <tuple>

#include "userspace/base/clock.h"
#include "userspace/kubelet/json.h"

namespace fairlead::kubelet {
namespace {

constexpr char kLeaseNamespace[] = "kube-node-lease";
constexpr absl::Duration kRetry = absl::Seconds(1);
constexpr absl::Duration kHeartbeat = absl::Minutes(5);

}  // namespace

NodeAgent::NodeAgent(EventLoop* loop, kube::Client* client,
                     const Options* options)
    : loop_(loop),
      client_(client),
      options_(options),
      pressure_(options->eviction_hard, options->pressure_transition) {}

NodeAgent::~NodeAgent() = default;

// A Call must not be destroyed from inside its own callback.
void NodeAgent::Drop(std::unique_ptr<kube::Call> call) {
  loop_->Post([call = std::shared_ptr<kube::Call>(std::move(call))] {});
}

void NodeAgent::Again(absl::Duration delay, Timer* timer,
                      void (NodeAgent::*what)()) {
  *timer = loop_->After(delay, [this, what] { (this->*what)(); });
}

void NodeAgent::Start() { Register(); }

ResourceAmounts NodeAgent::Allocatable() const {
  return AllocatableOf(*options_, machine_);
}

void NodeAgent::Register() {
  if (node_call_ != nullptr) return;
  node_call_ = client_->Create(
      kube::Nodes(), BuildNode(*options_, machine_),
      [this](absl::StatusOr<Json> result) {
        Drop(std::move(node_call_));
        if (!result.ok() && !absl::IsAlreadyExists(result.status())) {
          spdlog::warn("node not registered node={} error=\"{}\"",
                       options_->node_name, result.status().ToString());
          Again(kRetry, &node_timer_, &NodeAgent::Register);
          return;
        }
        if (!registered_) {
          spdlog::info("node registered node={}", options_->node_name);
          registered_ = true;
          RenewLease();
        }
        if (result.ok())
          node_ = std::make_shared<const Json>(*std::move(result));
        PostStatus();
      });
}

void NodeAgent::OnNode(const kube::Object& node) {
  node_ = node;
  if (!registered_) return;
  if (node == nullptr) {
    // Somebody deleted it; a kubelet that runs is a node that is there.
    Register();
  } else {
    PostStatus();
  }
}

void NodeAgent::SetNotReady(std::string why) {
  if (why == not_ready_) return;
  not_ready_ = std::move(why);
  if (registered_) PostStatus();
}

// Once in a period, however often the Node changes: what a pod's eviction
// freed has to show before the next one goes.
void NodeAgent::LookForShortages() {
  const absl::Time now = Clock::Real().Now();
  if (now - looked_ < 0.9 * options_->status_interval) return;
  looked_ = now;
  const Signals signals = ReadSignals(options_->root_dir);
  pressure_.Update(signals, now);
  const Shortages before = machine_.shortages;
  machine_.shortages = {.memory = pressure_.Has("memory.available"),
                        .disk = pressure_.Has("nodefs.available"),
                        .pids = pressure_.Has("pid.available")};
  for (const auto& [what, was, is] :
       {std::tuple{"memory", before.memory, machine_.shortages.memory},
        std::tuple{"disk", before.disk, machine_.shortages.disk},
        std::tuple{"pids", before.pids, machine_.shortages.pids}}) {
    if (was != is) spdlog::warn("node pressure of={} now={}", what, is);
  }
  const Threshold* unmet = pressure_.Unmet("memory.available");
  if (unmet != nullptr && on_memory_short_)
    on_memory_short_(*unmet, signals.at("memory.available").available);
}

void NodeAgent::PostStatus() {
  if (node_call_ != nullptr) return;
  Again(options_->status_interval, &node_timer_, &NodeAgent::PostStatus);
  const absl::Time now = Clock::Real().Now();
  LookForShortages();
  const Json none;
  const Json& current = node_ != nullptr ? At(*node_, {"status"}) : none;
  const Json status =
      BuildNodeStatus(*options_, machine_, not_ready_, current, now);
  const bool news = NodeStatusDiffers(sent_, status);
  // What others changed (a controller's "Unknown") is put right once in a
  // period, so that two who disagree don't fight.
  const bool wrong =
      NodeStatusDiffers(current, status) &&
      now - posted_ >= options_->status_interval / 2;
  if (!news && !wrong && now - posted_ < kHeartbeat) return;
  Json patch = {{"status", status}};
  // Addresses are merged by type, of which there may be two of a kind.
  patch["status"]["addresses"].push_back({{"$patch", "replace"}});
  node_call_ = client_->Patch(
      kube::Nodes(), "", options_->node_name, "status",
      kube::PatchType::kStrategicMerge, patch,
      [this, now, status](absl::StatusOr<Json> result) {
        Drop(std::move(node_call_));
        if (absl::IsNotFound(result.status())) {
          Register();
          return;
        }
        if (!result.ok()) {
          spdlog::warn("node status not sent node={} error=\"{}\"",
                       options_->node_name, result.status().ToString());
          Again(kRetry, &node_timer_, &NodeAgent::PostStatus);
          return;
        }
        posted_ = now;
        sent_ = status;
        node_ = std::make_shared<const Json>(*std::move(result));
        // It may have become another while this one was on its way.
        PostStatus();
      });
}

void NodeAgent::RenewLease() {
  if (lease_call_ != nullptr) return;
  const std::string uid =
      node_ != nullptr ? StringAt(*node_, {"metadata", "uid"}) : "";
  const Json lease =
      BuildLease(options_->node_name, uid, Clock::Real().Now());
  lease_call_ = client_->Patch(
      kube::Leases(), kLeaseNamespace, options_->node_name, "",
      kube::PatchType::kMerge, {{"spec", lease["spec"]}},
      [this](absl::StatusOr<Json> result) {
        Drop(std::move(lease_call_));
        if (absl::IsNotFound(result.status())) {
          CreateLease();
          return;
        }
        if (!result.ok() && !lease_failing_) {
          spdlog::warn("lease not renewed node={} error=\"{}\"",
                       options_->node_name, result.status().ToString());
        }
        lease_failing_ = !result.ok();
        Again(result.ok() ? options_->lease_interval
                          : std::min(kRetry, options_->lease_interval),
              &lease_timer_, &NodeAgent::RenewLease);
      });
}

void NodeAgent::CreateLease() {
  const std::string uid =
      node_ != nullptr ? StringAt(*node_, {"metadata", "uid"}) : "";
  lease_call_ = client_->Create(
      kube::Leases(),
      BuildLease(options_->node_name, uid, Clock::Real().Now()),
      [this](absl::StatusOr<Json> result) {
        Drop(std::move(lease_call_));
        Again(result.ok() ? options_->lease_interval : kRetry, &lease_timer_,
              &NodeAgent::RenewLease);
      });
}

}  // namespace fairlead::kubelet
