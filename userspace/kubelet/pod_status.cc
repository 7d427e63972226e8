// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/pod_status.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"

namespace fairlead::kubelet {
namespace {

Json Terminated(const ContainerRun& run) {
  Json t = {{"exitCode", run.exit_code},
            {"reason", run.exit_code == 0 ? "Completed" : "Error"},
            {"startedAt", KubeTime(run.started)},
            {"finishedAt", KubeTime(run.finished)},
            {"containerID", ContainerId(run)}};
  if (run.signal != 0) t["signal"] = run.signal;
  if (run.oom_killed) t["reason"] = "OOMKilled";
  if (!run.message.empty()) t["message"] = run.message;
  if (!run.start_error.empty()) {
    t["reason"] = "StartError";
    t["message"] =
        StrCat("failed to start container process: ", run.start_error);
  }
  return {{"terminated", t}};
}

Json Waiting(const std::string& reason, const std::string& message) {
  Json w = {{"reason", reason}};
  if (!message.empty()) w["message"] = message;
  return {{"waiting", w}};
}

struct States {
  Json state = Json::object(), last = Json::object();
};

States StatesOf(const PodSpec& spec, const ContainerSpec& container,
                const PodView& view, bool init, absl::Time now) {
  const ContainerView& c = view.Of(container.name);
  States s;
  if (c.last) s.last = Terminated(*c.last);
  if (c.run && c.run->state == ContainerRun::State::kRunning) {
    s.state = {{"running", {{"startedAt", KubeTime(c.run->started)}}}};
    return s;
  }
  if (c.Exited()) {
    const bool again =
        !view.stopping && IsRestarted(spec.restart_policy, container, *c.run);
    if (again && !c.waiting_reason.empty()) {
      s.state = Waiting(c.waiting_reason, c.waiting_message);
      s.last = Terminated(*c.run);
    } else if (again && now < c.restart_at) {
      s.state = Waiting(
          "CrashLoopBackOff",
          StrCat("back-off ", absl::FormatDuration(c.backoff),
                 " restarting failed container=", container.name,
                 " pod=", spec.LongName()));
      s.last = Terminated(*c.run);
    } else {
      s.state = Terminated(*c.run);
    }
    return s;
  }
  if (!c.waiting_reason.empty()) {
    s.state = Waiting(c.waiting_reason, c.waiting_message);
  } else {
    const bool blocked = !spec.init_containers.empty() &&
                         (init || !IsInitialized(spec, view));
    s.state = Waiting(blocked ? "PodInitializing" : "ContainerCreating", "");
  }
  return s;
}

Json ContainerStatus(const PodSpec& spec, const ContainerSpec& container,
                     const PodView& view, bool init, absl::Time now) {
  const ContainerView& c = view.Of(container.name);
  const States states = StatesOf(spec, container, view, init, now);
  const bool running = states.state.contains("running");
  Json status = {{"name", container.name},
                 {"image", container.image},
                 {"imageID", c.run ? StrCat("process://", container.image)
                                   : std::string()},
                 {"state", states.state},
                 {"lastState", states.last},
                 {"restartCount", c.run ? c.run->attempt : 0},
                 {"ready", container.role == ContainerRole::kInit
                               ? IsInitDone(container, c)
                               : running && c.ready},
                 {"started", running && c.started}};
  if (c.run) status["containerID"] = ContainerId(*c.run);
  return status;
}

// Counts of app containers, as the phase is decided from them.
struct Counts {
  int running = 0, waiting = 0, stopped = 0, succeeded = 0;
};

Counts CountContainers(const PodSpec& spec, const PodView& view) {
  Counts n;
  for (const ContainerSpec& container : spec.containers) {
    const ContainerView& c = view.Of(container.name);
    if (c.run && c.run->state == ContainerRun::State::kRunning) {
      ++n.running;
    } else if (c.Exited()) {
      ++n.stopped;
      if (c.run->exit_code == 0) ++n.succeeded;
    } else if (c.last) {
      ++n.stopped;
    } else {
      ++n.waiting;
    }
  }
  return n;
}

std::string Phase(const PodSpec& spec, const PodView& view) {
  if (!view.rejected_reason.empty()) return "Failed";
  const Counts n = CountContainers(spec, view);
  const int total = static_cast<int>(spec.containers.size());
  if (!view.ended_reason.empty())
    return view.AnyRunning() ? "Running" : "Failed";
  if (view.stopping && n.running == 0 && n.waiting < total)
    return n.succeeded == total ? "Succeeded" : "Failed";
  if (!IsInitialized(spec, view)) {
    for (const ContainerSpec& init : spec.init_containers) {
      const ContainerView& c = view.Of(init.name);
      if (c.Exited() && c.run->exit_code != 0 &&
          !IsRestarted(spec.restart_policy, init, *c.run)) {
        return "Failed";
      }
    }
    return "Pending";
  }
  if (n.waiting > 0) return "Pending";
  // A sidecar may still be on its way out.
  if (view.AnyRunning() || spec.restart_policy == RestartPolicy::kAlways)
    return "Running";
  if (n.succeeded == n.stopped) return "Succeeded";
  return spec.restart_policy == RestartPolicy::kNever ? "Failed" : "Running";
}

struct Condition {
  std::string type;
  bool value = false;
  std::string reason, message;
};

std::string Names(const std::vector<std::string>& names) {
  return StrCat("[", absl::StrJoin(names, " "), "]");
}

bool GateOpen(const std::string& gate, const Json& current) {
  for (const Json& c : At(current, {"conditions"})) {
    if (StringAt(c, {"type"}) == gate)
      return StringAt(c, {"status"}) == "True";
  }
  return false;
}

Condition ContainersReady(const PodSpec& spec, const PodView& view,
                          const std::string& phase) {
  Condition c{.type = "ContainersReady"};
  if (phase == "Succeeded" || phase == "Failed") {
    c.reason = phase == "Succeeded" ? "PodCompleted" : "PodFailed";
    return c;
  }
  std::vector<std::string> unready;
  for (const auto* list : {&spec.init_containers, &spec.containers}) {
    for (const ContainerSpec& container : *list) {
      if (container.role == ContainerRole::kInit) continue;
      const ContainerView& v = view.Of(container.name);
      const bool running =
          v.run && v.run->state == ContainerRun::State::kRunning;
      if (!running || !v.ready) unready.push_back(container.name);
    }
  }
  c.value = unready.empty();
  if (!c.value) {
    c.reason = "ContainersNotReady";
    c.message = StrCat("containers with unready status: ", Names(unready));
  }
  return c;
}

std::vector<Condition> Conditions(const PodSpec& spec, const PodView& view,
                                  const std::string& phase,
                                  const Json& current) {
  Condition initialized{.type = "Initialized", .value = true};
  if (phase != "Succeeded" && !IsInitialized(spec, view)) {
    std::vector<std::string> incomplete;
    for (const ContainerSpec& init : spec.init_containers) {
      if (!IsInitDone(init, view.Of(init.name)))
        incomplete.push_back(init.name);
    }
    initialized.value = false;
    initialized.reason = "ContainersNotInitialized";
    initialized.message =
        StrCat("containers with incomplete status: ", Names(incomplete));
  }
  const Condition containers = ContainersReady(spec, view, phase);
  Condition ready = containers;
  ready.type = "Ready";
  for (const std::string& gate : spec.readiness_gates) {
    if (!ready.value || GateOpen(gate, current)) continue;
    ready.value = false;
    ready.reason = "ReadinessGatesNotReady";
    ready.message = StrCat("corresponding condition of pod readiness gate \"",
                           gate, "\" does not exist or is not True.");
  }
  std::vector<Condition> conditions = {
      {.type = "PodReadyToStartContainers", .value = view.sandbox_ready},
      initialized,
      ready,
      containers,
      {.type = "PodScheduled", .value = true}};
  // A Job may have been told to forgive that.
  if (view.ended_reason == "Evicted") {
    conditions.push_back({.type = "DisruptionTarget",
                          .value = true,
                          .reason = "TerminationByKubelet",
                          .message = view.ended_message});
  }
  return conditions;
}

Json ConditionJson(const Condition& condition, const Json& current,
                   absl::Time now) {
  const std::string status = condition.value ? "True" : "False";
  Json json = {{"type", condition.type},
               {"status", status},
               {"lastProbeTime", nullptr},
               {"lastTransitionTime", KubeTime(now)}};
  if (!condition.reason.empty()) json["reason"] = condition.reason;
  if (!condition.message.empty()) json["message"] = condition.message;
  for (const Json& before : At(current, {"conditions"})) {
    if (StringAt(before, {"type"}) == condition.type &&
        StringAt(before, {"status"}) == status) {
      const std::string since = StringAt(before, {"lastTransitionTime"});
      if (!since.empty()) json["lastTransitionTime"] = since;
    }
  }
  return json;
}

Json Addresses(const std::vector<IpAddress>& addresses) {
  Json list = Json::array();
  for (const IpAddress& a : addresses) list.push_back({{"ip", a.ToString()}});
  return list;
}

}  // namespace

std::string KubeTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

std::string ContainerId(const ContainerRun& run) {
  return StrCat("process://", run.id);
}

Json BuildPodStatus(const PodSpec& spec, const PodView& view,
                    const Json& current, const Json& previous,
                    absl::Time now) {
  Json status = Json::object();
  const std::string phase = Phase(spec, view);
  status["phase"] = phase;
  status["startTime"] = StringAt(current, {"startTime"},
                                 KubeTime(view.start_time));
  if (const std::string qos = StringAt(current, {"qosClass"}); !qos.empty())
    status["qosClass"] = qos;
  if (!view.host_ips.empty()) {
    status["hostIP"] = view.host_ips.front().ToString();
    status["hostIPs"] = Addresses(view.host_ips);
  }
  if (!view.ips.empty()) {
    status["podIP"] = view.ips.front().ToString();
    status["podIPs"] = Addresses(view.ips);
  }
  if (!view.rejected_reason.empty()) {
    status["reason"] = view.rejected_reason;
    status["message"] = view.rejected_message;
    return status;
  }
  if (!view.ended_reason.empty()) {
    status["reason"] = view.ended_reason;
    status["message"] = view.ended_message;
  }
  Json conditions = Json::array();
  for (const Condition& c : Conditions(spec, view, phase, current))
    conditions.push_back(
        ConditionJson(c, previous.is_object() ? previous : current, now));
  status["conditions"] = std::move(conditions);
  Json containers = Json::array();
  for (const ContainerSpec& c : spec.containers)
    containers.push_back(ContainerStatus(spec, c, view, false, now));
  status["containerStatuses"] = std::move(containers);
  if (!spec.init_containers.empty()) {
    Json inits = Json::array();
    for (const ContainerSpec& c : spec.init_containers)
      inits.push_back(ContainerStatus(spec, c, view, true, now));
    status["initContainerStatuses"] = std::move(inits);
  }
  return status;
}

Json StatusPatch(const PodSpec& spec, const Json& current,
                 const Json& status) {
  Json patch = status;
  for (const char* key : {"reason", "message"}) {
    if (current.contains(key) && !status.contains(key)) patch[key] = nullptr;
  }
  if (patch.contains("conditions")) {
    for (Json& condition : patch["conditions"]) {
      for (const Json& before : At(current, {"conditions"})) {
        if (StringAt(before, {"type"}) != StringAt(condition, {"type"}))
          continue;
        for (const char* key : {"reason", "message"}) {
          if (before.contains(key) && !condition.contains(key))
            condition[key] = nullptr;
        }
      }
    }
  }
  // Addresses are merged by ip: those that are gone have to be named.
  for (const char* key : {"podIPs", "hostIPs"}) {
    if (!patch.contains(key)) continue;
    Json& list = patch[key];
    for (const Json& before : At(current, {key})) {
      if (std::find(status[key].begin(), status[key].end(), before) ==
          status[key].end()) {
        Json gone = before;
        gone["$patch"] = "delete";
        list.push_back(std::move(gone));
      }
    }
  }
  return {{"metadata", {{"uid", spec.uid}}}, {"status", std::move(patch)}};
}

}  // namespace fairlead::kubelet
