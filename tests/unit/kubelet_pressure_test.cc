// SPDX-License-Identifier: Apache-2.0
// Thresholds, pressure and who has to go; variables of Services.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "userspace/kubelet/service_env.h"
#include "userspace/kubelet/stats/pressure.h"

namespace fairlead::kubelet {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using Json = nlohmann::json;

TEST(ThresholdTest, AmountsAndPercentages) {
  const auto good =
      ParseThresholds("memory.available<100Mi,nodefs.available<12.5%");
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ((*good)[0].amount, 100 << 20);
  EXPECT_EQ((*good)[1].part, 0.125);
  EXPECT_THAT(*ParseThresholds(""), IsEmpty());
  for (const char* bad :
       {"memory.available", "memory.available<", "memory.available<lots",
        "cpu.available<1", "nodefs.available<101%", "pid.available<-5"}) {
    EXPECT_THAT(ParseThresholds(bad).status().message(),
                HasSubstr(absl::StrCat("\"", bad, "\" is no threshold")))
        << bad;
  }
}

TEST(PressureTest, StaysForTheTransitionPeriod) {
  const absl::Time begin = absl::FromUnixSeconds(1'700'000'000);
  Pressure pressure(*ParseThresholds("memory.available<10%,pid.available<5"),
                    absl::Minutes(5));
  const auto look = [&](int minute, int64_t memory) {
    pressure.Update({{"memory.available", {memory, 1000}},
                     {"pid.available", {5, 1000}}},
                    begin + absl::Minutes(minute));
  };
  look(0, 100);
  EXPECT_FALSE(pressure.Has("memory.available")) << "just enough";
  look(1, 99);
  EXPECT_TRUE(pressure.Has("memory.available"));
  ASSERT_NE(pressure.Unmet("memory.available"), nullptr);
  EXPECT_EQ(pressure.Unmet("memory.available")->text, "10%");
  look(2, 500);
  EXPECT_TRUE(pressure.Has("memory.available"));
  EXPECT_EQ(pressure.Unmet("memory.available"), nullptr)
      << "nobody has to go any more";
  look(6, 500);
  EXPECT_FALSE(pressure.Has("memory.available"));
  EXPECT_FALSE(pressure.Has("pid.available"));
}

TEST(EvictionTest, WhoUsesMoreThanItAskedForGoesFirst) {
  std::vector<EvictionCandidate> pods = {
      {.uid = "critical", .priority = 2'000'001'000, .request = 0,
       .usage = 900},
      {.uid = "modest", .priority = 0, .request = 800, .usage = 700},
      {.uid = "over", .priority = 0, .request = 100, .usage = 200},
      {.uid = "far-over", .priority = 0, .request = 100, .usage = 300},
      {.uid = "important", .priority = 10, .request = 0, .usage = 600}};
  std::vector<std::string> order;
  while (const EvictionCandidate* victim = ChooseVictim(pods)) {
    order.push_back(victim->uid);
    std::erase_if(pods, [&](const auto& p) { return p.uid == order.back(); });
  }
  EXPECT_THAT(order, testing::ElementsAre("far-over", "over", "important",
                                          "modest"));
}

TEST(ServiceVariablesTest, HostPortAndLinks) {
  const auto service = [](const char* text) {
    return std::make_shared<const Json>(Json::parse(text));
  };
  const auto variables = ServiceVariables(
      {service(R"({"metadata": {"name": "my-db"}, "spec": {
         "clusterIP": "10.0.0.7", "ports": [
           {"port": 5432, "name": "sql-main"},
           {"port": 53, "protocol": "UDP", "name": "dns"}]}})"),
       service(R"({"metadata": {"name": "six"}, "spec": {
         "clusterIP": "fd00::1", "ports": [{"port": 80}]}})"),
       service(R"({"metadata": {"name": "headless"}, "spec": {
         "clusterIP": "None", "ports": [{"port": 80}]}})")});
  EXPECT_THAT(
      variables,
      testing::ElementsAre(
          Pair("MY_DB_SERVICE_HOST", "10.0.0.7"),
          Pair("MY_DB_SERVICE_PORT", "5432"),
          Pair("MY_DB_SERVICE_PORT_SQL_MAIN", "5432"),
          Pair("MY_DB_SERVICE_PORT_DNS", "53"),
          Pair("MY_DB_PORT", "tcp://10.0.0.7:5432"),
          Pair("MY_DB_PORT_5432_TCP", "tcp://10.0.0.7:5432"),
          Pair("MY_DB_PORT_5432_TCP_PROTO", "tcp"),
          Pair("MY_DB_PORT_5432_TCP_PORT", "5432"),
          Pair("MY_DB_PORT_5432_TCP_ADDR", "10.0.0.7"),
          Pair("MY_DB_PORT_53_UDP", "udp://10.0.0.7:53"),
          Pair("MY_DB_PORT_53_UDP_PROTO", "udp"),
          Pair("MY_DB_PORT_53_UDP_PORT", "53"),
          Pair("MY_DB_PORT_53_UDP_ADDR", "10.0.0.7"),
          Pair("SIX_SERVICE_HOST", "fd00::1"), Pair("SIX_SERVICE_PORT", "80"),
          Pair("SIX_PORT", "tcp://[fd00::1]:80"),
          Pair("SIX_PORT_80_TCP", "tcp://[fd00::1]:80"),
          Pair("SIX_PORT_80_TCP_PROTO", "tcp"),
          Pair("SIX_PORT_80_TCP_PORT", "80"),
          Pair("SIX_PORT_80_TCP_ADDR", "fd00::1")));
}

}  // namespace
}  // namespace fairlead::kubelet
