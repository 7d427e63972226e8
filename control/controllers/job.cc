// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/job.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "control/controllers/job_policy.h"
#include "userspace/base/strings.h"
#include "userspace/kube/control_resources.h"

namespace fairlead::controllers {
namespace {

constexpr char kFinalizer[] = "batch.kubernetes.io/job-tracking";
constexpr char kIndex[] = "batch.kubernetes.io/job-completion-index";
constexpr char kIndexFailures[] = "batch.kubernetes.io/job-index-failure-count";
// spec.managedBy of Jobs that are ours, as are those without one.
constexpr char kOurs[] = "kubernetes.io/job-controller";
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

// How often pods of its index had failed when it was made.
int FailuresBefore(const Json& pod) {
  int count = 0;
  return absl::SimpleAtoi(Absl(Annotation(pod, kIndexFailures)), &count)
             ? count
             : 0;
}

// How long to wait after so many failures: 10 s, 20 s, 40 s, ...
absl::Duration WaitAfter(int failures) {
  if (failures == 0) return absl::ZeroDuration();
  return std::min(kFirstBackoff * (1 << std::min(failures - 1, 10)),
                  kMaxBackoff);
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

struct Failure {
  std::string reason, message;
};

// Of one index.
struct IndexFailures {
  int count = 0;
  absl::Time last = absl::InfinitePast();
};

// Everything that one plan works with.
class Run {
 public:
  Run(const JobFacts& facts, absl::Time now)
      : facts_(facts), job_(*facts.job), now_(now) {
    status_ = Get(job_, {"status"});
    if (!status_.is_object()) status_ = Json::object();
    indexed_ = Text(job_, {"spec", "completionMode"}) == "Indexed";
    suspended_ = Flag(job_, {"spec", "suspend"});
    limit_per_index_ = Get(job_, {"spec", "backoffLimitPerIndex"});
    waits_for_end_ = Text(job_, {"spec", "podReplacementPolicy"}) == "Failed";
  }

  Plan Make() {
    std::string_view manager = Text(job_, {"spec", "managedBy"});
    if (!manager.empty() && manager != kOurs) return {};
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
    for (int i : ParseIndexes(Text(status_, {"failedIndexes"}))) {
      failed_indexes_.insert(i);
    }
    for (const Object& pod : facts_.pods) {
      bool leaving = IsTerminating(*pod) && !IsPodTerminated(*pod);
      if (leaving) leaving_.push_back(pod);
      if (leaving && !HasEnded(*pod)) {
        plan_.again = std::min(plan_.again, GoneBy(*pod) - now_);
        continue;
      }
      if (!HasEnded(*pod)) {
        active_.push_back(pod);
        continue;
      }
      // One that was too many is no failure.
      bool dismissed = IsTerminating(*pod) && !HasFinalizer(*pod);
      bool good = Text(*pod, {"status", "phase"}) == "Succeeded";
      if (!good && !leaving && !dismissed) failed_pods_.push_back(pod);
      if (good) last_success_ = std::max(last_success_, FinishedAt(*pod));
      PodVerdict verdict;
      if (!good) verdict = Judge(*pod, dismissed);
      if (!HasFinalizer(*pod)) continue;
      std::string uid(Uid(*pod));
      held.insert(uid);
      if (good && indexed_) done.push_back(IndexOf(*pod));
      if (succeeded.contains(uid) || failed.contains(uid)) continue;
      if (good) {
        succeeded.insert(uid);
      } else if (verdict.counts) {
        failed.insert(uid);
      }
    }
    CountUp("succeeded", held, &succeeded);
    CountUp("failed", held, &failed);
    SetIndexes(std::move(done));
    for (const Object& pod : facts_.pods) {
      if (held.contains(std::string(Uid(*pod))) && !IsNeeded(*pod)) {
        plan_.writes.push_back(WithoutFinalizer(*pod, 1));
      }
    }
    Json lists = Json::object();
    if (!succeeded.empty()) lists["succeeded"] = succeeded;
    if (!failed.empty()) lists["failed"] = failed;
    status_["uncountedTerminatedPods"] = std::move(lists);
    succeeded_ = static_cast<int>(Number(status_, {"succeeded"}) +
                                  static_cast<int64_t>(succeeded.size()));
    failed_ = static_cast<int>(Number(status_, {"failed"}) +
                               static_cast<int64_t>(failed.size()));
  }

  // A pod that is being deleted has, unless another may only take its place
  // when it is gone; but not for longer than its grace.
  bool HasEnded(const Json& pod) const {
    if (IsPodTerminated(pod)) return true;
    if (!IsTerminating(pod)) return false;
    return !waits_for_end_ || GoneBy(pod) <= now_;
  }

  // When the kubelet of a pod that is being deleted should have ended it.
  absl::Time GoneBy(const Json& pod) const {
    return TimeOf(Text(pod, {"metadata", "deletionTimestamp"})).value_or(now_);
  }

  // What follows from a pod that has failed, for the Job and for its index.
  PodVerdict Judge(const Json& pod, bool dismissed) {
    PodVerdict verdict{.counts = !dismissed};
    if (IsPodTerminated(pod) && !dismissed) {
      verdict = JudgeFailedPod(Get(job_, {"spec", "podFailurePolicy"}), pod);
    }
    if (!verdict.fails_job.empty() && !failure_) {
      failure_ = {"PodFailurePolicy", verdict.fails_job};
    }
    if (!limit_per_index_.is_number()) return verdict;
    IndexFailures& failures = index_failures_[IndexOf(pod)];
    failures.count = std::max(failures.count,
                              FailuresBefore(pod) + (verdict.counts ? 1 : 0));
    failures.last = std::max(failures.last, FinishedAt(pod));
    if (verdict.fails_index ||
        failures.count > limit_per_index_.get<int64_t>()) {
      failed_indexes_.insert(IndexOf(pod));
    }
    return verdict;
  }

  // The last failed pod of an index knows how often it has failed, until the
  // next one is there.
  bool IsNeeded(const Json& pod) const {
    if (!limit_per_index_.is_number() || IsFinished() ||
        Text(pod, {"status", "phase"}) == "Succeeded") {
      return false;
    }
    int index = IndexOf(pod);
    return !completed_.contains(index) && !failed_indexes_.contains(index) &&
           std::none_of(active_.begin(), active_.end(),
                        [&](const Object& other) {
                          return IndexOf(*other) == index;
                        });
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
    if (!limit_per_index_.is_number()) return;
    std::erase_if(failed_indexes_,
                  [&](int i) { return i < 0 || completed_.contains(i); });
    status_["failedIndexes"] = FormatIndexes(
        std::vector<int>(failed_indexes_.begin(), failed_indexes_.end()));
  }

  // --- deciding

  void Decide() {
    if (HasCondition("SuccessCriteriaMet")) return Succeed({});
    if (HasCondition("FailureTarget")) return Fail({});
    if (auto failure = FindFailure()) return Fail(*failure);
    if (auto rule = FulfilledRule(Get(job_, {"spec", "successPolicy"}),
                                  completed_)) {
      return Succeed({"SuccessPolicy", *rule});
    }
    if (IsSuccess()) {
      return Succeed({"CompletionsReached",
                      "Reached expected number of succeeded pods"});
    }
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

  std::optional<Failure> FindFailure() {
    if (failure_) return failure_;
    int64_t limit = Number(job_, {"spec", "backoffLimit"}, 6);
    bool on_failure = Text(job_, {"spec", "template", "spec",
                                  "restartPolicy"}) == "OnFailure";
    int64_t restarts = 0;
    for (const Object& pod : active_) restarts += RestartsOf(*pod);
    if (failed_ > limit ||
        (on_failure && restarts > 0 && restarts >= limit)) {
      return Failure{"BackoffLimitExceeded",
                     "Job has reached the specified backoff limit"};
    }
    const Json& deadline = Get(job_, {"spec", "activeDeadlineSeconds"});
    auto start = TimeOf(Text(status_, {"startTime"}));
    if (deadline.is_number() && start && !suspended_) {
      absl::Time due = *start + absl::Seconds(deadline.get<int64_t>());
      if (due <= now_) {
        return Failure{"DeadlineExceeded",
                       "Job was active longer than specified deadline"};
      }
      plan_.again = std::min(plan_.again, due - now_);
    }
    return TooManyFailedIndexes();
  }

  std::optional<Failure> TooManyFailedIndexes() const {
    int64_t failed = static_cast<int64_t>(failed_indexes_.size());
    const Json& most = Get(job_, {"spec", "maxFailedIndexes"});
    if (most.is_number() && failed > most.get<int64_t>()) {
      return Failure{
          "MaxFailedIndexesExceeded",
          "Job has exceeded the specified maximal number of failed indexes"};
    }
    if (failed > 0 &&
        failed + Succeeded() >= Number(job_, {"spec", "completions"})) {
      return Failure{"FailedIndexes", "Job has failed indexes"};
    }
    return std::nullopt;
  }

  // First the target (unless it is set already) with the pods told to end;
  // the verdict when they have.
  void Fail(const Failure& failure) {
    if (!failure.reason.empty()) {
      SetCondition("FailureTarget", "True", failure.reason.c_str(),
                   failure.message);
    }
    for (const Object& pod : active_) Remove(*pod);
    if (!active_.empty() || !leaving_.empty()) return;
    const auto [reason, message] = CopyCondition("FailureTarget", "Failed");
    plan_.announcements.push_back(Announce(
        kube::Jobs(), job_, kube::EventType::kWarning, reason, message));
  }

  void Succeed(const Failure& criteria) {
    if (!criteria.reason.empty()) {
      SetCondition("SuccessCriteriaMet", "True", criteria.reason.c_str(),
                   criteria.message);
    }
    for (const Object& pod : active_) RemoveUncounted(*pod);
    if (!active_.empty() || !leaving_.empty()) return;
    CopyCondition("SuccessCriteriaMet", "Complete");
    status_["completionTime"] = Timestamp(now_);
    plan_.announcements.push_back(
        Announce(kube::Jobs(), job_, kube::EventType::kNormal, "Completed",
                 "Job completed"));
  }

  // Sets `to` for the reason that `from` has, which is returned.
  Failure CopyCondition(const char* from, const char* to) {
    Failure why;
    for (const Json& c : status_["conditions"]) {
      if (Text(c, {"type"}) == from) {
        why = {std::string(Text(c, {"reason"})),
               std::string(Text(c, {"message"}))};
      }
    }
    SetCondition(to, "True", why.reason.c_str(), why.message);
    return why;
  }

  void Suspend() {
    SetCondition("Suspended", "True", "JobSuspended", "Job suspended");
    status_.erase("startTime");
    for (const Object& pod : active_) RemoveUncounted(*pod);
  }

  // How long still to wait after failures in a row.
  absl::Duration Backoff() const {
    absl::Time last = absl::InfinitePast();
    int row = 0;
    for (const Object& pod : failed_pods_) {
      absl::Time ended = FinishedAt(*pod);
      if (ended <= last_success_) continue;
      ++row;
      last = std::max(last, ended);
    }
    return LeftOf(WaitAfter(row), last);
  }

  // Not longer than all of it, should the clock have been put back since.
  absl::Duration LeftOf(absl::Duration wait, absl::Time since) const {
    if (wait == absl::ZeroDuration()) return wait;
    return std::min(since + wait - now_, wait);
  }

  // Whether a pod of this index may be made now.
  bool IsDue(int index) {
    auto it = index_failures_.find(index);
    if (it == index_failures_.end()) return true;
    absl::Duration wait =
        LeftOf(WaitAfter(it->second.count), it->second.last);
    if (wait <= absl::ZeroDuration()) return true;
    plan_.again = std::min(plan_.again, wait);
    return false;
  }

  void KeepRunning() {
    int parallelism =
        static_cast<int>(Number(job_, {"spec", "parallelism"}, 1));
    const Json& completions = Get(job_, {"spec", "completions"});
    int wanted = parallelism;
    if (completions.is_number()) {
      wanted = static_cast<int>(std::min<int64_t>(
          parallelism, completions.get<int64_t>() - Succeeded() -
                           static_cast<int64_t>(failed_indexes_.size())));
    } else if (succeeded_ > 0) {
      wanted = std::min<int>(wanted, static_cast<int>(active_.size()));
    }
    wanted = std::max(wanted, 0);
    int have = static_cast<int>(active_.size());
    for (int i = wanted; i < have; ++i) {
      RemoveUncounted(*active_[static_cast<size_t>(i)]);
    }
    int missing = wanted - have;
    if (waits_for_end_) missing -= static_cast<int>(leaving_.size());
    if (missing <= 0) return;
    absl::Duration wait =
        limit_per_index_.is_number() ? absl::ZeroDuration() : Backoff();
    if (wait > absl::ZeroDuration()) {
      plan_.again = std::min(plan_.again, wait);
      return;
    }
    missing = std::min(missing, kBurst);
    std::set<int> busy = completed_;
    busy.insert(failed_indexes_.begin(), failed_indexes_.end());
    for (const Object& pod : active_) busy.insert(IndexOf(*pod));
    if (waits_for_end_) {
      for (const Object& pod : leaving_) busy.insert(IndexOf(*pod));
    }
    int64_t end = indexed_ ? completions.get<int64_t>() : missing;
    int index = 0, stage = 2;
    for (int batch = 1; missing > 0; batch *= 2, ++stage) {
      for (int i = 0; i < batch && missing > 0; ++i, --missing) {
        while (indexed_ && index < end &&
               (busy.contains(index) || !IsDue(index))) {
          ++index;
        }
        if (index >= end) return;
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
      if (limit_per_index_.is_number()) {
        metadata["annotations"][kIndexFailures] =
            std::to_string(index_failures_[index].count);
      }
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

  // A pod that is too many is no failure: nobody counts it.
  void RemoveUncounted(const Json& pod) {
    if (HasFinalizer(pod) && removed_ < kBurst) {
      plan_.writes.push_back(WithoutFinalizer(pod, 2));
    }
    Remove(pod);
  }

  void Remove(const Json& pod) {
    if (++removed_ > kBurst) return;
    Write write = DeleteOf(kube::Pods(), pod, 3);
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
      plan_.writes.push_back(DeleteOf(kube::Jobs(), job_, 4));
    }
  }

  void Status() {
    int64_t ready = std::count_if(
        active_.begin(), active_.end(),
        [](const Object& pod) { return IsPodReady(*pod); });
    status_["ready"] = ready;
    status_["terminating"] = leaving_.size();
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
  bool indexed_ = false, suspended_ = false, waits_for_end_ = false;
  Json limit_per_index_;  // null: there is none
  std::optional<Failure> failure_;  // by the policy for failed pods
  Json status_;
  std::vector<Object> active_, leaving_, failed_pods_;
  std::set<int> completed_, failed_indexes_;
  std::map<int, IndexFailures> index_failures_;
  int succeeded_ = 0, failed_ = 0, removed_ = 0;
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
