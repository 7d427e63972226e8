// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/pod_plan.h"

#include <algorithm>

namespace fairlead::kubelet {
namespace {

enum class Step { kNone, kStart, kWait, kRuns };

// One container that should run, or run again if `again`.
Step NextStep(const ContainerView& view, bool again, absl::Time now) {
  if (!view.run) return Step::kStart;
  if (view.Running()) return Step::kRuns;
  if (!again) return Step::kNone;
  return now < view.restart_at ? Step::kWait : Step::kStart;
}

void Add(Step step, const ContainerSpec& container, const ContainerView& view,
         PodPlan* plan) {
  if (step == Step::kWait) plan->wake = std::min(plan->wake, view.restart_at);
  if (step == Step::kStart) plan->start.push_back(container.name);
}

bool HasRun(const PodSpec& spec, const PodView& view) {
  return std::any_of(
      spec.containers.begin(), spec.containers.end(),
      [&](const ContainerSpec& c) { return view.Of(c.name).run.has_value(); });
}

// Adds what the first unfinished init container needs, and what sidecars need.
// False when all are through; `failed` when one has failed for good.
bool PlanInit(const PodSpec& spec, const PodView& view, absl::Time now,
              PodPlan* plan, bool* failed) {
  const bool past = HasRun(spec, view);
  for (const ContainerSpec& container : spec.init_containers) {
    const ContainerView& c = view.Of(container.name);
    const bool sidecar = container.role == ContainerRole::kSidecar;
    if (!sidecar && IsInitDone(container, c)) continue;
    const bool again =
        c.Exited() && IsRestarted(spec.restart_policy, container, *c.run);
    const Step step = NextStep(c, again, now);
    *failed = step == Step::kNone;
    Add(step, container, c, plan);
    if (!past && !IsInitDone(container, c)) return true;
  }
  return false;
}

}  // namespace

const ContainerView& PodView::Of(const std::string& container) const {
  static const ContainerView kNone;
  const auto it = containers.find(container);
  return it == containers.end() ? kNone : it->second;
}

bool PodView::AnyRunning() const {
  return std::any_of(containers.begin(), containers.end(),
                     [](const auto& c) { return c.second.Running(); });
}

bool IsRestarted(RestartPolicy policy, const ContainerSpec& container,
                 const ContainerRun& run) {
  if (container.role == ContainerRole::kSidecar) return true;
  if (policy == RestartPolicy::kNever) return false;
  const bool always = policy == RestartPolicy::kAlways &&
                      container.role == ContainerRole::kApp;
  return always || run.exit_code != 0;
}

std::vector<std::string> NextToStop(const PodSpec& spec, const PodView& view) {
  std::vector<std::string> names;
  for (const auto* list : {&spec.containers, &spec.init_containers}) {
    for (const ContainerSpec& c : *list) {
      if (c.role != ContainerRole::kSidecar && view.Of(c.name).Running())
        names.push_back(c.name);
    }
  }
  for (auto c = spec.init_containers.rbegin();
       names.empty() && c != spec.init_containers.rend(); ++c) {
    if (view.Of(c->name).Running()) names.push_back(c->name);
  }
  return names;
}

bool IsInitDone(const ContainerSpec& container, const ContainerView& view) {
  if (container.role == ContainerRole::kSidecar)
    return view.Running() && view.started;
  return view.Exited() && view.run->exit_code == 0;
}

bool IsInitialized(const PodSpec& spec, const PodView& view) {
  return HasRun(spec, view) ||
         std::all_of(spec.init_containers.begin(), spec.init_containers.end(),
                     [&](const ContainerSpec& container) {
                       return IsInitDone(container, view.Of(container.name));
                     });
}

PodPlan PlanPod(const PodSpec& spec, const PodView& view, absl::Time now) {
  PodPlan plan;
  if (!view.rejected_reason.empty() || view.stopping) {
    plan.finished = !view.AnyRunning();
    return plan;
  }
  bool failed = false, over = false;
  if (!PlanInit(spec, view, now, &plan, &failed)) {
    over = true;
    for (const ContainerSpec& container : spec.containers) {
      const ContainerView& c = view.Of(container.name);
      const bool again =
          c.Exited() && IsRestarted(spec.restart_policy, container, *c.run);
      const Step step = NextStep(c, again, now);
      if (step != Step::kNone) over = false;
      Add(step, container, c, &plan);
    }
  }
  if (failed || over) {
    plan.start.clear();
    plan.stop = NextToStop(spec, view);
    plan.finished = plan.stop.empty();
    return plan;
  }
  if (!plan.start.empty() && !view.sandbox_ready) {
    plan.start.clear();
    plan.create_sandbox = true;
  }
  return plan;
}

}  // namespace fairlead::kubelet
