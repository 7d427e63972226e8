// SPDX-License-Identifier: Apache-2.0
// The status of a Deployment: counts, and the conditions Available and
// Progressing that `kubectl rollout status` and `wait` read.
#include <algorithm>

#include "control/controllers/rollout.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

struct NewCondition {
  std::string type, status, reason, message;
};

// As it is when nothing that matters changed, so that time stamps stay.
void SetCondition(Json& conditions, const NewCondition& wanted,
                  absl::Time now) {
  std::string stamp = Timestamp(now);
  std::string transition = stamp;
  for (auto it = conditions.begin(); it != conditions.end(); ++it) {
    if (Text(*it, {"type"}) != wanted.type) continue;
    if (Text(*it, {"status"}) == wanted.status) {
      if (Text(*it, {"reason"}) == wanted.reason &&
          Text(*it, {"message"}) == wanted.message) {
        return;
      }
      transition = Text(*it, {"lastTransitionTime"});
    }
    conditions.erase(it);
    break;
  }
  conditions.push_back({{"type", wanted.type},
                        {"status", wanted.status},
                        {"lastUpdateTime", stamp},
                        {"lastTransitionTime", transition},
                        {"reason", wanted.reason},
                        {"message", wanted.message}});
}

const Json* Find(const Json& conditions, std::string_view type) {
  for (const Json& condition : conditions) {
    if (Text(condition, {"type"}) == type) return &condition;
  }
  return nullptr;
}

// A step forward restarts the clock of the progress deadline.
void Touch(Json& conditions, absl::Time now) {
  for (Json& condition : conditions) {
    if (Text(condition, {"type"}) == "Progressing") {
      condition["lastUpdateTime"] = Timestamp(now);
    }
  }
}

struct Counts {
  int64_t replicas = 0, updated = 0, ready = 0, available = 0,
          unavailable = 0, terminating = 0;
};

Counts CountsOf(const StatusFacts& facts) {
  Counts c;
  int64_t wanted = 0;
  for (const Object& rs : facts.all) {
    wanted += Number(*rs, {"spec", "replicas"}, 1);
    c.replicas += Number(*rs, {"status", "replicas"});
    c.ready += Number(*rs, {"status", "readyReplicas"});
    c.available += Number(*rs, {"status", "availableReplicas"});
    c.terminating += Number(*rs, {"status", "terminatingReplicas"});
  }
  if (facts.current != nullptr) {
    c.updated = Number(*facts.current, {"status", "replicas"});
  }
  c.unavailable = std::max<int64_t>(0, wanted - c.available);
  return c;
}

Counts CountsBefore(const Json& status) {
  return {.replicas = Number(status, {"replicas"}),
          .updated = Number(status, {"updatedReplicas"}),
          .ready = Number(status, {"readyReplicas"}),
          .available = Number(status, {"availableReplicas"})};
}

bool MadeProgress(const Counts& before, const Counts& after) {
  return after.updated > before.updated ||
         after.replicas - after.updated < before.replicas - before.updated ||
         after.ready > before.ready || after.available > before.available;
}

void SetAvailable(const StatusFacts& facts, const Counts& c, absl::Time now,
                  Json& conditions) {
  bool enough =
      c.available >= facts.spec.replicas - facts.spec.max_unavailable;
  SetCondition(
      conditions,
      enough ? NewCondition{"Available", "True", "MinimumReplicasAvailable",
                            "Deployment has minimum availability."}
             : NewCondition{"Available", "False",
                            "MinimumReplicasUnavailable",
                            "Deployment does not have minimum availability."},
      now);
}

