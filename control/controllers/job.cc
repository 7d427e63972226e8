// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/job.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "userspace/base/strings.h"
#include "userspace/kube/control_resources.h"

namespace fairlead::controllers {
namespace {

constexpr char kFinalizer[] = "batch.kubernetes.io/job-tracking";
constexpr char kIndex[] = "batch.kubernetes.io/job-completion-index";
constexpr absl::Duration kFirstBackoff = absl::Seconds(10);
constexpr absl::Duration kMaxBackoff = absl::Minutes(10);
constexpr int kBurst = 500;  // pods made or removed by one plan
constexpr int kMaxIndexes = 100000;

bool HasFinalizer(const Json& pod) {
  const Json& finalizers = Get(pod, {"metadata", "finalizers"});
  return finalizers.is_array() &&
         std::find(finalizers.begin(), finalizers.end(), kFinalizer) !=
             finalizers.end();
}

Write WithoutFinalizer(const Json& pod, int stage) {
  Json rest = Json::array();
  for (const Json& f : Get(pod, {"metadata", "finalizers"})) {
    if (f != kFinalizer) rest.push_back(f);
  }
  return PatchOf(kube::Pods(), pod,
                 {{"metadata", {{"uid", Uid(pod)}, {"finalizers", rest}}}},
                 stage);
}

int IndexOf(const Json& pod) {
  int index = -1;
  return absl::SimpleAtoi(Absl(Annotation(pod, kIndex)), &index) ? index : -1;
}

int64_t RestartsOf(const Json& pod) {
  int64_t total = 0;
  const Json& statuses = Get(pod, {"status", "containerStatuses"});
  if (!statuses.is_array()) return 0;
  for (const Json& status : statuses) {
    total += Number(status, {"restartCount"});
  }
  return total;
}

// When the last container of a finished pod ended.
absl::Time FinishedAt(const Json& pod) {
  absl::Time last = CreationTime(pod);
  const Json& statuses = Get(pod, {"status", "containerStatuses"});
  if (!statuses.is_array()) return last;
  for (const Json& status : statuses) {
    auto t = TimeOf(Text(status, {"state", "terminated", "finishedAt"}));
    if (t) last = std::max(last, *t);
  }
  return last;
}

// Everything that one plan works with.
class Run {
 public:
  Run(const JobFacts& facts, absl::Time now)
      : facts_(facts), job_(*facts.job), now_(now) {
    status_ = Get(job_, {"status"});
    if (!status_.is_object()) status_ = Json::object();
    indexed_ = Text(job_, {"spec", "completionMode"}) == "Indexed";
    suspended_ = Flag(job_, {"spec", "suspend"});
  }

  Plan Make() {
    if (IsTerminating(job_)) {
      for (const Object& pod : facts_.pods) {
        if (HasFinalizer(*pod)) {
          plan_.writes.push_back(WithoutFinalizer(*pod, 0));
        }
      }
      return std::move(plan_);
    }
    Count();
    if (IsFinished()) {
      Expire();
    } else {
      if (!suspended_ && !status_.contains("startTime")) {
        status_["startTime"] = Timestamp(now_);
      }
      Decide();
    }
    Status();
    return std::move(plan_);
  }

 private:
  bool HasCondition(std::string_view type) const {
    const Json& conditions = Get(status_, {"conditions"});
    if (!conditions.is_array()) return false;
    return std::any_of(conditions.begin(), conditions.end(),
                       [&](const Json& c) {
                         return Text(c, {"type"}) == type &&
                                Text(c, {"status"}) == "True";
                       });
  }
  bool IsFinished() const {
    return HasCondition("Complete") || HasCondition("Failed");
  }

  void SetCondition(const char* type, const char* status, const char* reason,
                    std::string_view message) {
    Json& conditions = status_["conditions"];
    if (!conditions.is_array()) conditions = Json::array();
    Json wanted = {{"type", type},
                   {"status", status},
                   {"lastProbeTime", Timestamp(now_)},
                   {"lastTransitionTime", Timestamp(now_)},
                   {"reason", reason},
                   {"message", message}};
    for (Json& condition : conditions) {
      if (Text(condition, {"type"}) != type) continue;
      if (Text(condition, {"status"}) != status) condition = wanted;
      return;
    }
    conditions.push_back(std::move(wanted));
  }

