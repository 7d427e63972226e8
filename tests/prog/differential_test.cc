// SPDX-License-Identifier: Apache-2.0
// The differential fuzzer in the suite: a short run, and canaries, which are
// references with one rule wrong that must be caught at once.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "absl/time/clock.h"
#include "tests/prog/differential.h"

namespace fairlead::differential {
namespace {

// What the suite can spare; scripts/differential runs for longer.
constexpr absl::Duration kSearch = absl::Seconds(35);
constexpr absl::Duration kShortSearch = absl::Seconds(7);
constexpr absl::Duration kCanary = absl::Seconds(60);  // ends when caught

constexpr const char* kRare[] = {
    "ext 0", "ext 43", "ext 60", "error 4/3", "error 4/11", "error 4/12",
    "error 6/1", "error 6/2", "error 6/3", "error 6/4", "short quote",
    "cut quote", "stray error", "unhealthy", "from a service port",
    "from a NodePort", "from a source port", "another masquerade address",
    "no IPv6 address", "socket pass", "socket translate", "socket refuse",
    "socket decline", "endpoint at a service port"};

TEST(Differential, ProductAndReferenceAgree) {
  Tally tally;
  auto difference = RunFor(&SharedWorld(), /*seed=*/1, kSearch,
                           reference::Flaw::kNone, &tally);
  ASSERT_TRUE(difference.ok()) << difference.status();
  if (*difference) {
    auto smaller =
        Minimise(&SharedWorld(), **difference, reference::Flaw::kNone);
    ASSERT_TRUE(smaller.ok()) << smaller.status();
    FAIL() << "seed " << smaller->seed << " step " << smaller->step << "\n"
           << smaller->text;
  }
  printf("%llu packets in %llu cluster states agree\n",
         static_cast<unsigned long long>(tally.packets),
         static_cast<unsigned long long>(tally.states));
  // A run that meets little proves little.
  EXPECT_GT(tally.packets, 20'000u);
  EXPECT_GT(tally.states, 1'000u);
  EXPECT_GT(tally.calls, 4'000u);
  for (const char* name : kRare) EXPECT_GT(tally.drawn[name], 0u) << name;
  for (const char* name :
       {"FORWARD_NEW", "FORWARD_HIT", "REPLY_HIT", "SOURCE_TRANSLATED",
        "NOT_OURS", "REJECT_RST", "REJECT_UNREACHABLE", "REJECT_NO_FLOW",
        "DROP_POLICY", "DROP_SOURCE_RANGE", "DROP_NO_FLOW", "REJECT_NO_PORT",
        "DROP_TUPLE_CLASH", "DROP_MALFORMED", "DROP_FRAGMENT",
        "DROP_NO_SERVICE", "REJECT_NO_SERVICE", "ICMP_TRANSLATED"}) {
    EXPECT_GT(tally.counted[name], 0u) << name;
  }
}

struct Configuration {
  const char* name;
  reference::Detection detection;
  bool ranges;  // of pods and Services are known
};

class Configured : public testing::TestWithParam<Configuration> {};

TEST_P(Configured, ProductAndReferenceAgree) {
  reference::Node node = DefaultNode();
  node.detection = GetParam().detection;
  if (!GetParam().ranges) {
    node.pods.clear();
    node.service_cidrs.clear();
  }
  auto world = World::Create(node);
  ASSERT_TRUE(world.ok()) << world.status();
  Tally tally;
  auto difference = RunFor(world->get(), /*seed=*/1, kShortSearch,
                           reference::Flaw::kNone, &tally);
  ASSERT_TRUE(difference.ok()) << difference.status();
  EXPECT_FALSE(difference->has_value())
      << (difference->has_value() ? (*difference)->text : "");
  EXPECT_GT(tally.packets, 1'000u);
}

INSTANTIATE_TEST_SUITE_P(
    Worlds, Configured,
    testing::Values(
        Configuration{"NothingIsKnown", reference::Detection::kByAddress,
                      false},
        Configuration{"PodsByNode", reference::Detection::kByNode, true},
        Configuration{"PodsByDevice", reference::Detection::kByDevice, true}),
    [](const auto& info) { return std::string(info.param.name); });

class Canary : public testing::TestWithParam<reference::Flaw> {};

TEST_P(Canary, IsCaught) {
  Tally tally;
  auto difference =
      RunFor(&SharedWorld(), /*seed=*/1, kCanary, GetParam(), &tally);
  ASSERT_TRUE(difference.ok()) << difference.status();
  EXPECT_TRUE(difference->has_value())
      << "not seen in " << tally.packets << " packets";
}

INSTANTIATE_TEST_SUITE_P(
    Flaws, Canary,
    testing::Values(reference::Flaw::kMasquerade,
                    reference::Flaw::kTerminating,
                    reference::Flaw::kSourceRange, reference::Flaw::kReply,
                    reference::Flaw::kHints, reference::Flaw::kAffinity,
                    reference::Flaw::kFragment, reference::Flaw::kSctp,
                    reference::Flaw::kRanges,
                    reference::Flaw::kHealth, reference::Flaw::kStrayError,
                    reference::Flaw::kExtensions,
                    reference::Flaw::kNodeAddress,
                    reference::Flaw::kDecline));

}  // namespace
}  // namespace fairlead::differential
