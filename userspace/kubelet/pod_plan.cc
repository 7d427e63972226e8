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

// Adds what the first unfinished init container needs. False when all are
// through; `failed` when one has failed for good.
bool PlanInit(const PodSpec& spec, const PodView& view, absl::Time now,
              PodPlan* plan, bool* failed) {
  for (const ContainerSpec& container : spec.init_containers) {
    const ContainerView& c = view.Of(container.name);
    if (c.Exited() && c.run->exit_code == 0) continue;
    const bool again = spec.restart_policy != RestartPolicy::kNever;
    const Step step = NextStep(c, again, now);
    *failed = step == Step::kNone;
    Add(step, container, c, plan);
    return true;
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

bool IsRestarted(RestartPolicy policy, const ContainerRun& run) {
  return policy == RestartPolicy::kAlways ||
         (policy == RestartPolicy::kOnFailure && run.exit_code != 0);
}

bool IsInitialized(const PodSpec& spec, const PodView& view) {
  return std::all_of(spec.init_containers.begin(), spec.init_containers.end(),
                     [&](const ContainerSpec& container) {
                       const ContainerView& c = view.Of(container.name);
                       return c.Exited() && c.run->exit_code == 0;
                     });
}

PodPlan PlanPod(const PodSpec& spec, const PodView& view, absl::Time now) {
  PodPlan plan;
  if (!view.rejected_reason.empty() || view.stopping) {
    plan.finished = !view.AnyRunning();
    return plan;
  }
  bool failed = false;
  if (!PlanInit(spec, view, now, &plan, &failed)) {
    plan.finished = true;
    for (const ContainerSpec& container : spec.containers) {
      const ContainerView& c = view.Of(container.name);
      const bool again =
          c.Exited() && IsRestarted(spec.restart_policy, *c.run);
      const Step step = NextStep(c, again, now);
      if (step != Step::kNone) plan.finished = false;
      Add(step, container, c, &plan);
    }
  }
  if (failed) plan.finished = !view.AnyRunning();
  if (!plan.start.empty() && !view.sandbox_ready) {
    plan.start.clear();
    plan.create_sandbox = true;
  }
  return plan;
}

}  // namespace fairlead::kubelet