  // --- counting

  // Finished pods into the status, in three steps that may each be the last
  // one before a crash: uid into the list, finalizer off, number up.
  void Count() {
    std::set<std::string> succeeded = Uncounted("succeeded");
    std::set<std::string> failed = Uncounted("failed");
    std::set<std::string> held;  // still with a finalizer
    std::vector<int> done =
        ParseIndexes(Text(status_, {"completedIndexes"}));
    for (const Object& pod : facts_.pods) {
      std::string uid(Uid(*pod));
      bool ended = IsPodTerminated(*pod) || IsTerminating(*pod);
      bool good = Text(*pod, {"status", "phase"}) == "Succeeded";
      if (!ended) {
        active_.push_back(pod);
        continue;
      }
      if (IsTerminating(*pod) && !IsPodTerminated(*pod)) ++terminating_;
      if (!good && IsPodTerminated(*pod)) failed_pods_.push_back(pod);
      if (good) last_success_ = std::max(last_success_, FinishedAt(*pod));
      if (!HasFinalizer(*pod)) continue;
      held.insert(uid);
      bool listed = succeeded.contains(uid) || failed.contains(uid);
      if (!listed) (good ? succeeded : failed).insert(uid);
      if (good && indexed_) done.push_back(IndexOf(*pod));
      plan_.writes.push_back(WithoutFinalizer(*pod, 1));
    }
    CountUp("succeeded", held, &succeeded);
    CountUp("failed", held, &failed);
    SetIndexes(std::move(done));
    Json lists = Json::object();
    if (!succeeded.empty()) lists["succeeded"] = succeeded;
    if (!failed.empty()) lists["failed"] = failed;
    status_["uncountedTerminatedPods"] = std::move(lists);
    succeeded_ = static_cast<int>(Number(status_, {"succeeded"}) +
                                  static_cast<int64_t>(succeeded.size()));
    failed_ = static_cast<int>(Number(status_, {"failed"}) +
                               static_cast<int64_t>(failed.size()));
  }

  std::set<std::string> Uncounted(const char* list) const {
    std::set<std::string> uids;
    const Json& before = Get(status_, {"uncountedTerminatedPods", list});
    if (!before.is_array()) return uids;
    for (const Json& uid : before) {
      if (uid.is_string()) uids.insert(uid.get<std::string>());
    }
    return uids;
  }

  // Those whose finalizer is gone become a number.
  void CountUp(const char* field, const std::set<std::string>& held,
               std::set<std::string>* uids) {
    int64_t more = static_cast<int64_t>(std::erase_if(
        *uids, [&](const std::string& uid) { return !held.contains(uid); }));
    if (more > 0) status_[field] = Number(status_, {field}) + more;
  }

  void SetIndexes(std::vector<int> done) {
    if (!indexed_) return;
    std::sort(done.begin(), done.end());
    done.erase(std::unique(done.begin(), done.end()), done.end());
    std::erase_if(done, [&](int i) {
      return i < 0 || i >= Number(job_, {"spec", "completions"});
    });
    completed_.insert(done.begin(), done.end());
    if (!done.empty()) status_["completedIndexes"] = FormatIndexes(done);
  }

  // --- deciding

  void Decide() {
    if (const char* reason = FailureReason()) return Fail(reason);
    if (HasCondition("FailureTarget")) return Fail(nullptr);
    if (IsSuccess()) return Succeed();
    if (suspended_) return Suspend();
    if (Condition(job_, "Suspended") != nullptr &&
        IsConditionTrue(job_, "Suspended")) {
      SetCondition("Suspended", "False", "JobResumed", "Job resumed");
      status_["startTime"] = Timestamp(now_);
    }
    KeepRunning();
  }

  int Succeeded() const {
    return indexed_ ? static_cast<int>(completed_.size()) : succeeded_;
  }

