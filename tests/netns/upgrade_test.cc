// SPDX-License-Identifier: Apache-2.0
// Nothing fails while the agent is killed, restarted, reconfigured, upgraded to
// a version with other map layouts, rolled back, and given larger and smaller
// maps: connections that live, those that are opened meanwhile, and a stream of
// datagrams.
//
// FAIRLEAD_UPGRADE_CONNECTIONS (default 400) connections live through it;
// scripts/upgrade-load runs it with 10,000.
#include <gmock/gmock.h>

#include <csignal>
#include <cstdlib>

#include "bpf/abi/types.h"
#include "tests/netns/live_load.h"
#include "tests/netns/service_test_base.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

using ::testing::HasSubstr;

class Upgrade : public ServiceTest {
 protected:
  static constexpr From kClients[] = {{"outside", false}, {"a", false}};

  static int Connections() {
    const char* text = getenv("FAIRLEAD_UPGRADE_CONNECTIONS");
    return text == nullptr ? 400 : atoi(text);
  }

  // Connections in all ways, of both families: masqueraded and not.
  absl::Status OpenLasting(int count) {
    for (int i = 0; i < count; ++i) {
      FL_RETURN_IF_ERROR(
          lasting_.Add(OpenFrom(kClients[i % 2],
                                FrontendOf(1, kWays[i / 4 % 4],
                                           kFamilies[i / 2 % 2],
                                           Protocol::kTcp))));
    }
    return absl::OkStatus();
  }

  // Who serves each client of a service with affinity.
  std::map<std::string, int> Sticky() {
    std::map<std::string, int> who;
    for (const From& from : kClients) {
      for (IpFamily family : kFamilies) {
        auto opened = OpenFrom(
            from, FrontendOf(2, Way::kNodePort, family, Protocol::kTcp));
        ++who[StrCat(from.station, " ", opened.ok() ? opened->who() : "nobody",
                     family == IpFamily::kIpv4 ? " v4" : " v6")];
      }
    }
    return who;
  }

  Lasting lasting_;
};

TEST_F(Upgrade, NothingFailsWhateverHappensToTheAgent) {
  // The second has endpoints of its own: a client's port that was just used
  // towards an endpoint goes to another one, affinity or not.
  ASSERT_OK(bed_->Apply({{.number = 1, .endpoints = {"l1", "l2", "r1", "r2"}},
                         {.number = 2,
                          .endpoints = {"l3", "a", "node1"},
                          .affinity_seconds = 3600}}));
  ASSERT_OK(OpenLasting(Connections()));
  const std::map<std::string, int> sticky = Sticky();
  // Its connections go on without being an endpoint any more.
  ASSERT_OK(bed_->Apply({{.number = 1, .endpoints = {"l1", "l2", "r1"}}}));
  LiveLoad load(bed_->net());
  auto check = [&](const std::string& after) {
    EXPECT_OK(lasting_.GoOn(after));
    EXPECT_EQ(Sticky(), sticky) << after;
    EXPECT_THAT(load.failures(), ::testing::IsEmpty()) << after;
  };

  ASSERT_OK(bed_->RestartAgent(SIGKILL));
  check("a kill");
  ASSERT_OK(bed_->RestartAgent(SIGTERM));
  check("a restart");
  std::vector<std::string> flags = ServiceBed::ClusterCidrs();
  flags.insert(flags.end(), {"--service-cidr", "10.96.0.0/16,fd96::/112"});
  ASSERT_OK(bed_->RestartAgent(SIGTERM, flags));
  check("another configuration");
  for (const char* round : {"once", "twice"}) {
    auto said = bed_->TakeOverWithOtherLayout();
    ASSERT_OK(said.status());
    EXPECT_THAT(*said, HasSubstr(StrCat("/v", FL_ABI_VERSION, " services=")));
    printf("%s", said->c_str());
    check(StrCat("an upgrade ", round));
    ASSERT_OK(bed_->RestartAgent(SIGTERM));
    check(StrCat("a rollback ", round));
  }
  std::vector<std::string> more = ServiceBed::ClusterCidrs();
  more.insert(more.end(), {"--map-size", "flows=524288,slots=2097152",
                           "--map-size", "services=524288,backends=524288"});
  ASSERT_OK(bed_->RestartAgent(SIGTERM, more));
  check("larger maps");
  ASSERT_OK(bed_->RestartAgent(SIGKILL, more));
  check("a kill over larger maps");
  ASSERT_OK(bed_->RestartAgent(SIGTERM));
  check("the smaller maps again");
  load.End();
  EXPECT_THAT(load.failures(), ::testing::IsEmpty());
  printf("%d connections lasted, %d were opened, %d datagrams answered\n",
         Connections(), load.opened(), load.datagrams());
  const std::string log = bed_->Log();
  EXPECT_THAT(log, HasSubstr("took over from other maps"));
  EXPECT_EQ(log.find("could not take over"), log.npos) << log;
  EXPECT_THAT(log, HasSubstr(StrCat("from=", bed_->bpf_root(), "/v",
                                    FL_ABI_VERSION,
                                    "_services-524288_slots-2097152_"
                                    "backends-524288_flows-524288")));
  // Nothing was lost on the way there and back: there is nothing to write.
  EXPECT_THAT(log.substr(log.rfind("first sync")),
              HasSubstr("operations=0 failures=0"));
}

}  // namespace
}  // namespace fairlead::harness
