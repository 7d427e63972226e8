// SPDX-License-Identifier: Apache-2.0
// The agent is killed between any two of its writes to the kernel: while it
// applies a change, at its first start, and while it moves into larger maps.
// Until the next start, who answers is who answered before or is to answer
// after; connections that last go on; the next start mends everything.
//
// Not after each write, but some of them, spread over all; with
// FAIRLEAD_CRASH_EVERY=1 (scripts/crash-agent) after all that a change makes
// and more of the others (default 5).
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <set>

#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "tests/netns/crash_at_write.h"
#include "tests/netns/live_load.h"
#include "tests/netns/service_test_base.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

using ::testing::IsEmpty;

uint32_t Every() {
  const char* text = getenv("FAIRLEAD_CRASH_EVERY");
  return text == nullptr ? 5 : static_cast<uint32_t>(std::max(1, atoi(text)));
}

class Crash : public ServiceTest {
 protected:
  // Agents from here on have the library. The first has started without.
  void SetUp() override {
    ServiceTest::SetUp();
    auto dir = TempDirScope::Create();
    ASSERT_OK(dir.status());
    dir_.emplace(*std::move(dir));
    const std::string path = dir_->path() + "/control";
    UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_TRUE(fd.valid());
    ASSERT_EQ(ftruncate(fd.get(), sizeof(CrashControl)), 0);
    void* at = mmap(nullptr, sizeof(CrashControl), PROT_READ | PROT_WRITE,
                    MAP_SHARED, fd.get(), 0);
    ASSERT_NE(at, MAP_FAILED);
    control_ = new (at) CrashControl();
    setenv("FAIRLEAD_CRASH_CONTROL", path.c_str(), 1);
    setenv("LD_PRELOAD",
           (std::string(FAIRLEAD_BINARY_DIR) + "/lib/libfl_crash_at_write.so")
               .c_str(),
           1);
  }
  void TearDown() override {
    unsetenv("LD_PRELOAD");
    unsetenv("FAIRLEAD_CRASH_CONTROL");
  }

  // An agent without the library, which is as quick as ever.
  absl::Status Mend(const std::vector<std::string>& flags) {
    const std::string library = getenv("LD_PRELOAD");
    unsetenv("LD_PRELOAD");
    absl::Status status = bed_->RestartAgent(SIGTERM, flags);
    setenv("LD_PRELOAD", library.c_str(), 1);
    return status;
  }

  // From now on; 0: only counts.
  void Arm(uint32_t at) {
    control_->at = at;
    control_->writes = 0;
    control_->armed = 1;
  }
  uint32_t Disarm() {
    control_->armed = 0;
    return control_->writes;
  }

  std::optional<TempDirScope> dir_;
  CrashControl* control_ = nullptr;
};

struct Change {
  const char* name;
  ServiceSpec before;
  ServiceSpec after;
};

const Change kChanges[] = {
    {"an endpoint comes",
     {.number = 1, .endpoints = {"l1"}},
     {.number = 1, .endpoints = {"l1", "l2"}}},
    {"an endpoint goes",
     {.number = 1, .endpoints = {"l1", "r1"}},
     {.number = 1, .endpoints = {"r1"}}},
    {"all endpoints are others",
     {.number = 1, .endpoints = {"l1", "l2"}},
     {.number = 1, .endpoints = {"l3", "r1", "r2"}}},
    {"other policies",
     {.number = 1, .endpoints = {"l1", "r1"}},
     {.number = 1,
      .internal_local = true,
      .external_local = true,
      .endpoints = {"l1", "r1"}}},
    {"affinity and source ranges",
     {.number = 1, .endpoints = {"l1", "l2"}},
     {.number = 1,
      .endpoints = {"l2", "l3"},
      .source_ranges = {"0.0.0.0/0", "::/0"},
      .affinity_seconds = 600}},
    {"one that terminates takes over",
     {.number = 1, .endpoints = {"l1", "l2:terminating"}},
     {.number = 1, .endpoints = {"l1:unready", "l2:terminating"}}},
};

std::set<std::string> Names(const ServiceSpec& spec) {
  std::set<std::string> names;
  for (const std::string& word : spec.endpoints) {
    names.insert(word.substr(0, word.find(':')));
  }
  return names;
}

class CrashInAPlan : public Crash,
                     public ::testing::WithParamInterface<Change> {
 protected:
  // Who answers clients of all kinds by all ways; "refused" and its like too.
  static std::set<std::string> WhoAnswers() {
    std::set<std::string> who;
    for (const From& from : kFroms) {
      for (Way way : kWays) {
        for (IpFamily family : kFamilies) {
          for (const auto& [name, times] :
               AskFrom(from, FrontendOf(1, way, family, Protocol::kTcp), 1)) {
            who.insert(name);
          }
        }
      }
    }
    return who;
  }
};

