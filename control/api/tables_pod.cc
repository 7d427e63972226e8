// SPDX-License-Identifier: Apache-2.0
// A pod's row. STATUS is not stored anywhere: it is the most telling of the
// phase, the scheduling gate, the first unfinished init container, and the
// containers' waiting or terminated reasons.
#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "control/api/json_access.h"
#include "control/api/tables.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

struct PodSummary {
  std::string reason;
  int64_t total = 0;
  int64_t ready = 0;
  int64_t restarts = 0;
  absl::Time last_restart = absl::InfinitePast();
};

const Json* ConditionOf(const Json& status, std::string_view type) {
  for (const Json& condition : List(status, "conditions")) {
    if (Text(condition, "type") == type) return &condition;
  }
  return nullptr;
}

bool ConditionIsTrue(const Json& status, std::string_view type) {
  const Json* condition = ConditionOf(status, type);
  return condition != nullptr && Text(*condition, "status") == "True";
}

void CountRestarts(const Json& container, int64_t* restarts,
                   absl::Time* last) {
  *restarts += Int(container, "restartCount");
  absl::Time finished;
  std::string error;
  if (absl::ParseTime(
          absl::RFC3339_full,
          Absl(Text(container, {"lastState", "terminated", "finishedAt"})),
          &finished, &error)) {
    *last = std::max(*last, finished);
  }
}

// "OOMKilled", "Signal:9", "ExitCode:1"
std::string TerminatedText(const Json& terminated) {
  if (!Text(terminated, "reason").empty()) {
    return std::string(Text(terminated, "reason"));
  }
  if (Int(terminated, "signal") != 0) {
    return StrCat("Signal:", Int(terminated, "signal"));
  }
  return StrCat("ExitCode:", Int(terminated, "exitCode"));
}

// True while an init container holds the pod up, with its state in `reason`.
bool SummarizeInit(const Json& pod, PodSummary* out, PodSummary* sidecars) {
  absl::flat_hash_set<std::string> restartable;
  const Json& specs = List(pod, {"spec", "initContainers"});
  for (const Json& container : specs) {
    if (Text(container, "restartPolicy") != "Always") continue;
    restartable.emplace(Text(container, "name"));
    ++out->total;
  }
  const Json& statuses = List(pod, {"status", "initContainerStatuses"});
  for (size_t i = 0; i < statuses.size(); ++i) {
    const Json& container = statuses[i];
    CountRestarts(container, &out->restarts, &out->last_restart);
    bool sidecar = restartable.contains(Absl(Text(container, "name")));
    if (sidecar) {
      CountRestarts(container, &sidecars->restarts, &sidecars->last_restart);
    }
    const Json& terminated = Get(container, {"state", "terminated"});
    std::string_view waiting = Text(container, {"state", "waiting", "reason"});
    if (terminated.is_object() && Int(terminated, "exitCode") == 0) continue;
    if (sidecar && IsTrue(container, "started")) {
      if (IsTrue(container, "ready")) ++out->ready;
      continue;
    }
    if (terminated.is_object()) {
      out->reason = StrCat("Init:", TerminatedText(terminated));
    } else if (!waiting.empty() && waiting != "PodInitializing") {
      out->reason = StrCat("Init:", waiting);
    } else {
      out->reason = StrCat("Init:", i, "/", specs.size());
    }
    return true;
  }
  return false;
}

void SummarizeContainers(const Json& status, PodSummary* out) {
  bool running = false;
  const Json& statuses = List(status, "containerStatuses");
  for (auto it = statuses.rbegin(); it != statuses.rend(); ++it) {
    CountRestarts(*it, &out->restarts, &out->last_restart);
    const Json& state = Get(*it, "state");
    std::string_view waiting = Text(state, {"waiting", "reason"});
    if (!waiting.empty()) {
      out->reason = std::string(waiting);
    } else if (Get(state, "terminated").is_object()) {
      out->reason = TerminatedText(Get(state, "terminated"));
    } else if (IsTrue(*it, "ready") && Get(state, "running").is_object()) {
      running = true;
      ++out->ready;
    }
  }
  if (out->reason == "Completed" && running) {
    out->reason = ConditionIsTrue(status, "Ready") ? "Running" : "NotReady";
  }
}

PodSummary Summarize(const Json& pod) {
  const Json& status = Get(pod, "status");
  std::string_view phase = Text(status, "phase");
  PodSummary out;
  out.total = static_cast<int64_t>(List(pod, {"spec", "containers"}).size());
  out.reason = std::string(phase);
  if (!Text(status, "reason").empty()) {
    out.reason = std::string(Text(status, "reason"));
  }
  const Json* scheduled = ConditionOf(status, "PodScheduled");
  if (scheduled != nullptr && Text(*scheduled, "reason") == "SchedulingGated") {
    out.reason = "SchedulingGated";
  }

  PodSummary sidecars;
  bool initializing = SummarizeInit(pod, &out, &sidecars);
  if (!initializing || ConditionIsTrue(status, "Initialized")) {
    // Restarts of init containers that are done are old news.
    out.restarts = sidecars.restarts;
    out.last_restart = sidecars.last_restart;
    SummarizeContainers(status, &out);
  }

  if (!Text(pod, {"metadata", "deletionTimestamp"}).empty()) {
    if (Text(status, "reason") == "NodeLost") {
      out.reason = "Unknown";
    } else if (phase != "Succeeded" && phase != "Failed") {
      out.reason = "Terminating";
    }
  }
  return out;
}

std::string OrNone(std::string_view text) {
  return text.empty() ? "<none>" : std::string(text);
}

std::string ReadinessGates(const Json& pod) {
  const Json& gates = List(pod, {"spec", "readinessGates"});
  if (gates.empty()) return "<none>";
  int64_t passed = 0;
  for (const Json& gate : gates) {
    if (ConditionIsTrue(Get(pod, "status"), Text(gate, "conditionType"))) {
      ++passed;
    }
  }
  return StrCat(passed, "/", gates.size());
}

std::vector<Json> PodCells(const Json& pod, absl::Time now) {
  PodSummary summary = Summarize(pod);
  std::string restarts = StrCat(summary.restarts);
  if (summary.restarts != 0 && summary.last_restart != absl::InfinitePast()) {
    StrAppend(&restarts, " (", HumanDuration(now - summary.last_restart),
              " ago)");
  }
  const Json& ips = List(pod, {"status", "podIPs"});
  return {Text(pod, {"metadata", "name"}),
          StrCat(summary.ready, "/", summary.total),
          summary.reason,
          restarts,
          Since(Get(pod, {"metadata", "creationTimestamp"}), now),
          OrNone(ips.empty() ? std::string_view() : Text(ips[0], "ip")),
          OrNone(Text(pod, {"spec", "nodeName"})),
          OrNone(Text(pod, {"status", "nominatedNodeName"})),
          ReadinessGates(pod)};
}

}  // namespace

Printer PodPrinter() {
  return {{{"Name", "string", "name"},
           {"Ready", "string"},
           {"Status", "string"},
           {"Restarts", "string"},
           {"Age", "string"},
           {"IP", "string", "", 1},
           {"Node", "string", "", 1},
           {"Nominated Node", "string", "", 1},
           {"Readiness Gates", "string", "", 1}},
          PodCells};
}

}  // namespace fairlead::api