  bool IsSuccess() const {
    const Json& completions = Get(job_, {"spec", "completions"});
    if (completions.is_number()) {
      return Succeeded() >= completions.get<int64_t>();
    }
    // A work queue: one success ends it, when the others have ended, too.
    return succeeded_ > 0 && active_.empty();
  }

  const char* FailureReason() {
    if (HasCondition("FailureTarget")) return nullptr;
    int64_t limit = Number(job_, {"spec", "backoffLimit"}, 6);
    bool on_failure = Text(job_, {"spec", "template", "spec",
                                  "restartPolicy"}) == "OnFailure";
    int64_t restarts = 0;
    for (const Object& pod : active_) restarts += RestartsOf(*pod);
    if (failed_ > limit ||
        (on_failure && restarts > 0 && restarts >= limit)) {
      return "BackoffLimitExceeded";
    }
    const Json& deadline = Get(job_, {"spec", "activeDeadlineSeconds"});
    auto start = TimeOf(Text(status_, {"startTime"}));
    if (deadline.is_number() && start && !suspended_) {
      absl::Time due = *start + absl::Seconds(deadline.get<int64_t>());
      if (due <= now_) return "DeadlineExceeded";
      plan_.again = std::min(plan_.again, due - now_);
    }
    return nullptr;
  }

  // First the target, with the pods told to end; the verdict when they have.
  void Fail(const char* reason) {
    if (reason != nullptr) {
      bool deadline = std::string_view(reason) == "DeadlineExceeded";
      SetCondition("FailureTarget", "True", reason,
                   deadline ? "Job was active longer than specified deadline"
                            : "Job has reached the specified backoff limit");
    }
    for (const Object& pod : active_) Remove(*pod);
    if (!active_.empty() || terminating_ > 0) return;
    for (const Json& c : status_["conditions"]) {
      if (Text(c, {"type"}) != "FailureTarget") continue;
      std::string why(Text(c, {"reason"})), text(Text(c, {"message"}));
      SetCondition("Failed", "True", why.c_str(), text);
      plan_.announcements.push_back(Announce(
          kube::Jobs(), job_, kube::EventType::kWarning, why, text));
      break;
    }
  }

  void Succeed() {
    SetCondition("SuccessCriteriaMet", "True", "CompletionsReached",
                 "Reached expected number of succeeded pods");
    for (const Object& pod : active_) Remove(*pod);
    if (!active_.empty() || terminating_ > 0) return;
    SetCondition("Complete", "True", "CompletionsReached",
                 "Reached expected number of succeeded pods");
    status_["completionTime"] = Timestamp(now_);
    plan_.announcements.push_back(
        Announce(kube::Jobs(), job_, kube::EventType::kNormal, "Completed",
                 "Job completed"));
  }

  void Suspend() {
    SetCondition("Suspended", "True", "JobSuspended", "Job suspended");
    status_.erase("startTime");
    for (const Object& pod : active_) Remove(*pod);
  }

  // How long to wait after failures in a row: 10 s, 20 s, 40 s, ...
  absl::Duration Backoff() const {
    absl::Time last = absl::InfinitePast();
    int row = 0;
    for (const Object& pod : failed_pods_) {
      absl::Time ended = FinishedAt(*pod);
      if (ended <= last_success_) continue;
      ++row;
      last = std::max(last, ended);
    }
    if (row == 0) return absl::ZeroDuration();
    absl::Duration wait = kFirstBackoff * (1 << std::min(row - 1, 10));
    wait = std::min(wait, kMaxBackoff);
    // Not longer, should the clock have been put back since.
    return std::min(last + wait - now_, wait);
  }

