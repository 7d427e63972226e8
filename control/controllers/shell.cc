// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/shell.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <list>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "userspace/base/strings.h"
#include "userspace/kube/client.h"
#include "userspace/kube/events.h"
#include "userspace/kube/work_queue.h"

namespace fairlead::controllers {
namespace {

constexpr absl::Duration kAfterConflict = absl::Milliseconds(10);

using Done = std::function<void(absl::Status)>;

bool IsStale(const absl::Status& status) {
  return absl::IsAborted(status) || absl::IsAlreadyExists(status);
}

bool TargetsExisting(Verb verb) { return verb != Verb::kCreate; }

Expectation ExpectationOf(const Write& write, const Json& answer) {
  Expectation e;
  e.resource = write.resource;
  if (write.verb == Verb::kDelete) {
    e.kind = Expectation::Kind::kDeleted;
    e.key = write.ns.empty() ? write.name : StrCat(write.ns, "/", write.name);
    e.uid = write.uid;
    return e;
  }
  e.kind = write.verb == Verb::kCreate ? Expectation::Kind::kCreated
                                       : Expectation::Kind::kChanged;
  e.key = kube::KeyOf(answer);
  e.uid = Uid(answer);
  e.resource_version = ResourceVersion(answer);
  return e;
}

// By which managedFields name the writer: what every cluster has is the API
// server's own, all else the controller manager's.
std::string UserAgent(std::string_view controller) {
  return controller == "kube-apiserver"
             ? "kube-apiserver/fairlead"
             : StrCat("kube-controller-manager/fairlead-", controller);
}

}  // namespace

class Shell::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(const Context& context, std::string name, PlanFunction plan)
      : context_(context),
        name_(std::move(name)),
        plan_(std::move(plan)),
        client_(context.transport, UserAgent(name_)),
        recorder_(context.loop, &client_, name_, "",
                  kube::EventApi::kCore, *context.clock) {}

  void Open(int parallel) {
    queue_ = std::make_unique<kube::WorkQueue>(
        context_.loop, name_,
        [this](const std::string& key, Done done) {
          StartRun(key, std::move(done));
        },
        parallel);
    context_.informers->OnSynced([weak = weak_from_this()] {
      auto self = weak.lock();
      if (self == nullptr || self->queue_ == nullptr) return;
      for (const std::string& key : std::exchange(self->early_, {})) {
        self->queue_->Add(key);
      }
    });
  }

  void Close() {
    queue_.reset();
    calls_.clear();
    due_.clear();
    runs_.clear();
  }

  void Add(std::string key) {
    if (queue_ == nullptr) return;
    if (!context_.informers->has_synced()) {
      early_.insert(std::move(key));
    } else {
      queue_->Add(std::move(key));
    }
  }

  void AddChanged(std::string key, const Object& after) {
    auto run = runs_.find(key);
    if (run == runs_.end() || after == nullptr) return Add(std::move(key));
    run->second->seen.push_back(ResourceVersion(*after));
  }

  void AddAfter(const std::string& key, absl::Duration delay) {
    if (queue_ == nullptr) return;
    absl::Duration due = context_.clock->Monotonic() + delay;
    // One wake-up a key, the earliest.
    auto [it, added] = due_.try_emplace(key, due);
    if (!added && it->second <= due) return;
    it->second = due;
    std::weak_ptr<Impl> weak = weak_from_this();
    timers_[key] = context_.loop->After(delay, [weak, key] {
      auto self = weak.lock();
      if (self == nullptr) return;
      std::string owned = key;
      self->due_.erase(owned);
      self->timers_.erase(owned);
      self->Add(std::move(owned));
    });
  }

  Stats stats;
  const std::string& name() const { return name_; }

 private:
  // One key on its way through plan, reads, writes and their echo.
  struct Run {
    std::string key;
    Done done;
    Plan plan;
    Answers answers;
    size_t next = 0;      // the first write that was not started
    size_t open = 0;      // calls without an answer
    bool again = false;   // planned from old facts
    absl::Status status;  // the first error
    std::vector<Expectation> expectations;
    // Of what was written, and of what AddChanged has been told since.
    std::vector<int64_t> written, seen;
  };
  using RunPtr = std::shared_ptr<Run>;

