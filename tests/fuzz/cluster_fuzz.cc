// SPDX-License-Identifier: Apache-2.0
// Any history of API objects, good and bad: the agent's model and reconciler
// live through it, and the kernel has what a start from scratch would put there.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/history/cluster_history.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const fairlead::history::HistoryReport report =
      fairlead::history::RunClusterHistory({bytes, size});
  if (report.failure.empty()) return 0;
  std::fprintf(stderr, "%s\n", report.failure.c_str());
  std::abort();
}