  void KeepRunning() {
    int parallelism =
        static_cast<int>(Number(job_, {"spec", "parallelism"}, 1));
    const Json& completions = Get(job_, {"spec", "completions"});
    int wanted = parallelism;
    if (completions.is_number()) {
      wanted = static_cast<int>(std::min<int64_t>(
          parallelism, completions.get<int64_t>() - Succeeded()));
    } else if (succeeded_ > 0) {
      wanted = std::min<int>(wanted, static_cast<int>(active_.size()));
    }
    wanted = std::max(wanted, 0);
    int have = static_cast<int>(active_.size());
    for (int i = wanted; i < have; ++i) Remove(*active_[static_cast<size_t>(i)]);
    int missing = wanted - have;
    if (Text(job_, {"spec", "podReplacementPolicy"}) == "Failed") {
      missing -= terminating_;
    }
    if (missing <= 0) return;
    absl::Duration wait = Backoff();
    if (wait > absl::ZeroDuration()) {
      plan_.again = std::min(plan_.again, wait);
      return;
    }
    missing = std::min(missing, kBurst);
    std::set<int> busy = completed_;
    for (const Object& pod : active_) busy.insert(IndexOf(*pod));
    int index = 0, stage = 2;
    for (int batch = 1; missing > 0; batch *= 2, ++stage) {
      for (int i = 0; i < batch && missing > 0; ++i, --missing) {
        while (indexed_ && busy.contains(index)) ++index;
        AddPod(index++, stage);
      }
    }
  }

  void AddPod(int index, int stage) {
    const Json& wanted = Get(job_, {"spec", "template"});
    Json metadata = Get(wanted, {"metadata"});
    if (!metadata.is_object()) metadata = Json::object();
    metadata.erase("creationTimestamp");
    metadata["namespace"] = Namespace(job_);
    metadata["finalizers"].push_back(kFinalizer);
    metadata["ownerReferences"] =
        Json::array({ControllerReference(kube::Jobs(), job_)});
    Json spec = Get(wanted, {"spec"});
    std::string prefix = StrCat(Name(job_), "-");
    if (indexed_) {
      std::string number = std::to_string(index);
      StrAppend(&prefix, number, "-");
      metadata["annotations"][kIndex] = number;
      metadata["labels"][kIndex] = number;
      spec["hostname"] = StrCat(Name(job_), "-", number);
      for (const char* list : {"containers", "initContainers"}) {
        if (!spec.contains(list)) continue;
        for (Json& container : spec[list]) {
          container["env"].push_back(
              {{"name", "JOB_COMPLETION_INDEX"},
               {"valueFrom",
                {{"fieldRef",
                  {{"fieldPath",
                    StrCat("metadata.labels['", kIndex, "']")}}}}}});
        }
      }
    }
    metadata["generateName"] = prefix;
    Write write = CreateOf(
        kube::Pods(), {{"metadata", std::move(metadata)}, {"spec", spec}},
        stage);
    write.announce = Announce(kube::Jobs(), job_, kube::EventType::kNormal,
                              "SuccessfulCreate", "Created pod: %s");
    plan_.writes.push_back(std::move(write));
  }

  void Remove(const Json& pod) {
    if (++removed_ > kBurst) return;
    Write write = DeleteOf(kube::Pods(), pod, 2);
    write.announce = Announce(kube::Jobs(), job_, kube::EventType::kNormal,
                              "SuccessfulDelete",
                              StrCat("Deleted pod: ", Name(pod)));
    plan_.writes.push_back(std::move(write));
  }

  void Expire() {
    const Json& ttl = Get(job_, {"spec", "ttlSecondsAfterFinished"});
    if (!ttl.is_number()) return;
    absl::Time ended = absl::InfinitePast();
    for (const Json& c : Get(status_, {"conditions"})) {
      if (Text(c, {"type"}) != "Complete" && Text(c, {"type"}) != "Failed") {
        continue;
      }
      ended = TimeOf(Text(c, {"lastTransitionTime"})).value_or(now_);
    }
    absl::Time due = ended + absl::Seconds(ttl.get<int64_t>());
    if (due > now_) {
      plan_.again = std::min(plan_.again, due - now_);
    } else {
      plan_.writes.push_back(DeleteOf(kube::Jobs(), job_, 3));
    }
  }

