// SPDX-License-Identifier: Apache-2.0
// What becomes of connections and of a client's affinity when endpoints and
// settings change.
#include <gmock/gmock.h>

#include "absl/time/clock.h"
#include "tests/netns/service_test_base.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

using ::testing::ElementsAre;
using ::testing::Key;
using ::testing::SizeIs;

class EndpointChanges : public ServiceTest {
 protected:
  // One conversation of each kind of client, family and protocol.
  struct Talk {
    std::string what;
    From from;
    L4Address to;
    Conversation conversation;
  };

  std::vector<Talk> OpenAll(int service) {
    std::vector<Talk> talks;
    for (const From& from : kFroms) {
      for (IpFamily family : kFamilies) {
        for (Protocol protocol : kProtocols) {
          for (Way way : {Way::kClusterIp, Way::kNodePort}) {
            const L4Address to = FrontendOf(service, way, family, protocol);
            auto opened = OpenFrom(from, to);
            EXPECT_TRUE(opened.ok()) << from.ToString() << opened.status();
            if (!opened.ok()) continue;
            talks.push_back({StrCat(from.ToString(), " -> ", to.ToString()),
                             from, to, *std::move(opened)});
          }
        }
      }
    }
    return talks;
  }

  // All go on with the endpoint `who`.
  static void ExpectAllGoOn(std::vector<Talk>* talks, const std::string& who,
                            const std::string& when) {
    for (Talk& talk : *talks) {
      absl::Status said = talk.conversation.Say(when);
      EXPECT_TRUE(said.ok()) << talk.what << ", " << when << ": " << said;
      EXPECT_EQ(talk.conversation.who(), who) << talk.what << ", " << when;
    }
  }
};

TEST_F(EndpointChanges, ATerminatingEndpointKeepsWhatItHas) {
  ServiceSpec spec{.number = 1, .endpoints = {"l1"}};
  ASSERT_OK(bed_->Apply({spec}));
  std::vector<Talk> talks = OpenAll(1);
  ASSERT_THAT(talks, SizeIs(32));
  ExpectAllGoOn(&talks, "l1", "before");

  spec.endpoints = {"l1:terminating", "l2"};
  ASSERT_OK(bed_->Apply({spec}));
  ExpectAllGoOn(&talks, "l1", "terminating");
  for (const Talk& talk : talks) {
    EXPECT_THAT(AskFrom(talk.from, talk.to, 4), ElementsAre(Key("l2")))
        << talk.what;
  }
  // Others come and go.
  spec.endpoints = {"l1:terminating", "l2", "r1", "r2"};
  ASSERT_OK(bed_->Apply({spec}));
  ExpectAllGoOn(&talks, "l1", "more endpoints");
  spec.endpoints = {"l1:terminating", "r2"};
  ASSERT_OK(bed_->Apply({spec}));
  ExpectAllGoOn(&talks, "l1", "fewer endpoints");
}

TEST_F(EndpointChanges, ARemovedEndpointsConnectionsEndByThemselves) {
  ServiceSpec spec{.number = 2, .endpoints = {"l1"}};
  ASSERT_OK(bed_->Apply({spec}));
  std::vector<Talk> talks = OpenAll(2);
  std::erase_if(talks, [](const Talk& talk) {
    return talk.to.protocol != Protocol::kTcp;
  });
  spec.endpoints = {"r1"};
  ASSERT_OK(bed_->Apply({spec}));
  ExpectAllGoOn(&talks, "l1", "removed");
  for (const Talk& talk : talks) {
    EXPECT_THAT(AskFrom(talk.from, talk.to, 4), ElementsAre(Key("r1")));
  }
}

// ---- session affinity ----

constexpr int kRequests = 16;
const std::vector<std::string> kFour = {"l1", "l2", "r1", "r2"};

class Affinity : public ServiceTest {
 protected:
  // Who answers all of this client's requests; "" if there are several.
  static std::string Sticky(const From& from, const L4Address& to,
                            int times = kRequests) {
    auto answers = AskFrom(from, to, times);
    return answers.size() == 1 ? answers.begin()->first : "";
  }
};

