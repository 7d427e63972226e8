// SPDX-License-Identifier: Apache-2.0
// Which verdicts did the rows reach? Listed last in the build, so that its
// suite is the last one registered.
#include <map>
#include <vector>

#include "tests/prog/tc_rows.h"

namespace fairlead::prog {
namespace {

struct Verdicts {
  std::string hook;
  std::vector<std::string> both, tcp, udp;
};

// DROP_MAP_FULL and DROP_REWRITE are missing: they are the kernel's refusal of
// an allocation, which can't be brought about from outside.
const std::vector<Verdicts>& Reachable() {
  static auto* verdicts = new std::vector<Verdicts>{
      {"ingress",
       {"NOT_OURS", "FORWARD_NEW", "FORWARD_HIT", "REPLY_HIT",
        "ICMP_TRANSLATED", "DROP_POLICY", "DROP_SOURCE_RANGE", "REJECT_NO_PORT",
        "DROP_TUPLE_CLASH", "DROP_MALFORMED", "DROP_FRAGMENT",
        "DROP_NO_SERVICE", "REJECT_NO_SERVICE"},
       {"REJECT_RST", "REJECT_NO_FLOW", "DROP_NO_FLOW"},
       {"REJECT_UNREACHABLE"}},
      {"egress",
       {"NOT_OURS", "REPLY_HIT", "SOURCE_TRANSLATED", "ICMP_TRANSLATED",
        "DROP_NO_FLOW", "DROP_MALFORMED", "DROP_FRAGMENT", "DROP_POLICY",
        "DROP_SOURCE_RANGE", "DROP_NO_SERVICE", "REJECT_NO_SERVICE"},
       {"REJECT_RST"},
       {"REJECT_UNREACHABLE"}}};
  return *verdicts;
}

class TcCoverage : public testing::TestWithParam<int> {};

TEST_P(TcCoverage, EveryVerdictOfEveryHookFamilyAndProtocol) {
  if (testing::GTEST_FLAG(filter) != "*") GTEST_SKIP() << "not all rows ran";
  std::set<Cell> wanted;
  for (const Verdicts& verdicts : Reachable()) {
    for (const char* family : {"v4", "v6"}) {
      auto want = [&](const char* protocol,
                      const std::vector<std::string>& counters) {
        for (const std::string& counter : counters) {
          wanted.insert({verdicts.hook, family, protocol, counter});
        }
      };
      want("tcp", verdicts.both);
      want("udp", verdicts.both);
      want("tcp", verdicts.tcp);
      want("udp", verdicts.udp);
    }
  }
  auto text = [](const Cell& cell) {
    return std::get<0>(cell) + " " + std::get<1>(cell) + " " +
           std::get<2>(cell) + " " + std::get<3>(cell);
  };
  for (const Cell& cell : wanted) {
    EXPECT_TRUE(SeenCells().contains(cell)) << "no row reaches " << text(cell);
  }
  for (const Cell& cell : SeenCells()) {
    EXPECT_TRUE(wanted.contains(cell)) << "unexpected: " << text(cell);
  }
}

INSTANTIATE_TEST_SUITE_P(Last, TcCoverage, testing::Values(0));

}  // namespace
}  // namespace fairlead::prog
