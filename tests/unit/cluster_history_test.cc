// SPDX-License-Identifier: Apache-2.0
// Histories of drawn API objects with fixed seeds: what cluster_fuzz runs, in
// every build.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <vector>

#include "tests/history/cluster_history.h"

namespace fairlead::history {
namespace {

constexpr size_t kBytes = 2500;

// More histories: FAIRLEAD_SEEDS=10000 cluster_history_test
uint32_t Seeds() {
  const char* text = std::getenv("FAIRLEAD_SEEDS");
  return text == nullptr ? 120 : static_cast<uint32_t>(std::atoi(text));
}

std::vector<uint8_t> Draw(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(kBytes);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

TEST(ClusterHistory, IsAlwaysAsFromScratch) {
  std::map<std::string, int> seen;
  for (uint32_t seed = 0; seed < Seeds(); ++seed) {
    const HistoryReport report = RunClusterHistory(Draw(seed));
    ASSERT_EQ(report.failure, "") << "seed " << seed;
    for (const auto& [what, count] : report.seen) seen[what] += count;
  }
  // Or it proves little.
  for (const char* wanted : {"taken", "refused", "nameless", "deleted",
                             "restart", "left over"}) {
    EXPECT_GT(seen[wanted], 10) << wanted;
    std::printf("%s %d\n", wanted, seen[wanted]);
  }
}

}  // namespace
}  // namespace fairlead::history
