// SPDX-License-Identifier: Apache-2.0
// What the recordings do not show: exhaustion, release, restarts, races.
#include "control/api/allocator.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "control/api/kinds.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fairlead::api {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class AllocatorTest : public ::testing::Test {
 protected:
  AllocatorTest() { Make(); }

  void Make(std::vector<std::string> cidrs = {"10.96.0.0/28"},
            Port first = 30000, Port last = 30003) {
    ServiceAllocatorOptions options;
    for (const auto& cidr : cidrs) {
      options.service_cidrs.push_back(*IpPrefix::Parse(cidr));
    }
    options.node_port_first = first;
    options.node_port_last = last;
    options.seed = 1;
    auto made = MakeServiceAllocator(options);
    ASSERT_TRUE(made.ok()) << made.status();
    allocator_ = *std::move(made);
  }

  static json Service(const std::string& name, json spec = json::object()) {
    if (!spec.contains("ports")) spec["ports"] = {{{"port", 80}}};
    return {{"kind", "Service"},
            {"apiVersion", "v1"},
            {"metadata", {{"name", name}, {"namespace", "default"}}},
            {"spec", spec}};
  }

  // Runs a write up to the point where it would be stored.
  FieldErrors Admit(json& object, const json* before = nullptr,
                    bool dry_run = false) {
    WriteVerb verb =
        before == nullptr ? WriteVerb::kCreate : WriteVerb::kUpdate;
    kind_->prepare(verb, object, before);
    kind_->set_defaults(object);
    return allocator_->Admit(*kind_, verb, dry_run, object, before);
  }

  json Create(const std::string& name, json spec = json::object()) {
    json object = Service(name, std::move(spec));
    FieldErrors errors = Admit(object);
    EXPECT_TRUE(errors.empty()) << errors[0].message;
    if (errors.empty()) allocator_->Committed(*kind_, nullptr, &object);
    return object;
  }

  std::string CreateError(const std::string& name, json spec) {
    json object = Service(name, std::move(spec));
    FieldErrors errors = Admit(object);
    if (errors.empty()) {
      allocator_->Committed(*kind_, nullptr, &object);
      return "";
    }
    // The server reports a failed write, whoever made it fail.
    allocator_->Aborted(*kind_, object, nullptr);
    return errors[0].message;
  }

  KindTable kinds_ = MakeKindTable();
  const Kind* kind_ = kinds_.FindByKind("v1", "Service");
  std::unique_ptr<Admission> allocator_;
};

TEST_F(AllocatorTest, GivesOutEveryAddressOnceAndNeverTheFirstOrLast) {
  std::set<std::string> seen;
  std::vector<json> services;
  for (int i = 0; i < 14; ++i) {
    services.push_back(Create("s" + std::to_string(i)));
    EXPECT_TRUE(seen.insert(services.back()["spec"]["clusterIP"]).second);
  }
  EXPECT_FALSE(seen.contains("10.96.0.0"));
  EXPECT_FALSE(seen.contains("10.96.0.15"));
  EXPECT_THAT(CreateError("full", {}), HasSubstr("range is full"));
  allocator_->Committed(*kind_, &services[3], nullptr);
  EXPECT_EQ(Create("again")["spec"]["clusterIP"],
            services[3]["spec"]["clusterIP"]);
  for (const char* ip : {"10.96.0.0", "10.96.0.15", "10.96.0.16"}) {
    EXPECT_THAT(CreateError("odd", {{"clusterIP", ip}}),
                HasSubstr("does not match the current range"))
        << ip;
  }
}

TEST_F(AllocatorTest, AFailedWriteReleasesOnlyItsOwn) {
  Create("a", {{"clusterIP", "10.96.0.5"}});
  EXPECT_THAT(CreateError("b", {{"clusterIP", "10.96.0.5"}}),
              HasSubstr("already allocated"));
  // Had b's failure released a's address, this would succeed.
  EXPECT_THAT(CreateError("c", {{"clusterIP", "10.96.0.5"}}),
              HasSubstr("already allocated"));
  // A later failure (here: the node port) gives the address back.
  Create("np", {{"type", "NodePort"},
                {"ports", {{{"port", 80}, {"nodePort", 30001}}}}});
  EXPECT_THAT(
      CreateError("d", {{"type", "NodePort"},
                        {"clusterIP", "10.96.0.6"},
                        {"ports", {{{"port", 80}, {"nodePort", 30001}}}}}),
      HasSubstr("provided port is already allocated"));
  EXPECT_EQ(CreateError("e", {{"clusterIP", "10.96.0.6"}}), "");
}

TEST_F(AllocatorTest, AnAbortedWriteGivesEverythingBack) {
  json object = Service("a", {{"clusterIP", "10.96.0.5"}});
  ASSERT_TRUE(Admit(object).empty());
  json other = Service("b", {{"clusterIP", "10.96.0.5"}});
  EXPECT_FALSE(Admit(other).empty()) << "held while the write is under way";
  allocator_->Aborted(*kind_, object, nullptr);
  EXPECT_TRUE(Admit(other).empty());
}

TEST_F(AllocatorTest, DryRunClaimsNothing) {
  json object = Service("a", {{"clusterIP", "10.96.0.5"}});
  ASSERT_TRUE(Admit(object, nullptr, /*dry_run=*/true).empty());
  EXPECT_EQ(CreateError("b", {{"clusterIP", "10.96.0.5"}}), "");
  // The dry run's end must not take b's address away.
  allocator_->Aborted(*kind_, object, nullptr);
  EXPECT_THAT(CreateError("c", {{"clusterIP", "10.96.0.5"}}),
              HasSubstr("already allocated"));
}

