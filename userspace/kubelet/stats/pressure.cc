// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/stats/pressure.h"

#include <sys/statvfs.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <tuple>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "userspace/base/strings.h"
#include "userspace/kube/quantity.h"
#include "userspace/kubelet/runtime/files.h"
#include "userspace/kubelet/stats/usage.h"

namespace fairlead::kubelet {
namespace {

constexpr std::array<std::string_view, 3> kSignals = {
    "memory.available", "nodefs.available", "pid.available"};

}  // namespace

absl::StatusOr<std::vector<Threshold>> ParseThresholds(
    const std::string& text) {
  std::vector<Threshold> thresholds;
  for (const auto& part : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    const std::string word(part);
    const size_t less = word.find('<');
    Threshold t{.signal = word.substr(0, less), .text = "", .part = {}};
    if (less != std::string::npos) t.text = word.substr(less + 1);
    bool good = std::find(kSignals.begin(), kSignals.end(), t.signal) !=
                kSignals.end();
    if (t.text.ends_with('%')) {
      double percent = 0;
      good = good &&
             absl::SimpleAtod(t.text.substr(0, t.text.size() - 1), &percent) &&
             percent >= 0 && percent <= 100;
      t.part = percent / 100;
    } else {
      const auto amount = kube::Quantity::Parse(t.text);
      good = good && amount.ok() && amount->sign() >= 0;
      if (good) t.amount = amount->value();
    }
    if (!good) {
      return absl::InvalidArgumentError(
          StrCat("\"", word, "\" is no threshold: memory.available, "
                 "nodefs.available or pid.available, \"<\", an amount or a "
                 "percentage"));
    }
    thresholds.push_back(std::move(t));
  }
  return thresholds;
}

Signals ReadSignals(const std::string& root_dir) {
  Signals signals;
  if (const auto usage = ReadMachineUsage(); usage.ok()) {
    signals["memory.available"] = {usage->available,
                                   usage->available + usage->working_set};
  }
  struct statvfs disk {};
  if (statvfs(root_dir.c_str(), &disk) == 0) {
    const auto block = static_cast<int64_t>(disk.f_frsize);
    signals["nodefs.available"] = {
        static_cast<int64_t>(disk.f_bavail) * block,
        static_cast<int64_t>(disk.f_blocks) * block};
  }
  struct sysinfo machine {};
  int64_t most = 0;
  if (sysinfo(&machine) == 0 &&
      absl::SimpleAtoi(ReadFile("/proc/sys/kernel/pid_max").value_or(""),
                       &most)) {
    signals["pid.available"] = {most - machine.procs, most};
  }
  return signals;
}

void Pressure::Update(const Signals& signals, absl::Time now) {
  now_ = now;
  for (const Threshold& t : thresholds_) {
    const auto it = signals.find(t.signal);
    if (it == signals.end()) continue;
    const double limit =
        t.part ? *t.part * static_cast<double>(it->second.capacity)
               : static_cast<double>(t.amount);
    if (static_cast<double>(it->second.available) < limit)
      last_[t.signal] = now;
  }
}

bool Pressure::Has(const std::string& signal) const {
  const auto it = last_.find(signal);
  return it != last_.end() && now_ - it->second < transition_;
}

const Threshold* Pressure::Unmet(const std::string& signal) const {
  const auto it = last_.find(signal);
  if (it == last_.end() || it->second != now_) return nullptr;
  for (const Threshold& t : thresholds_) {
    if (t.signal == signal) return &t;
  }
  return nullptr;
}

const EvictionCandidate* ChooseVictim(
    const std::vector<EvictionCandidate>& candidates) {
  const EvictionCandidate* victim = nullptr;
  const auto rank = [](const EvictionCandidate& c) {
    return std::tuple(c.usage <= c.request, c.priority, c.request - c.usage);
  };
  for (const EvictionCandidate& c : candidates) {
    if (c.priority >= kCriticalPriority) continue;
    if (victim == nullptr || rank(c) < rank(*victim)) victim = &c;
  }
  return victim;
}

}  // namespace fairlead::kubelet
