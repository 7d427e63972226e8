// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/pod_cgroups.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <string_view>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/runtime/cgroup.h"
#include "userspace/kubelet/runtime/files.h"

namespace fairlead::kubelet {
namespace {

constexpr std::array<std::string_view, 3> kControllers = {"cpu", "memory",
                                                          "pids"};
constexpr int64_t kPeriod = 100'000, kLeastQuota = 1000;  // microseconds
constexpr int64_t kLeastShares = 2, kMostShares = 262'144;

// cpu.shares of cgroup v1, which v2's weights are made from.
int64_t Shares(int64_t milli) {
  return std::clamp(milli * 1024 / 1000, kLeastShares, kMostShares);
}

int64_t Weight(int64_t milli) {
  return 1 + (Shares(milli) - kLeastShares) * 9999 /
                 (kMostShares - kLeastShares);
}

int64_t Quota(int64_t milli) {
  return std::max(milli * kPeriod / 1000, kLeastQuota);
}

std::set<std::string> Words(const std::string& path) {
  std::istringstream text(ReadFile(path).value_or(""));
  std::set<std::string> words;
  for (std::string word; text >> word;) words.insert(word);
  return words;
}

}  // namespace

PodCgroups::PodCgroups(std::string root, std::string mount,
                       std::map<std::string, std::string> v1)
    : root_(std::move(root)) {
  // Elsewhere the same name in another hierarchy would mean nothing.
  if (!root_.starts_with(mount + "/")) return;
  below_mount_ = root_.substr(mount.size());
  for (const auto& [controller, point] : v1) {
    const bool known = std::find(kControllers.begin(), kControllers.end(),
                                 controller) != kControllers.end();
    if (known && access(point.c_str(), W_OK) == 0) v1_[controller] = point;
  }
}

absl::Status PodCgroups::Prepare() {
  FL_RETURN_IF_ERROR(MakeCgroup(root_ + "/pods"));
  for (const std::string& controller : Words(root_ + "/cgroup.controllers")) {
    if (std::find(kControllers.begin(), kControllers.end(), controller) ==
        kControllers.end()) {
      continue;
    }
    // Refused while processes are in ROOT itself: then it isn't offered.
    const std::string on = "+" + controller;
    if (WriteInto(root_ + "/cgroup.subtree_control", on).ok() &&
        WriteInto(root_ + "/pods/cgroup.subtree_control", on).ok()) {
      v2_.insert(controller);
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> PodCgroups::Missing() const {
  std::vector<std::string> missing;
  for (const std::string_view name : kControllers) {
    const std::string controller(name);
    if (!InV2(controller) && !InV1(controller)) missing.push_back(controller);
  }
  return missing;
}

std::string PodCgroups::PodsIn(const std::string& controller) const {
  return InV1(controller) ? StrCat(v1_.at(controller), below_mount_, "/pods")
                          : root_ + "/pods";
}

std::string PodCgroups::Pod(const std::string& uid) const {
  return StrCat(root_, "/pods/", uid);
}

std::string PodCgroups::MemoryOf(const std::string& uid) const {
  return StrCat(PodsIn("memory"), "/", uid);
}

void PodCgroups::PlanCpu(const std::string& uid, const PodLimits& pod,
                         const std::string& container,
                         const ContainerLimits& limits,
                         CgroupPlan* plan) const {
  const std::string of_pod = StrCat(PodsIn("cpu"), "/", uid),
                    own = StrCat(of_pod, "/", container);
  const auto set = [plan](const std::string& path, int64_t value) {
    plan->settings.emplace_back(path, StrCat(value));
  };
  if (InV2("cpu")) {
    set(of_pod + "/cpu.weight", Weight(pod.cpu_request_milli));
    set(own + "/cpu.weight", Weight(limits.cpu_request_milli));
    if (limits.cpu_limit_milli > 0) {
      plan->settings.emplace_back(
          own + "/cpu.max",
          StrCat(Quota(limits.cpu_limit_milli), " ", kPeriod));
    }
  } else if (InV1("cpu") && limits.cpu_limit_milli > 0) {
    plan->joined.push_back(own);
    plan->fresh.push_back(own);
    // Weights are left alone: those without a limit are in no group, where
    // each of their threads weighs as much as a group.
    set(own + "/cpu.cfs_period_us", kPeriod);
    set(own + "/cpu.cfs_quota_us", Quota(limits.cpu_limit_milli));
  }
}

CgroupPlan PodCgroups::Plan(const std::string& uid, const PodLimits& pod,
                            const std::string& container,
                            const ContainerLimits& limits) const {
  CgroupPlan plan;
  const std::string of_pod = Pod(uid);
  plan.cgroup = StrCat(of_pod, "/", container);
  plan.memory = plan.cgroup;
  plan.joined = plan.fresh = {plan.cgroup};
  for (const std::string& controller : v2_) {
    plan.settings.emplace_back(of_pod + "/cgroup.subtree_control",
                               "+" + controller);
  }
  PlanCpu(uid, pod, container, limits, &plan);
  if (limits.memory_limit > 0 && InV2("memory")) {
    plan.settings.emplace_back(plan.cgroup + "/memory.max",
                               StrCat(limits.memory_limit));
    // As Kubernetes has it: a container ends as a whole.
    plan.settings.emplace_back(plan.cgroup + "/memory.oom.group", "1");
  } else if (limits.memory_limit > 0 && InV1("memory")) {
    plan.memory = StrCat(MemoryOf(uid), "/", container);
    plan.joined.push_back(plan.memory);
    plan.fresh.push_back(plan.memory);
    plan.settings.emplace_back(plan.memory + "/memory.limit_in_bytes",
                               StrCat(limits.memory_limit));
  }
  if (pod.pids > 0 && (InV2("pids") || InV1("pids"))) {
    const std::string counted = StrCat(PodsIn("pids"), "/", uid);
    if (InV1("pids")) plan.joined.push_back(counted);
    plan.settings.emplace_back(counted + "/pids.max", StrCat(pod.pids));
  }
  return plan;
}

std::set<std::string> PodCgroups::List() const {
  std::set<std::string> uids;
  for (const std::string_view controller : kControllers) {
    for (std::string& uid : ListCgroups(PodsIn(std::string(controller))))
      uids.insert(std::move(uid));
  }
  for (std::string& uid : ListCgroups(root_ + "/pods"))
    uids.insert(std::move(uid));
  return uids;
}

absl::Status PodCgroups::Remove(const std::string& uid) const {
  const std::string cgroup = Pod(uid);
  absl::Status status = KillCgroup(cgroup);
  status.Update(RemoveCgroup(cgroup));
  for (const auto& [controller, mount] : v1_) {
    const std::string pods = StrCat(mount, below_mount_, "/pods");
    status.Update(RemoveCgroup(StrCat(pods, "/", uid)));
    // What was made for the first pod goes with the last.
    for (std::string empty = pods; empty.size() > mount.size();
         empty.resize(empty.rfind('/'))) {
      if (rmdir(empty.c_str()) != 0) break;
    }
  }
  return status;
}

}  // namespace fairlead::kubelet
