// SPDX-License-Identifier: Apache-2.0
// Why endpoints are in a set or out: each reason once, and never another
// answer than the decision itself.
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "userspace/model/categorize.h"
#include "userspace/model/cluster.h"
#include "userspace/model/explain.h"

namespace fairlead::model {
namespace {

using S = EndpointStanding;

constexpr EndpointTraits kReadyHere = {
    .ready = true, .serving = true, .local = true};
constexpr EndpointTraits kReadyThere = {.ready = true, .serving = true};
constexpr EndpointTraits kUnready = {};
constexpr EndpointTraits kEnding = {.serving = true, .terminating = true};

EndpointTraits Hinted(bool this_node, bool this_zone) {
  EndpointTraits e = kReadyThere;
  e.has_node_hints = e.has_zone_hints = true;
  e.hints_this_node = this_node;
  e.hints_this_zone = this_zone;
  return e;
}

const TrafficPolicy kBothSets = {.external_local = true,
                                 .externally_accessible = true};

TEST(StandingsTest, EachReason) {
  const std::vector<EndpointTraits> endpoints = {kReadyHere, kReadyThere,
                                                 kUnready, kEnding};
  const Standings got = ExplainCategories(endpoints, kBothSets);
  EXPECT_EQ(got.cluster, (std::vector<S>{S::kReady, S::kReady, S::kNotReady,
                                         S::kTerminating}));
  EXPECT_EQ(got.local, (std::vector<S>{S::kReady, S::kNotLocal, S::kNotLocal,
                                       S::kNotLocal}));
}

TEST(StandingsTest, TheFallbackSaysSo) {
  const std::vector<EndpointTraits> endpoints = {kUnready, kEnding};
  const Standings got = ExplainCategories(endpoints, {});
  EXPECT_EQ(got.cluster,
            (std::vector<S>{S::kNotReady, S::kTerminatingServing}));
  EXPECT_EQ(got.local,
            (std::vector<S>{S::kSetUnused, S::kSetUnused}));
}

TEST(StandingsTest, Hints) {
  const std::vector<EndpointTraits> by_node = {Hinted(true, true),
                                               Hinted(false, true)};
  EXPECT_EQ(ExplainCategories(by_node, {}).cluster,
            (std::vector<S>{S::kReady, S::kOtherNode}));
  const std::vector<EndpointTraits> by_zone = {Hinted(false, true),
                                               Hinted(false, false)};
  EXPECT_EQ(ExplainCategories(by_zone, {}).cluster,
            (std::vector<S>{S::kReady, S::kOtherZone}));
}

TEST(StandingsTest, AgreeWithTheDecision) {
  std::mt19937 random(4711);
  auto coin = [&random] { return random() % 2 == 0; };
  for (int round = 0; round < 20000; ++round) {
    std::vector<EndpointTraits> endpoints(random() % 5);
    for (EndpointTraits& e : endpoints) {
      e = {.ready = coin(), .serving = coin(), .terminating = coin(),
           .local = coin(), .has_node_hints = coin(),
           .has_zone_hints = coin()};
      e.hints_this_node = e.has_node_hints && coin();
      e.hints_this_zone = e.has_zone_hints && coin();
    }
    const TrafficPolicy policy{.internal_local = coin(),
                               .external_local = coin(),
                               .externally_accessible = coin()};
    const Categories decided = Categorize(endpoints, policy);
    const Standings standings = ExplainCategories(endpoints, policy);
    for (size_t i = 0; i < endpoints.size(); ++i) {
      ASSERT_EQ(IsIn(standings.cluster[i]), decided.cluster[i]);
      ASSERT_EQ(IsIn(standings.local[i]), decided.local[i]);
    }
  }
}

TEST(ExplainFrontendTest, SetsByKindAndSide) {
  NodeConfig node;
  node.name = "n1";
  Cluster cluster(node);
  kube::Service service;
  service.meta.ns = "default";
  service.meta.name = "web";
  service.cluster_ips = {*IpAddress::Parse("10.96.0.1")};
  service.external_local = true;
  kube::ServicePort port;
  port.name = "http";
  port.port = 80;
  port.node_port = 30080;
  service.ports = {port};
  cluster.PutService(service);
  const L4Address vip{service.cluster_ips[0], 80, Protocol::kTcp};
  auto got = cluster.Explain("default/web", vip);
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->port_name, "http");
  EXPECT_EQ(got->sets.external, EndpointSet::kCluster);
  const L4Address node_port{IpAddress::Unspecified(IpFamily::kIpv4), 30080,
                            Protocol::kTcp};
  got = cluster.Explain("default/web", node_port);
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->kind, FrontendKind::kNodePort);
  EXPECT_EQ(got->sets.internal, EndpointSet::kCluster);
  EXPECT_EQ(got->sets.external, EndpointSet::kLocal);
  EXPECT_FALSE(cluster.Explain("default/web", {vip.address, 81,
                                               Protocol::kTcp}));
  EXPECT_FALSE(cluster.Explain("default/other", vip));
}

}  // namespace
}  // namespace fairlead::model