  void StartRun(const std::string& key, Done done) {
    auto run = std::make_shared<Run>();
    run->key = key;
    run->done = std::move(done);
    runs_[key] = run;
    ++stats.plans;
    run->plan = plan_(key, run->answers);
    if (!run->plan.reads.empty()) {
      DoReads(run);
    } else {
      Execute(run);
    }
  }

  void DoReads(const RunPtr& run) {
    run->open = run->plan.reads.size();
    run->answers.assign(run->open, absl::UnknownError("unanswered"));
    for (size_t i = 0; i < run->plan.reads.size(); ++i) {
      const Read& read = run->plan.reads[i];
      auto done = [this, run, i](absl::StatusOr<Json> answer) {
        run->answers[i] = std::move(answer);
        if (--run->open > 0) return;
        run->plan = plan_(run->key, run->answers);
        run->plan.reads.clear();
        Execute(run);
      };
      Start([&](kube::Client::Done end) {
        if (read.name.empty()) {
          return client_.List(*read.resource, read.ns,
                              StrCat("limit=", read.limit), std::move(end));
        }
        return client_.Get(*read.resource, read.ns, read.name, std::move(end));
      }, std::move(done));
    }
  }

  void Execute(const RunPtr& run) {
    std::stable_sort(
        run->plan.writes.begin(), run->plan.writes.end(),
        [](const Write& a, const Write& b) { return a.stage < b.stage; });
    for (const Announcement& a : run->plan.announcements) {
      recorder_.Record(a.about, a.type, a.reason, a.message);
    }
    NextStage(run);
  }

  void NextStage(const RunPtr& run) {
    std::vector<Write>& writes = run->plan.writes;
    if (!run->status.ok() || run->again || run->next == writes.size()) {
      return AwaitEcho(run);
    }
    size_t end = run->next;
    while (end < writes.size() &&
           writes[end].stage == writes[run->next].stage) {
      ++end;
    }
    size_t begin = std::exchange(run->next, end);
    run->open = end - begin;
    for (size_t i = begin; i < end; ++i) {
      ++stats.writes;
      Start([&](kube::Client::Done done) { return Send(writes[i],
                                                      std::move(done)); },
            [this, run, i](absl::StatusOr<Json> answer) {
              OnAnswer(run, run->plan.writes[i], std::move(answer));
              if (--run->open == 0) NextStage(run);
            });
    }
  }

  void OnAnswer(const RunPtr& run, const Write& write,
                absl::StatusOr<Json> answer) {
    if (!answer.ok()) {
      const absl::Status& status = answer.status();
      if (absl::IsNotFound(status) && TargetsExisting(write.verb)) {
        // Gone already; the informers will say so.
        if (write.verb != Verb::kDelete) run->again = true;
      } else if (IsStale(status)) {
        ++stats.conflicts;
        run->again = true;
      } else if (run->status.ok()) {
        run->status = status;
        if (write.verb == Verb::kCreate && write.announce) {
          recorder_.Record(write.announce->about, kube::EventType::kWarning,
                           "FailedCreate",
                           StrCat("Error creating: ", Std(status.message())));
        }
        ++stats.errors;
        spdlog::warn("controller={} key={} write=\"{}\" error=\"{}\"", name_,
                     run->key, Describe(write), status.ToString());
      }
      return;
    }
    if (write.announce) {
      std::string message = write.announce->message;
      if (size_t at = message.find("%s"); at != std::string::npos) {
        std::string_view name = Name(*answer);
        message.replace(at, 2, name.empty() ? write.name : std::string(name));
      }
      recorder_.Record(write.announce->about, write.announce->type,
                       write.announce->reason, message);
    }
    run->expectations.push_back(ExpectationOf(write, *answer));
    run->written.push_back(ResourceVersion(*answer));
  }

  std::unique_ptr<kube::Call> Send(const Write& w, kube::Client::Done done) {
    switch (w.verb) {
      case Verb::kCreate:
        return client_.Create(*w.resource, w.body, std::move(done));
      case Verb::kUpdate:
        return client_.Update(*w.resource, w.body, std::move(done));
      case Verb::kUpdateStatus:
        return client_.UpdateStatus(*w.resource, w.body, std::move(done));
      case Verb::kMergePatch:
        return client_.Patch(*w.resource, w.ns, w.name, "",
                             kube::PatchType::kMerge, w.body, std::move(done));
      case Verb::kMergePatchStatus:
        return client_.Patch(*w.resource, w.ns, w.name, "status",
                             kube::PatchType::kMerge, w.body, std::move(done));
      case Verb::kDelete: {
        kube::DeleteOptions options;
        options.grace_period_seconds = w.grace_period_seconds;
        options.propagation_policy = w.propagation;
        options.precondition_uid = w.uid;
        return client_.Delete(*w.resource, w.ns, w.name, options,
                              std::move(done));
      }
      case Verb::kFinalize:
        return Finalize(w, std::move(done));
    }
    return nullptr;
  }