TEST_F(AllocatorTest, RestoredClaimsHold) {
  json a = Create("a", {{"type", "NodePort"}});
  Make();
  allocator_->Restore(*kind_, a);
  EXPECT_THAT(
      CreateError("b", {{"clusterIP", a["spec"]["clusterIP"]}}),
      HasSubstr("already allocated"));
  EXPECT_THAT(CreateError("c", {{"type", "NodePort"},
                                {"ports",
                                 {{{"port", 80},
                                   {"nodePort",
                                    a["spec"]["ports"][0]["nodePort"]}}}}}),
              HasSubstr("already allocated"));
  // An update of a restored Service keeps what it has.
  json update = a;
  update["metadata"]["labels"] = {{"x", "y"}};
  ASSERT_TRUE(Admit(update, &a).empty());
  EXPECT_EQ(update["spec"], a["spec"]);
}

TEST_F(AllocatorTest, NodePortsRunOutAndComeBackWithTheType) {
  std::vector<json> services;
  for (int i = 0; i < 4; ++i) {
    services.push_back(
        Create("s" + std::to_string(i), {{"type", "NodePort"}}));
  }
  EXPECT_THAT(CreateError("full", {{"type", "NodePort"}}),
              HasSubstr("range is full"));
  json before = services[0];
  json after = before;
  after["spec"]["type"] = "ClusterIP";
  ASSERT_TRUE(Admit(after, &before).empty());
  EXPECT_FALSE(after["spec"]["ports"][0].contains("nodePort"));
  allocator_->Committed(*kind_, &before, &after);
  json again = Create("again", {{"type", "NodePort"}});
  EXPECT_EQ(again["spec"]["ports"][0]["nodePort"],
            before["spec"]["ports"][0]["nodePort"]);
}

TEST_F(AllocatorTest, TwoProtocolsOfOnePortShareANodePort) {
  json ports = {{{"name", "u"}, {"port", 53}, {"protocol", "UDP"}},
                {{"name", "t"}, {"port", 53}}};
  json dns = Create("dns", {{"type", "NodePort"}, {"ports", ports}});
  EXPECT_EQ(dns["spec"]["ports"][0]["nodePort"],
            dns["spec"]["ports"][1]["nodePort"]);
}

TEST_F(AllocatorTest, LoadBalancerMayDoWithoutNodePorts) {
  json lb = Create("lb", {{"type", "LoadBalancer"},
                          {"allocateLoadBalancerNodePorts", false}});
  EXPECT_FALSE(lb["spec"]["ports"][0].contains("nodePort"));
  json local = Create("local", {{"type", "LoadBalancer"},
                                {"externalTrafficPolicy", "Local"}});
  int health = local["spec"]["healthCheckNodePort"];
  EXPECT_GE(health, 30000);
  EXPECT_NE(health, local["spec"]["ports"][0]["nodePort"]);
}

TEST_F(AllocatorTest, SingleStackClusterRefusesASecondFamily) {
  json spec = {{"ipFamilyPolicy", "RequireDualStack"}};
  EXPECT_THAT(CreateError("a", spec),
              HasSubstr("not configured for dual-stack"));
  EXPECT_THAT(CreateError("b", {{"ipFamilies", {"IPv6"}}}),
              HasSubstr("not configured on this cluster"));
  EXPECT_THAT(CreateError("c", {{"clusterIP", "fd00::1"}}),
              HasSubstr("IPv6 is not configured on this cluster"));
  json prefer = Create("d", {{"ipFamilyPolicy", "PreferDualStack"}});
  EXPECT_EQ(prefer["spec"]["ipFamilies"], json({"IPv4"}));
}

TEST_F(AllocatorTest, DualStackFollowsTheAskedOrder) {
  Make({"10.96.0.0/24", "fd00:10:96::/112"});
  json v6_first = Create("a", {{"ipFamilyPolicy", "RequireDualStack"},
                               {"ipFamilies", {"IPv6"}}});
  EXPECT_EQ(v6_first["spec"]["ipFamilies"], json({"IPv6", "IPv4"}));
  EXPECT_THAT(v6_first["spec"]["clusterIPs"][0].get<std::string>(),
              HasSubstr("fd00:10:96::"));
  EXPECT_THAT(v6_first["spec"]["clusterIPs"][1].get<std::string>(),
              HasSubstr("10.96.0."));
  json one = Create("b");
  EXPECT_EQ(one["spec"]["ipFamilies"], json({"IPv4"}));
}

TEST(MakeServiceAllocator, RefusesRangesThatCannotWork) {
  ServiceAllocatorOptions options;
  EXPECT_FALSE(MakeServiceAllocator(options).ok());
  options.service_cidrs = {*IpPrefix::Parse("10.0.0.0/24"),
                           *IpPrefix::Parse("10.1.0.0/24")};
  EXPECT_FALSE(MakeServiceAllocator(options).ok());
  options.service_cidrs = {*IpPrefix::Parse("10.0.0.0/31")};
  EXPECT_FALSE(MakeServiceAllocator(options).ok());
  options.service_cidrs = {*IpPrefix::Parse("10.0.0.0/24")};
  EXPECT_TRUE(MakeServiceAllocator(options).ok());
  options.node_port_first = 2;
  options.node_port_last = 1;
  EXPECT_FALSE(MakeServiceAllocator(options).ok());
}

}  // namespace
}  // namespace fairlead::api
