// SPDX-License-Identifier: Apache-2.0
// Address allocation, routes to other nodes, probe thresholds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "userspace/kubelet/network/ip_pool.h"
#include "userspace/kubelet/network/node_routes.h"
#include "userspace/kubelet/network/pod_network.h"
#include "userspace/kubelet/probes/probe_state.h"

namespace fairlead::kubelet {
namespace {

IpAddress Ip(const char* text) { return *IpAddress::Parse(text); }
IpPrefix Prefix(const char* text) { return *IpPrefix::Parse(text); }

TEST(IpPoolTest, LeavesOutNetworkGatewayAndBroadcast) {
  IpPool pool(Prefix("10.0.0.0/29"));
  std::vector<std::string> all;
  for (auto ip = pool.Allocate(); ip.ok(); ip = pool.Allocate())
    all.push_back(ip->ToString());
  EXPECT_THAT(all, ::testing::ElementsAre("10.0.0.2", "10.0.0.3", "10.0.0.4",
                                          "10.0.0.5", "10.0.0.6"));
  EXPECT_TRUE(absl::IsResourceExhausted(pool.Allocate().status()));
}

TEST(IpPoolTest, AReleasedAddressRests) {
  IpPool pool(Prefix("10.0.0.0/29"));
  const IpAddress first = *pool.Allocate();
  pool.Release(first);
  for (int i = 0; i < 4; ++i) EXPECT_NE(*pool.Allocate(), first);
  EXPECT_EQ(*pool.Allocate(), first);
}

TEST(IpPoolTest, TakenAddressesAreNotGivenAgain) {
  IpPool pool(Prefix("fd00:1::/64"));
  EXPECT_TRUE(pool.Take(Ip("fd00:1::2")).ok());
  EXPECT_TRUE(pool.Take(Ip("fd00:1::5")).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(pool.Take(Ip("fd00:1::2"))));
  EXPECT_TRUE(absl::IsInvalidArgument(pool.Take(Ip("fd00:2::2"))));
  EXPECT_EQ(*pool.Allocate(), Ip("fd00:1::6"));
}

TEST(NodeRoutesTest, OthersByUplinkOwnUnreachable) {
  const auto routes = DesiredNodeRoutes(
      {{"a", {Ip("192.0.2.1"), Ip("2001:db8::1")},
        {Prefix("10.1.0.0/24"), Prefix("fd00:1::/64")}},
       {"b", {Ip("192.0.2.2"), Ip("2001:db8::2")},
        {Prefix("10.2.0.0/24"), Prefix("fd00:2::/64")}},
       {"v4 only", {Ip("192.0.2.3")},
        {Prefix("10.3.0.0/24"), Prefix("fd00:3::/64")}},
       {"thief", {Ip("192.0.2.4")}, {Prefix("10.1.0.0/16")}},
       {"new", {Ip("192.0.2.5")}, {}}},
      "a", 7);
  using netlink::OwnedRoute;
  EXPECT_THAT(
      routes,
      ::testing::UnorderedElementsAre(
          OwnedRoute{.destination = Prefix("10.1.0.0/24")},
          OwnedRoute{.destination = Prefix("fd00:1::/64")},
          OwnedRoute{.destination = Prefix("10.2.0.0/24"),
                     .link_index = 7,
                     .gateway = Ip("192.0.2.2")},
          OwnedRoute{.destination = Prefix("fd00:2::/64"),
                     .link_index = 7,
                     .gateway = Ip("2001:db8::2")},
          OwnedRoute{.destination = Prefix("10.3.0.0/24"),
                     .link_index = 7,
                     .gateway = Ip("192.0.2.3")}));
}

TEST(VethNameTest, FitsAndIsStable) {
  const std::string uid = "f3a1c1de-63b5-4c7c-9d2a-000000000001";
  EXPECT_LE(VethName(uid).size(), 15u);
  EXPECT_EQ(VethName(uid), VethName(uid));
  EXPECT_NE(VethName(uid), VethName("f3a1c1de-63b5-4c7c-9d2a-000000000002"));
}

TEST(ProbeStateTest, FailsOnlyAfterTheThreshold) {
  ProbeState state(1, 3, true);
  EXPECT_FALSE(state.OnResult(false));
  EXPECT_FALSE(state.OnResult(false));
  EXPECT_TRUE(state.verdict());
  EXPECT_TRUE(state.OnResult(false));
  EXPECT_FALSE(state.verdict());
  EXPECT_EQ(state.run(), 3);
  EXPECT_FALSE(state.OnResult(false)) << "no news";
}

TEST(ProbeStateTest, ASuccessInBetweenStartsTheCountAnew) {
  ProbeState state(1, 3, true);
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(state.OnResult(false));
    EXPECT_FALSE(state.OnResult(false));
    EXPECT_FALSE(state.OnResult(true));
  }
  EXPECT_TRUE(state.verdict());
}

TEST(ProbeStateTest, SuccessThreshold) {
  ProbeState state(2, 1, false);
  EXPECT_FALSE(state.OnResult(true));
  EXPECT_FALSE(state.verdict());
  EXPECT_TRUE(state.OnResult(true));
  EXPECT_TRUE(state.verdict());
  EXPECT_TRUE(state.OnResult(false));
  EXPECT_FALSE(state.verdict());
}

}  // namespace
}  // namespace fairlead::kubelet
