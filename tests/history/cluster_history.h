// SPDX-License-Identifier: Apache-2.0
// A history of API objects, good and bad, as an agent's model and reconciler
// live through it: put, deleted, listed anew, with restarts and time between.
// What must hold after each step is checked (cluster_history.cc, at Check).
//
// Pure: all that happens is drawn from the bytes. No thread, no clock.
#ifndef FAIRLEAD_TESTS_HISTORY_CLUSTER_HISTORY_H_
#define FAIRLEAD_TESTS_HISTORY_CLUSTER_HISTORY_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/types/span.h"

namespace fairlead::history {

struct HistoryReport {
  // "" if everything held; else what didn't, and what led to it.
  std::string failure;
  // What has happened, how often: "taken", "refused", "nameless", "deleted",
  // "restart", "left over".
  std::map<std::string, int> seen;
};

HistoryReport RunClusterHistory(absl::Span<const uint8_t> bytes);

}  // namespace fairlead::history

#endif  // FAIRLEAD_TESTS_HISTORY_CLUSTER_HISTORY_H_