void SetProgressing(const StatusFacts& facts, const Counts& before,
                    const Counts& c, absl::Time now, absl::Duration* again,
                    Json& conditions) {
  const Json* progressing = Find(conditions, "Progressing");
  std::string_view reason =
      progressing == nullptr ? "" : Text(*progressing, {"reason"});
  if (facts.spec.paused) {
    if (reason != "DeploymentPaused") {
      SetCondition(conditions,
                   {"Progressing", "Unknown", "DeploymentPaused",
                    "Deployment is paused"},
                   now);
    }
    return;
  }
  if (!facts.created.empty()) {
    SetCondition(conditions,
                 {"Progressing", "True", "NewReplicaSetCreated",
                  StrCat("Created new replica set \"", facts.created, "\"")},
                 now);
    return;
  }
  if (facts.current == nullptr) return;
  std::string name(Name(*facts.current));
  if (reason == "DeploymentPaused") {
    SetCondition(conditions,
                 {"Progressing", "Unknown", "DeploymentResumed",
                  "Deployment is resumed"},
                 now);
    reason = "DeploymentResumed";
  }
  // A finished rollout stays finished when a pod dies or the scale changes.
  if (reason == "NewReplicaSetAvailable" && c.replicas == c.updated) return;
  bool complete = c.updated == facts.spec.replicas &&
                  c.replicas == facts.spec.replicas &&
                  c.available == facts.spec.replicas;
  if (complete) {
    SetCondition(conditions,
                 {"Progressing", "True", "NewReplicaSetAvailable",
                  StrCat("ReplicaSet \"", name,
                         "\" has successfully progressed.")},
                 now);
    return;
  }
  if (progressing == nullptr || MadeProgress(before, c)) {
    SetCondition(conditions,
                 {"Progressing", "True", "ReplicaSetUpdated",
                  StrCat("ReplicaSet \"", name, "\" is progressing.")},
                 now);
    Touch(conditions, now);
  }
  progressing = Find(conditions, "Progressing");
  reason = Text(*progressing, {"reason"});
  // A rollout that has only just begun still shows the last one's end.
  if (reason == "ProgressDeadlineExceeded" ||
      reason == "NewReplicaSetAvailable") {
    return;
  }
  absl::Time since = TimeOf(Text(*progressing, {"lastUpdateTime"}))
                         .value_or(now);
  // Not longer than all of it, should the clock have been put back since.
  absl::Duration left = std::min(since - now, absl::ZeroDuration()) +
                        *facts.spec.progress_deadline;
  if (left >= absl::ZeroDuration()) {
    // Time stamps have whole seconds: a second more than the rest.
    *again = std::min(*again, left + absl::Seconds(1));
    return;
  }
  SetCondition(conditions,
               {"Progressing", "False", "ProgressDeadlineExceeded",
                StrCat("ReplicaSet \"", name, "\" has timed out progressing.")},
               now);
}

}  // namespace

Json DeploymentStatus(const StatusFacts& facts, absl::Time now,
                      absl::Duration* again) {
  const Json& old = Get(*facts.deployment, {"status"});
  Counts c = CountsOf(facts);
  Json status = {{"observedGeneration", Generation(*facts.deployment)},
                 {"terminatingReplicas", c.terminating}};
  auto set = [&status](const char* field, int64_t count) {
    if (count > 0) status[field] = count;
  };
  set("replicas", c.replicas);
  set("updatedReplicas", c.updated);
  set("readyReplicas", c.ready);
  set("availableReplicas", c.available);
  set("unavailableReplicas", c.unavailable);
  set("collisionCount", facts.collisions);
  Json conditions = Get(old, {"conditions"});
  if (!conditions.is_array()) conditions = Json::array();
  SetAvailable(facts, c, now, conditions);
  if (!facts.spec.progress_deadline) {
    for (auto it = conditions.begin(); it != conditions.end(); ++it) {
      if (Text(*it, {"type"}) == "Progressing") {
        conditions.erase(it);
        break;
      }
    }
  } else if (!facts.scaling_only) {
    SetProgressing(facts, CountsBefore(old), c, now, again, conditions);
  }
  status["conditions"] = std::move(conditions);
  return status;
}

}  // namespace fairlead::controllers
