// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/udp_serving.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/udp_cleanup_rows.h"

namespace fairlead::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

L4Address Udp(const std::string& ip, Port port) {
  return {*IpAddress::Parse(ip), port, Protocol::kUdp};
}

const L4Address kVip = Udp("10.96.0.10", 53);
const L4Address kNodePort = Udp("0.0.0.0", 30053);
const L4Address kOne = Udp("10.244.0.1", 5353);
const L4Address kTwo = Udp("10.244.0.2", 5353);

model::DesiredService Service(const std::vector<L4Address>& frontends,
                              const std::vector<L4Address>& endpoints,
                              Protocol protocol = Protocol::kUdp) {
  model::DesiredPort port;
  port.protocol = protocol;
  for (const L4Address& address : frontends) {
    model::Frontend frontend;
    frontend.address = address;
    port.frontends.push_back(frontend);
  }
  // In no set: serving, as a terminating one.
  for (const L4Address& address : endpoints) {
    port.endpoints.push_back({address, false, false});
  }
  model::DesiredService service;
  service.ports.push_back(port);
  return service;
}

TEST(UdpServing, WhoMayHoldAFlow) {
  UdpServing serving;
  serving.Update("d/dns", Service({kVip, kNodePort}, {kOne}));
  auto serves = [&](const L4Address& frontend, const L4Address& endpoint) {
    return UdpServing::Serves(serving.table(), frontend, endpoint);
  };
  EXPECT_TRUE(serves(kVip, kOne));
  EXPECT_FALSE(serves(kVip, kTwo));
  EXPECT_TRUE(serves(Udp("192.0.2.1", 30053), kOne));
  EXPECT_FALSE(serves(Udp("192.0.2.1", 30054), kOne));
  EXPECT_FALSE(serves(Udp("fd00::1", 30053), kOne));
  EXPECT_FALSE(serves(Udp("10.96.0.11", 53), kOne));
}

TEST(UdpServing, WhatAnUpdateTakesAndBrings) {
  UdpServing serving;
  auto change = serving.Update("d/dns", Service({kVip}, {kOne}));
  EXPECT_FALSE(change.lost);
  EXPECT_THAT(change.new_frontends, ElementsAre(kVip));
  change = serving.Update("d/dns", Service({kVip}, {kOne}));
  EXPECT_FALSE(change.lost);
  EXPECT_THAT(change.new_frontends, IsEmpty());
  EXPECT_FALSE(serving.Update("d/dns", Service({kVip}, {kOne, kTwo})).lost);
  EXPECT_TRUE(serving.Update("d/dns", Service({kVip}, {kTwo})).lost);
  change = serving.Update("d/dns", Service({kVip, kNodePort}, {kTwo}));
  EXPECT_FALSE(change.lost);
  EXPECT_THAT(change.new_frontends, ElementsAre(kNodePort));
  EXPECT_TRUE(serving.Update("d/dns", Service({kVip}, {kTwo})).lost);
  EXPECT_TRUE(serving.Knows("d/dns"));
  EXPECT_TRUE(serving.Update("d/dns", {}).lost);
  EXPECT_FALSE(serving.Knows("d/dns"));
  EXPECT_THAT(serving.table(), IsEmpty());
}

// What a socket of this host was connected to while it was declined went past us.
TEST(UdpServing, WhatIsDeclinedNoLongerIsNew) {
  constexpr uint32_t kDrop = uint32_t{FL_VERDICT_DROP}
                             << FL_SERVICE_INTERNAL_VERDICT_SHIFT;
  for (uint32_t flags : {kDrop, uint32_t{FL_SERVICE_SOURCE_RANGES}}) {
    UdpServing serving;
    model::DesiredService declined = Service({kVip, kNodePort}, {kOne});
    declined.ports[0].frontends[0].flags = flags;
    model::DesiredService open = Service({kVip, kNodePort}, {kOne});
    if (flags != kDrop) {
      open.ports[0].frontends[0].flags =
          flags | FL_SERVICE_HOST_IN_RANGES;
    }
    serving.Update("d/dns", declined);
    EXPECT_THAT(serving.Update("d/dns", declined).new_frontends, IsEmpty());
    EXPECT_THAT(serving.Update("d/dns", open).new_frontends,
                ElementsAre(kVip));
    EXPECT_THAT(serving.Update("d/dns", open).new_frontends, IsEmpty());
    auto change = serving.Update("d/dns", declined);
    EXPECT_THAT(change.new_frontends, IsEmpty());
    EXPECT_FALSE(change.lost);
  }
}

TEST(UdpServing, TheRowsOfACleanup) {
  const UdpServing serving = CleanupServing();
  for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
    for (const CleanupAddress& to : kCleanupDestinations) {
      const L4Address frontend = to.At(family, Protocol::kUdp);
      for (const CleanupAddress& endpoint : kCleanupEndpoints) {
        EXPECT_EQ(UdpServing::Serves(serving.table(), frontend,
                                     endpoint.At(family, Protocol::kUdp)),
                  CleanupKeeps(to, endpoint))
            << to.name << " -> " << endpoint.name << " "
            << IpFamilyName(family);
      }
      // An exchange that was never translated.
      EXPECT_FALSE(UdpServing::Serves(serving.table(), frontend, frontend))
          << to.name;
    }
  }
}

TEST(UdpServing, OtherProtocolsAreNotLookedAt) {
  UdpServing serving;
  auto change =
      serving.Update("d/web", Service({kVip}, {kOne}, Protocol::kTcp));
  EXPECT_THAT(change.new_frontends, IsEmpty());
  EXPECT_FALSE(serving.Knows("d/web"));
}

TEST(UdpServing, AFrontendThatAnotherServiceTakesOver) {
  UdpServing serving;
  serving.Update("d/a", Service({kVip}, {kOne}));
  serving.Update("d/b", Service({kVip}, {kTwo}));
  // In either order: who lost it has no say any more.
  EXPECT_TRUE(serving.Update("d/a", {}).lost);
  EXPECT_TRUE(UdpServing::Serves(serving.table(), kVip, kTwo));
  EXPECT_FALSE(UdpServing::Serves(serving.table(), kVip, kOne));
  serving.Update("d/b", {});
  EXPECT_THAT(serving.table(), IsEmpty());
}

}  // namespace
}  // namespace fairlead::agent
