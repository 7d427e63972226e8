// SPDX-License-Identifier: Apache-2.0
// When a node has too little of something (--eviction-hard), and which pod has
// to go then. Pure but for ReadSignals.
#ifndef FAIRLEAD_USERSPACE_KUBELET_STATS_PRESSURE_H_
#define FAIRLEAD_USERSPACE_KUBELET_STATS_PRESSURE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace fairlead::kubelet {

// A signal below its threshold is pressure. Signals: "memory.available",
// "nodefs.available" (bytes) and "pid.available".
struct Threshold {
  std::string signal, text;  // `text`: the amount as it was written
  int64_t amount = 0;
  std::optional<double> part;  // of the capacity, instead of an amount
};
// "memory.available<100Mi,nodefs.available<5%". kInvalidArgument says which
// part is wrong.
[[nodiscard]] absl::StatusOr<std::vector<Threshold>> ParseThresholds(
    const std::string& text);

struct Signal {
  int64_t available = 0, capacity = 0;
};
using Signals = std::map<std::string, Signal>;
// Those that can be read; nodefs is the file system of `root_dir`.
Signals ReadSignals(const std::string& root_dir);

// Which signals are below their thresholds, and which were lately.
class Pressure {
 public:
  Pressure(std::vector<Threshold> thresholds, absl::Duration transition)
      : thresholds_(std::move(thresholds)), transition_(transition) {}

  void Update(const Signals& signals, absl::Time now);
  // For a node's conditions: it stays for the transition period.
  bool Has(const std::string& signal) const;
  // For evictions: the threshold that is not held just now.
  const Threshold* Unmet(const std::string& signal) const;

 private:
  std::vector<Threshold> thresholds_;
  absl::Duration transition_;
  absl::Time now_;
  std::map<std::string, absl::Time> last_;  // when it was unmet
};

// A pod of this priority or above stays, and comes in, whatever is short.
inline constexpr int64_t kCriticalPriority = 2'000'000'000;

struct EvictionCandidate {
  std::string uid;
  int64_t priority = 0;
  int64_t request = 0, usage = 0;  // bytes of memory
};
// Kubernetes' order: who uses more than it asked for, then the lower priority,
// then by how much more. Null: nobody may go (critical pods stay).
const EvictionCandidate* ChooseVictim(
    const std::vector<EvictionCandidate>& candidates);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_STATS_PRESSURE_H_
