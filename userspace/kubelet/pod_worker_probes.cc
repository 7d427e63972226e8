// SPDX-License-Identifier: Apache-2.0
// The part of PodWorker that probes containers, runs their hooks and stops
// them.
#include <signal.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "userspace/base/clock.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"
#include "userspace/kubelet/pod_worker.h"

namespace fairlead::kubelet {
namespace {

// A server needs a moment to listen: a first probe at once would fail and so
// cost a whole period.
constexpr absl::Duration kFirstProbe = absl::Milliseconds(100);
// Kubernetes' minimumGracePeriodInSeconds: between SIGTERM and SIGKILL there
// is as much, whatever a hook has used up.
constexpr absl::Duration kShortestGrace = absl::Seconds(2);
constexpr absl::Duration kKillAgain = absl::Seconds(2);

}  // namespace

ActionTarget PodWorker::TargetOf(const std::string& container) const {
  ActionTarget target;
  if (!view_.ips.empty()) target.host = view_.ips.front().ToString();
  target.enter = EnterCommand(container, false);
  return target;
}

// `which`: "PostStart" or "PreStop". The failure's text may hold what the
// server said: it is logged and not told to the API, as in Kubernetes.
std::unique_ptr<ActionCall> PodWorker::RunHook(const ContainerSpec& container,
                                               const Action& action,
                                               const std::string& which,
                                               absl::Duration limit) {
  return RunAction(
      node_.loop, action, TargetOf(container.name), limit,
      [this, name = container.name, which](const ActionResult& result) {
        Container& c = containers_[name];
        const bool before = which == "PostStart";
        // Not destroyed here: this is its own callback.
        node_.loop->Post([call = std::shared_ptr<ActionCall>(std::move(
                              before ? c.post_start : c.pre_stop))] {});
        if (!result.success) OnHookFailed(name, which, result.message);
        if (!result.success && before) {
          StopContainer(name, Clock::Real().Now() + spec_.grace,
                        "FailedPostStartHook");
        }
        ScheduleSync();
      });
}

void PodWorker::OnHookFailed(const std::string& container,
                             const std::string& which,
                             const std::string& why) {
  spdlog::warn("hook failed pod={}/{} container={} hook={} error=\"{}\"",
               spec_.ns, spec_.name, container, which, why);
  Event(kube::EventType::kWarning, StrCat("Failed", which, "Hook"),
        StrCat(which, "Hook failed"), container);
}

void PodWorker::StopContainer(const std::string& name, absl::Time stop_by,
                              std::string_view why) {
  Container& c = containers_[name];
  c.stop_by = std::min(c.stop_by, stop_by);
  if (c.stopping) return;
  c.stopping = true;
  Event(kube::EventType::kNormal, "Killing", why, name);
  const ContainerSpec* container = spec_.Find(name);
  const absl::Duration left = c.stop_by - Clock::Real().Now();
  if (container != nullptr && container->pre_stop && c.process &&
      c.process->run().pid != 0 && left > absl::ZeroDuration()) {
    c.pre_stop = RunHook(*container, *container->pre_stop, "PreStop", left);
  }
}

// SIGTERM once the hook is through or its time is over, SIGKILL when the grace
// is. Returns when there is something to do next.
absl::Time PodWorker::AdvanceStop(const std::string& name, absl::Time now) {
  Container& c = containers_[name];
  if (c.process == nullptr || c.process->exited()) return absl::InfiniteFuture();
  if (c.pre_stop != nullptr) {
    if (now < c.stop_by) return c.stop_by;
    c.pre_stop.reset();
    OnHookFailed(name, "PreStop", "the grace period is over");
  }
  absl::Status status;
  const bool running = c.process->run().state == ContainerRun::State::kRunning;
  if (running && c.term_at == absl::InfiniteFuture()) {
    c.term_at = now;
    status = c.process->Signal(SIGTERM);
  }
  absl::Time kill_at =
      running ? std::max(c.stop_by, c.term_at + kShortestGrace) : c.stop_by;
  if (c.killed_at != absl::InfiniteFuture())
    kill_at = c.killed_at + kKillAgain;
  if (now >= kill_at) {
    c.killed_at = now;
    kill_at = now + kKillAgain;
    status.Update(c.process->Kill());
  }
  if (!status.ok()) {
    spdlog::warn("container not stopped pod={}/{} container={} error=\"{}\"",
                 spec_.ns, spec_.name, name, status.ToString());
  }
  return kill_at;
}

std::unique_ptr<Prober> PodWorker::MakeProber(const ContainerSpec& container,
                                              const Probe& probe,
                                              std::string_view purpose,
                                              bool initial) {
  const ContainerRun& run = *view_.Of(container.name).run;
  const absl::Duration age = Clock::Real().Now() - run.started;
  return std::make_unique<Prober>(
      node_.loop, probe, TargetOf(container.name), initial,
      std::max(probe.initial_delay - age, kFirstProbe),
      [this, name = container.name,
       purpose = std::string(purpose)](const Prober::Result& result) {
        OnProbe(name, purpose, result);
      });
}

void PodWorker::SyncProbes(const ContainerSpec& container, Container* c,
                           ContainerView* view) {
  if (view->run->state != ContainerRun::State::kRunning ||
      c->post_start != nullptr) {
    c->readiness.reset();
    c->liveness.reset();
    c->startup.reset();
    view->ready = view->started = false;
    return;
  }
  if (!view->started && container.startup && c->startup == nullptr) {
    c->startup = MakeProber(container, *container.startup, "Startup",
                            WasReady(container.name, view->run->id));
  }
  view->started = view->started || c->startup == nullptr ||
                  c->startup->verdict();
  if (!view->started) return;
  c->startup.reset();
  if (container.readiness && c->readiness == nullptr) {
    c->readiness = MakeProber(container, *container.readiness, "Readiness",
                              WasReady(container.name, view->run->id));
  }
  if (StopWanted() || c->stopping) {
    c->liveness.reset();
  } else if (container.liveness && c->liveness == nullptr) {
    c->liveness = MakeProber(container, *container.liveness, "Liveness", true);
  }
  view->ready = c->readiness == nullptr || c->readiness->verdict();
}

// What the API last heard of this very run, from this kubelet's predecessor: a
// restart of the kubelet makes no pod unready.
bool PodWorker::WasReady(const std::string& container,
                         const std::string& id) const {
  for (const Json& status : At(*pod_, {"status", "containerStatuses"})) {
    if (StringAt(status, {"name"}) == container &&
        StringAt(status, {"containerID"}) == StrCat("process://", id)) {
      return BoolAt(status, {"ready"});
    }
  }
  return false;
}

void PodWorker::OnProbe(const std::string& container, std::string_view purpose,
                        const Prober::Result& result) {
  if (!result.success) {
    Event(kube::EventType::kWarning, "Unhealthy",
          StrCat(purpose, " probe failed: ", result.message), container);
  }
  if (result.changed) ScheduleSync();
  if (result.success || purpose == "Readiness") return;
  const ContainerSpec& spec = *spec_.Find(container);
  const Probe& probe = purpose == "Liveness" ? *spec.liveness : *spec.startup;
  if (result.run < probe.failure_threshold || StopWanted()) return;
  StopContainer(container,
                Clock::Real().Now() + probe.grace.value_or(spec_.grace),
                StrCat("Container ", container, " failed ",
                       purpose == "Liveness" ? "liveness" : "startup",
                       " probe, will be restarted"));
  ScheduleSync();
}

}  // namespace fairlead::kubelet