  void Status() {
    int64_t ready = std::count_if(
        active_.begin(), active_.end(),
        [](const Object& pod) { return IsPodReady(*pod); });
    status_["ready"] = ready;
    status_["terminating"] = terminating_;
    if (active_.empty()) {
      status_.erase("active");
    } else {
      status_["active"] = active_.size();
    }
    if (Get(job_, {"status"}) == status_) return;
    Json updated = job_;
    updated["status"] = status_;
    plan_.writes.push_back(StatusOf(kube::Jobs(), std::move(updated), 0));
  }

  const JobFacts& facts_;
  const Json& job_;
  absl::Time now_;
  bool indexed_ = false, suspended_ = false;
  Json status_;
  std::vector<Object> active_, failed_pods_;
  std::set<int> completed_;
  int succeeded_ = 0, failed_ = 0, terminating_ = 0, removed_ = 0;
  absl::Time last_success_ = absl::InfinitePast();
  Plan plan_;
};

}  // namespace

std::string FormatIndexes(const std::vector<int>& sorted) {
  std::string text;
  for (size_t i = 0; i < sorted.size();) {
    size_t end = i;
    while (end + 1 < sorted.size() && sorted[end + 1] == sorted[end] + 1) {
      ++end;
    }
    StrAppend(&text, text.empty() ? "" : ",", sorted[i]);
    if (end > i) StrAppend(&text, end == i + 1 ? "," : "-", sorted[end]);
    i = end + 1;
  }
  return text;
}

std::vector<int> ParseIndexes(std::string_view text) {
  std::vector<int> indexes;
  for (absl::string_view part :
       absl::StrSplit(Absl(text), ',', absl::SkipEmpty())) {
    std::pair<absl::string_view, absl::string_view> ends =
        absl::StrSplit(part, absl::MaxSplits('-', 1));
    int first = 0, last = 0;
    if (!absl::SimpleAtoi(ends.first, &first)) continue;
    if (ends.second.empty() || !absl::SimpleAtoi(ends.second, &last)) {
      last = first;
    }
    last = std::min(last, kMaxIndexes);
    for (int i = std::max(first, 0); i <= last; ++i) indexes.push_back(i);
  }
  return indexes;
}

Plan PlanJob(const JobFacts& facts, absl::Time now) {
  return Run(facts, now).Make();
}

Plan PlanJoblessPods(const std::vector<Object>& pods) {
  Plan plan;
  for (const Object& pod : pods) {
    if (HasFinalizer(*pod)) {
      plan.writes.push_back(WithoutFinalizer(*pod, 0));
    }
  }
  return plan;
}

JobController::JobController(const Context& context)
    : context_(context),
      shell_(context, "job-controller",
             [this](const std::string& key, const Shell::Answers&) {
               return Make(key);
             }) {
  context.informers->Of(kube::Jobs())
      .Subscribe([this](const Object& before, const Object& after) {
        shell_.Add(kube::KeyOf(after != nullptr ? *after : *before));
      });
  context.informers->Of(kube::Pods())
      .Subscribe([this](const Object& before, const Object& after) {
        const Json& pod = after != nullptr ? *after : *before;
        const Json* owner = ControllerOf(pod);
        if (owner != nullptr && Text(*owner, {"kind"}) == "Job") {
          shell_.Add(StrCat(Namespace(pod), "/", Text(*owner, {"name"})));
        }
      });
}

Plan JobController::Make(const std::string& key) {
  Informers& informers = *context_.informers;
  kube::Informer& pods = informers.Of(kube::Pods());
  Object job = informers.Of(kube::Jobs()).Get(key);
  if (job != nullptr) {
    return PlanJob({job, pods.ByIndex("controller", Uid(*job))},
                   context_.clock->Now());
  }
  std::vector<Object> left;
  std::string ns = key.substr(0, key.find('/'));
  for (Object& pod : pods.ByIndex("namespace", ns)) {
    const Json* owner = ControllerOf(*pod);
    if (owner != nullptr && Text(*owner, {"kind"}) == "Job" &&
        StrCat(ns, "/", Text(*owner, {"name"})) == key) {
      left.push_back(std::move(pod));
    }
  }
  return PlanJoblessPods(left);
}

}  // namespace fairlead::controllers