TEST_P(CrashInAPlan, WhereverItIsTheNextStartMendsIt) {
  const Change& change = GetParam();
  std::set<std::string> either = Names(change.before);
  either.merge(Names(change.after));
  int crashes = 0;
  for (uint32_t at = 1;; at += 2 * Every() - 1) {
    bed_->Put(change.before);
    ASSERT_OK(bed_->RestartAgent(SIGTERM));
    ASSERT_OK(bed_->Apply({{.number = 3, .endpoints = {"l1"}}}));
    Lasting lasting;
    for (const From& from : kFroms) {
      ASSERT_OK(lasting.Add(OpenFrom(
          from, FrontendOf(3, Way::kNodePort, IpFamily::kIpv4,
                           Protocol::kTcp))));
    }
    Arm(at);
    bed_->ApplyOrEnd(change.after);
    const uint32_t writes = Disarm();
    if (writes < at) break;
    const std::string where = StrCat(change.name, ", at write ", at);
    // The last writes are made when the change has been applied.
    ASSERT_TRUE(Eventually([] { return bed_->AgentHasEnded(); })) << where;
    ++crashes;
    EXPECT_THAT(either, ::testing::IsSupersetOf(WhoAnswers())) << where;
    EXPECT_OK(lasting.GoOn(where));
    ASSERT_OK(bed_->RestartAgent(SIGTERM)) << where;
    EXPECT_THAT(Names(change.after), ::testing::IsSupersetOf(WhoAnswers()))
        << where;
    EXPECT_OK(lasting.GoOn(StrCat(where, ", mended")));
    if (HasFailure()) break;
  }
  EXPECT_GT(crashes, 1);
  printf("killed at %d moments: %s\n", crashes, change.name);
}

INSTANTIATE_TEST_SUITE_P(All, CrashInAPlan, ::testing::ValuesIn(kChanges),
                         [](const auto& row) {
                           std::string name = row.param.name;
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

// Nothing is there yet: no connection can tell, but the start after it must
// find its way in what was left.
TEST_F(Crash, InAFirstStart) {
  bed_->Put({.number = 1, .endpoints = {"l1", "r1"}});
  int crashes = 0;
  // Thirteen programs are pinned one after the other: within them, too.
  const uint32_t step = std::min(4 * Every(), 13u);
  for (uint32_t at = 1;; at += step) {
    bed_->EndAgent();
    Arm(at);
    const bool started = bed_->RestartAgent(SIGTERM).ok();
    const uint32_t writes = Disarm();
    if (started) {
      EXPECT_LT(writes, at);
      break;
    }
    ++crashes;
    ASSERT_OK(bed_->RestartAgent(SIGTERM)) << at;
    for (const From& from : kFroms) {
      EXPECT_EQ(AskFrom(from, FrontendOf(1, Way::kNodePort, IpFamily::kIpv6,
                                         Protocol::kTcp),
                        20)
                    .size(),
                2u)
          << from.ToString() << ", at write " << at;
    }
    if (HasFailure()) break;
  }
  EXPECT_GT(crashes, 3);
  printf("killed at %d moments of a first start\n", crashes);
}

// Each store of an agent with the library is two signals and two system calls:
// what takes milliseconds takes seconds, on a busy machine many. So long are
// packets of new flows dropped (docs/design/upgrade.md), and as long clients
// must wait. A flow that is lost is answered with a reset, at once.
constexpr absl::Duration kPatience = absl::Seconds(30);

// Under load: what lasts, what comes and goes, streams.
TEST_F(Crash, WhileItMovesIntoOtherMaps) {
  ASSERT_OK(bed_->RestartAgent(SIGTERM));
  ASSERT_OK(bed_->Apply({{.number = 1, .endpoints = {"l1", "r1"}}}));
  std::vector<std::string> sizes[2] = {ServiceBed::ClusterCidrs(),
                                       ServiceBed::ClusterCidrs()};
  sizes[1].insert(sizes[1].end(), {"--map-size", "flows=524288"});
  Lasting lasting;
  for (int i = 0; i < 16; ++i) {
    ASSERT_OK(lasting.Add(
        OpenFrom(kFroms[i % 2], FrontendOf(1, kWays[i / 4 % 4],
                                           kFamilies[i / 2 % 2],
                                           Protocol::kTcp))));
  }
  LiveLoad load(bed_->net(), kPatience);
  // How many there are, to have moments all over it.
  bed_->StopAgent();
  Arm(0);
  ASSERT_OK(bed_->RestartAgent(SIGTERM, sizes[1]));
  const uint32_t writes = Disarm();
  int larger = 0, crashes = 0;
  // Most are stores of copied slots and flows: a round is some 15 s.
  const uint32_t step = std::max(1u, writes * Every() / 30);
  for (uint32_t at = 1; at < writes; at += step) {
    bed_->StopAgent();
    Arm(at);
    const bool started = bed_->RestartAgent(SIGTERM, sizes[larger]).ok();
    Disarm();
    crashes += !started;
    const std::string where = StrCat("write ", at, " of ", writes);
    EXPECT_OK(lasting.GoOn(where));
    if (!started) {
      ASSERT_OK(Mend(sizes[larger])) << where;
    }
    EXPECT_OK(lasting.GoOn(StrCat(where, ", mended")));
    EXPECT_THAT(load.failures(), IsEmpty()) << where;
    if (HasFailure()) break;
    larger = 1 - larger;
  }
  load.End();
  EXPECT_THAT(load.failures(), IsEmpty());
  EXPECT_EQ(bed_->Log().find("could not take over"), std::string::npos)
      << bed_->Log();
  EXPECT_GT(crashes, 3);
  printf("killed at %d moments of %u writes; %d connections were opened, %d "
         "datagrams answered\n",
         crashes, writes, load.opened(), load.datagrams());
}

}  // namespace
}  // namespace fairlead::harness
