// SPDX-License-Identifier: Apache-2.0
#include "control/scheduler/scheduler.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <list>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "control/controllers/informers.h"
#include "control/controllers/object.h"
#include "control/scheduler/decision.h"
#include "control/scheduler/snapshot.h"
#include "userspace/base/strings.h"
#include "userspace/kube/client.h"
#include "userspace/kube/events.h"
#include "userspace/kube/work_queue.h"

namespace fairlead::scheduler {
namespace {

using controllers::Context;
using controllers::Get;
using controllers::Text;
using Done = std::function<void(absl::Status)>;

// Waiting pods are all tried again together, at most this often.
constexpr absl::Duration kRetryPause = absl::Milliseconds(100);
constexpr int kParallelBindings = 64;

bool WantsNode(const Json& pod) {
  std::string_view scheduler = Text(pod, {"spec", "schedulerName"});
  return Text(pod, {"spec", "nodeName"}).empty() &&
         controllers::IsPodActive(pod) &&
         (scheduler.empty() || scheduler == "default-scheduler") &&
         Get(pod, {"spec", "schedulingGates"}).empty();
}

// What decisions are made from; heartbeats are not part of it.
bool LooksDifferent(const Json& a, const Json& b) {
  return Get(a, {"spec"}) != Get(b, {"spec"}) ||
         Get(a, {"metadata", "labels"}) != Get(b, {"metadata", "labels"}) ||
         Get(a, {"status", "allocatable"}) !=
             Get(b, {"status", "allocatable"}) ||
         Get(a, {"status", "capacity"}) != Get(b, {"status", "capacity"});
}

// The reportingInstance of its Events.
std::string Instance() {
  char host[256] = {};
  if (gethostname(host, sizeof host - 1) != 0 || *host == '\0') {
    return "default-scheduler";
  }
  return StrCat("default-scheduler-", host);
}

}  // namespace

class Scheduler::Impl {
 public:
  explicit Impl(const Context& context)
      : context_(context),
        client_(context.transport, "kube-scheduler/fairlead"),
        recorder_(context.loop, &client_, "default-scheduler", Instance(),
                  kube::EventApi::kEvents, *context.clock),
        queue_(
            context.loop, "scheduler",
            [this](const std::string& key, Done done) {
              ScheduleOne(key, std::move(done));
            },
            kParallelBindings) {
    context.informers->Of(kube::Nodes())
        .Subscribe([this](const Object& before, const Object& after) {
          NodeChanged(before, after);
        });
    context.informers->Of(kube::Pods())
        .Subscribe([this](const Object& before, const Object& after) {
          PodChanged(before, after);
        });
    context.informers->OnSynced([this] { RetryWaiting(); });
  }

  Stats stats;

 private:
  void NodeChanged(const Object& before, const Object& after) {
    if (after == nullptr) {
      cache_.RemoveNode(std::string(controllers::Name(*before)));
      return;
    }
    if (before != nullptr && !LooksDifferent(*before, *after)) return;
    cache_.SetNode(after);
    RetrySoon();
  }

  void PodChanged(const Object& before, const Object& after) {
    const Json& pod = after != nullptr ? *after : *before;
    std::string uid(controllers::Uid(pod));
    std::string key = kube::KeyOf(pod);
    bool placed = after != nullptr &&
                  !Text(*after, {"spec", "nodeName"}).empty();
    if (after == nullptr || controllers::IsPodTerminated(*after)) {
      cache_.RemovePod(uid);
      waiting_.erase(key);
      RetrySoon();
      return;
    }
    if (placed) {
      cache_.SetPlaced(after);
      waiting_.erase(key);
      return;
    }
    if (!WantsNode(*after)) {
      waiting_.erase(key);
      return;
    }
    // The condition that this scheduler wrote is no reason to try again.
    bool changed = before == nullptr ||
                   Get(*before, {"spec"}) != Get(*after, {"spec"});
    if (!changed) return;
    if (context_.informers->has_synced()) {
      queue_.Add(key);
    } else {
      waiting_.insert(key);
    }
  }

  void RetrySoon() {
    if (waiting_.empty() || retry_.pending()) return;
    if (!context_.informers->has_synced()) return;
    retry_ = context_.loop->After(kRetryPause, [this] { RetryWaiting(); });
  }

  void RetryWaiting() {
    for (const std::string& key : std::exchange(waiting_, {})) {
      queue_.Add(key);
    }
  }