  std::unique_ptr<kube::Call> Finalize(const Write& w,
                                       kube::Client::Done done) {
    kube::Request request;
    request.method = "PUT";
    request.target = w.resource->Path(w.ns, w.name, "finalize");
    request.headers = {{"Content-Type", "application/json"},
                       {"Accept", "application/json"},
                       {"User-Agent", client_.user_agent()}};
    request.body = w.body.dump();
    return context_.transport->Do(
        std::move(request), [done](absl::StatusOr<kube::Response> response) {
          if (!response.ok()) return done(response.status());
          if (response->status >= 300) {
            return done(kube::StatusFromResponse(*response));
          }
          done(Json::parse(response->body, nullptr, false));
        });
  }

  void AwaitEcho(const RunPtr& run) {
    std::weak_ptr<Impl> weak = weak_from_this();
    auto finish = [weak, run](bool seen) {
      auto self = weak.lock();
      if (self == nullptr || self->queue_ == nullptr) return;
      if (!seen) {
        spdlog::warn("controller={} key={} error=\"own writes not seen\"",
                     self->name_, run->key);
      }
      self->FinishRun(run);
    };
    if (run->expectations.empty()) return finish(true);
    context_.informers->AwaitSeen(std::move(run->expectations), finish);
  }

  void FinishRun(const RunPtr& run) {
    runs_.erase(run->key);
    const bool changed =
        std::any_of(run->seen.begin(), run->seen.end(), [&](int64_t version) {
          return std::find(run->written.begin(), run->written.end(),
                           version) == run->written.end();
        });
    if (changed) queue_->Add(run->key);
    if (run->status.ok() && run->again) {
      AddAfter(run->key, kAfterConflict);
    } else if (run->status.ok() &&
               run->plan.again < absl::InfiniteDuration()) {
      // Not in a spin, even where a plan rounds a rest down to zero.
      AddAfter(run->key, std::max(run->plan.again, absl::Milliseconds(1)));
    }
    Done done = std::move(run->done);
    done(run->status);
  }

  // Keeps the call until it has been answered.
  template <typename StartCall>
  void Start(StartCall start, kube::Client::Done done) {
    auto call = calls_.insert(calls_.end(), nullptr);
    std::weak_ptr<Impl> weak = weak_from_this();
    *call = start([weak, call, done](absl::StatusOr<Json> answer) {
      auto self = weak.lock();
      if (self == nullptr) return;
      // The call is running this very callback: it goes a turn later.
      std::shared_ptr<kube::Call> dying = std::move(*call);
      self->calls_.erase(call);
      self->context_.loop->Post([dying] {});
      auto run_done = done;
      run_done(std::move(answer));
    });
  }

  Context context_;
  std::string name_;
  PlanFunction plan_;
  kube::Client client_;
  kube::EventRecorder recorder_;
  std::unique_ptr<kube::WorkQueue> queue_;
  std::set<std::string> early_;
  absl::flat_hash_map<std::string, RunPtr> runs_;  // under way
  std::list<std::unique_ptr<kube::Call>> calls_;
  absl::flat_hash_map<std::string, absl::Duration> due_;
  absl::flat_hash_map<std::string, Timer> timers_;
};

Shell::Shell(const Context& context, std::string name, PlanFunction plan,
             int parallel)
    : impl_(std::make_shared<Impl>(context, std::move(name),
                                   std::move(plan))) {
  impl_->Open(parallel);
}
Shell::~Shell() { impl_->Close(); }
void Shell::Add(std::string key) { impl_->Add(std::move(key)); }
void Shell::AddChanged(std::string key, const Object& after) {
  impl_->AddChanged(std::move(key), after);
}
void Shell::AddAfter(std::string key, absl::Duration delay) {
  impl_->AddAfter(key, delay);
}
const Shell::Stats& Shell::stats() const { return impl_->stats; }
const std::string& Shell::name() const { return impl_->name(); }

}  // namespace fairlead::controllers