TEST_F(Affinity, SticksOverAllFrontendsOfAPort) {
  ASSERT_OK(bed_->Apply(
      {{.number = 3, .endpoints = kFour, .affinity_seconds = 10800}}));
  std::map<std::string, int> chosen;
  for (const From& from : kFroms) {
    for (IpFamily family : kFamilies) {
      for (Protocol protocol : kProtocols) {
        const std::string first = Sticky(
            from, FrontendOf(3, Way::kClusterIp, family, protocol));
        EXPECT_NE(first, "") << from.ToString();
        ++chosen[first];
        for (Way way : kWays) {
          EXPECT_EQ(Sticky(from, FrontendOf(3, way, family, protocol)), first)
              << from.ToString() << " " << WayName(way) << " "
              << ProtocolName(protocol) << " " << IpFamilyName(family);
        }
      }
    }
  }
  EXPECT_GT(chosen.size(), 1u) << "16 clients, one endpoint";
}

TEST_F(Affinity, EndsWithItsTimeout) {
  ASSERT_OK(
      bed_->Apply({{.number = 4, .endpoints = kFour, .affinity_seconds = 1}}));
  std::map<std::string, std::set<std::string>> seen;
  // Each round after the timeout is a new choice out of four.
  const bool all_moved = Eventually([&] {
    bool moved = true;
    for (const From& from : kFroms) {
      for (IpFamily family : kFamilies) {
        const std::string who = Sticky(
            from, FrontendOf(4, Way::kNodePort, family, Protocol::kTcp));
        EXPECT_NE(who, "") << from.ToString();
        auto& all = seen[StrCat(from.ToString(), IpFamilyName(family))];
        all.insert(who);
        moved &= all.size() > 1;
      }
    }
    if (!moved) absl::SleepFor(absl::Milliseconds(2100));
    return moved;
  }, absl::Seconds(30));
  EXPECT_TRUE(all_moved);
}

TEST_F(Affinity, SwitchedOffItSpreads) {
  ServiceSpec spec{.number = 5, .endpoints = kFour, .affinity_seconds = 10800};
  ASSERT_OK(bed_->Apply({spec}));
  for (const From& from : kFroms) {
    for (IpFamily family : kFamilies) {
      EXPECT_NE(Sticky(from, FrontendOf(5, Way::kLoadBalancer, family,
                                        Protocol::kTcp)), "");
    }
  }
  spec.affinity_seconds = 0;
  ASSERT_OK(bed_->Apply({spec}));
  for (const From& from : kFroms) {
    for (IpFamily family : kFamilies) {
      EXPECT_THAT(AskFrom(from, FrontendOf(5, Way::kLoadBalancer, family,
                                           Protocol::kTcp), 80),
                  SizeIs(4))
          << from.ToString();
    }
  }
}

TEST_F(Affinity, MovesWhenItsEndpointGoes) {
  ServiceSpec spec{.number = 6, .endpoints = kFour, .affinity_seconds = 10800};
  for (const From& from : kFroms) {
    for (IpFamily family : kFamilies) {
      const L4Address to =
          FrontendOf(6, Way::kExternalIp, family, Protocol::kUdp);
      spec.endpoints = kFour;
      ASSERT_OK(bed_->Apply({spec}));
      const std::string before = Sticky(from, to);
      ASSERT_NE(before, "") << from.ToString();
      std::erase(spec.endpoints, before);
      ASSERT_OK(bed_->Apply({spec}));
      const std::string after = Sticky(from, to);
      EXPECT_NE(after, "") << from.ToString();
      EXPECT_NE(after, before) << from.ToString();
      // It stays where it is when the old one comes back.
      spec.endpoints = kFour;
      ASSERT_OK(bed_->Apply({spec}));
      EXPECT_EQ(Sticky(from, to), after) << from.ToString();
    }
  }
}

}  // namespace
}  // namespace fairlead::harness