  void ScheduleOne(const std::string& key, Done done) {
    Object object = context_.informers->Of(kube::Pods()).Get(key);
    if (object == nullptr || !WantsNode(*object)) {
      return done(absl::OkStatus());
    }
    PodView pod = PodViewOf(object);
    // Bound, only the informer does not show it yet.
    if (cache_.IsAssumed(pod.uid)) return done(absl::OkStatus());
    Decision decision = Decide(pod, cache_.TakeSnapshot());
    if (decision.node.empty()) {
      ++stats.unschedulable;
      waiting_.insert(key);
      return Refuse(*object, decision.message, std::move(done));
    }
    cache_.Assume(pod, decision.node);
    Bind(object, decision.node, std::move(done));
  }

  void Bind(const Object& pod, const std::string& node, Done done) {
    std::string ns(controllers::Namespace(*pod));
    std::string name(controllers::Name(*pod));
    Json binding = {
        {"apiVersion", "v1"},
        {"kind", "Binding"},
        {"metadata",
         {{"namespace", ns}, {"name", name}, {"uid", controllers::Uid(*pod)}}},
        {"target", {{"apiVersion", "v1"}, {"kind", "Node"}, {"name", node}}}};
    Start(
        [&](kube::Client::Done end) {
          return client_.CreateSubresource(kube::Pods(), ns, name, "binding",
                                           binding, std::move(end));
        },
        [this, pod, node, done](absl::StatusOr<Json> answer) {
          done(OnBound(*pod, node, answer.status()));
        });
  }

  absl::Status OnBound(const Json& pod, const std::string& node,
                       const absl::Status& status) {
    if (status.ok()) {
      ++stats.bound;
      recorder_.Record(
          kube::ReferenceTo(kube::Pods(), pod), kube::EventType::kNormal,
          "Scheduled",
          StrCat("Successfully assigned ", controllers::Namespace(pod), "/",
                 controllers::Name(pod), " to ", node),
          "Binding");
      return status;
    }
    cache_.Forget(std::string(controllers::Uid(pod)));
    // Deleted, or bound by somebody else: the informer tells.
    if (absl::IsNotFound(status) || absl::IsAborted(status) ||
        absl::IsAlreadyExists(status)) {
      return absl::OkStatus();
    }
    ++stats.errors;
    spdlog::warn("scheduler pod={} node={} error=\"{}\"", kube::KeyOf(pod),
                 node, status.ToString());
    return status;
  }

  void Refuse(const Json& pod, const std::string& message, Done done) {
    recorder_.Record(kube::ReferenceTo(kube::Pods(), pod),
                     kube::EventType::kWarning, "FailedScheduling", message,
                     "Scheduling");
    const Json* before = controllers::Condition(pod, "PodScheduled");
    if (before != nullptr && Text(*before, {"message"}) == message &&
        Text(*before, {"status"}) == "False") {
      return done(absl::OkStatus());
    }
    std::string since = controllers::Timestamp(context_.clock->Now());
    if (before != nullptr && Text(*before, {"status"}) == "False") {
      since = Text(*before, {"lastTransitionTime"});
    }
    Json patch = {{"status",
                   {{"conditions",
                     Json::array({{{"type", "PodScheduled"},
                                   {"observedGeneration",
                                    controllers::Generation(pod)},
                                   {"status", "False"},
                                   {"lastProbeTime", nullptr},
                                   {"lastTransitionTime", since},
                                   {"reason", "Unschedulable"},
                                   {"message", message}}})}}}};
    Start(
        [&](kube::Client::Done end) {
          return client_.Patch(kube::Pods(), controllers::Namespace(pod),
                               controllers::Name(pod), "status",
                               kube::PatchType::kStrategicMerge, patch,
                               std::move(end));
        },
        [this, done](absl::StatusOr<Json> answer) {
          absl::Status status = answer.status();
          if (absl::IsNotFound(status)) status = absl::OkStatus();
          if (!status.ok()) ++stats.errors;
          done(status);
        });
  }

  // Keeps the call until it has been answered.
  template <typename StartCall>
  void Start(StartCall start, kube::Client::Done done) {
    auto call = calls_.insert(calls_.end(), nullptr);
    *call = start([this, call, done](absl::StatusOr<Json> answer) {
      std::shared_ptr<kube::Call> dying = std::move(*call);
      calls_.erase(call);
      context_.loop->Post([dying] {});
      auto run_done = done;
      run_done(std::move(answer));
    });
  }

  Context context_;
  kube::Client client_;
  kube::EventRecorder recorder_;
  Cache cache_;
  absl::flat_hash_set<std::string> waiting_;  // keys that fit nowhere now
  Timer retry_;
  std::list<std::unique_ptr<kube::Call>> calls_;
  kube::WorkQueue queue_;
};

Scheduler::Scheduler(const Context& context)
    : impl_(std::make_unique<Impl>(context)) {}
Scheduler::~Scheduler() = default;
const Scheduler::Stats& Scheduler::stats() const { return impl_->stats; }

}  // namespace fairlead::scheduler
