// SPDX-License-Identifier: Apache-2.0
// The differential fuzzer in the suite: a short run, and canaries, which are
// references with one rule wrong that must be caught at once.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <string>
#include <string_view>

#include "absl/time/clock.h"
#include "tests/prog/differential.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/strings.h"

namespace fairlead::differential {
namespace {

// What the suite can spare; scripts/differential runs for longer.
constexpr absl::Duration kSearch = absl::Seconds(35);
// What a busy machine may take to meet everything.
constexpr absl::Duration kPatience = absl::Seconds(150);
constexpr absl::Duration kShortSearch = absl::Seconds(7);
constexpr absl::Duration kCanary = absl::Seconds(60);  // ends when caught

constexpr const char* kRare[] = {
    "ext 0", "ext 43", "ext 60", "error 4/3", "error 4/11", "error 4/12",
    "error 6/1", "error 6/2", "error 6/3", "error 6/4", "short quote",
    "cut quote", "stray error", "unhealthy", "from a service port",
    "from a NodePort", "from a source port", "another masquerade address",
    "no IPv6 address", "socket pass", "socket translate", "socket refuse",
    "socket decline", "endpoint at a service port", "exchange goes on",
    "exchange goes on, new ones don't", "exchange begins anew",
    "packet to the unspecified address", "unspecified pass",
    "unspecified translate"};

// What packets come to, each with these protocols (T, U, S) and both families.
//
// One that was met once may have been met by chance alone; where a state that is
// rare is needed, too, a slow machine doesn't meet more in its time.
constexpr uint64_t kEnough = 5;
struct Verdict {
  const char* name;
  std::string_view protocols;
  uint64_t enough = kEnough;
};
constexpr Verdict kVerdicts[] = {
    {"FORWARD_NEW", "TUS"},        {"FORWARD_HIT", "TUS"},
    {"REPLY_HIT", "TUS"},          {"SOURCE_TRANSLATED", "TUS"},
    {"NOT_OURS", "TUS"},           {"REJECT_RST", "T"},
    {"REJECT_UNREACHABLE", "US"},  {"REJECT_NO_FLOW", "T"},
    {"DROP_POLICY", "TUS"},        {"DROP_SOURCE_RANGE", "TUS"},
    {"DROP_NO_FLOW", "TS"},        {"REJECT_NO_PORT", "TU", 1},
    {"DROP_TUPLE_CLASH", "TU", 1}, {"DROP_MALFORMED", "TUS"},
    {"DROP_FRAGMENT", "TU"},       {"DROP_NO_SERVICE", "TUS"},
    {"REJECT_NO_SERVICE", "TUS"},  {"ICMP_TRANSLATED", "TUS"}};

// What a run has met too little of to prove much: it says nothing of how fast the
// machine is.
std::string Missing(const Tally& tally) {
  std::string missing;
  auto look = [&](const std::map<std::string, uint64_t>& in,
                  const std::string& name, uint64_t enough) {
    auto it = in.find(name);
    const uint64_t met = it == in.end() ? 0 : it->second;
    if (met < enough) StrAppend(&missing, name, ": ", met, "\n");
  };
  for (const Verdict& verdict : kVerdicts) {
    for (char protocol : verdict.protocols) {
      const Protocol is = protocol == 'T'   ? Protocol::kTcp
                          : protocol == 'U' ? Protocol::kUdp
                                            : Protocol::kSctp;
      for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
        look(tally.met,
             StrCat(verdict.name, " ", ProtocolName(is), " ",
                    IpFamilyName(family)),
             verdict.enough);
      }
    }
  }
  for (const char* name : kRare) look(tally.drawn, name, 1);
  return missing;
}

TEST(Differential, ProductAndReferenceAgree) {
  Tally tally;
  uint64_t seed = 1;
  absl::Duration limit = kSearch;
  const absl::Time end = absl::Now() + kPatience;
  std::string missing;
  do {
    auto difference = RunFor(&SharedWorld(), seed, limit,
                             reference::Flaw::kNone, &tally);
    ASSERT_TRUE(difference.ok()) << difference.status();
    if (*difference) {
      auto smaller =
          Minimise(&SharedWorld(), **difference, reference::Flaw::kNone);
      ASSERT_TRUE(smaller.ok()) << smaller.status();
      FAIL() << "seed " << smaller->seed << " step " << smaller->step << "\n"
             << smaller->text;
    }
    seed += 1'000'000;
    limit = kShortSearch;
    missing = Missing(tally);
  } while (!missing.empty() && absl::Now() < end);
  printf("%llu packets in %llu cluster states and %llu calls agree\n",
         static_cast<unsigned long long>(tally.packets),
         static_cast<unsigned long long>(tally.states),
         static_cast<unsigned long long>(tally.calls));
  EXPECT_EQ(missing, "");
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
  // Whatever is known of a client, it is forwarded and answered.
  for (const char* name : {"FORWARD_NEW", "FORWARD_HIT", "REPLY_HIT"}) {
    EXPECT_GE(tally.counted[name], kEnough) << name;
  }
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
                    reference::Flaw::kDecline,
                    reference::Flaw::kExchange));

}  // namespace
}  // namespace fairlead::differential
