// SPDX-License-Identifier: Apache-2.0
// Thresholds, pressure and who has to go; variables of Services.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "userspace/kubelet/admission.h"
#include "userspace/kubelet/network/host_ports.h"
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

PodSpec SpecOf(const char* spec) {
  return *DecodePod({{"metadata",
                      {{"namespace", "default"}, {"name", "p"}, {"uid", "u"}}},
                     {"spec", Json::parse(spec)}});
}

TEST(AdmissionTest, UnderPressure) {
  constexpr char kBare[] = R"({"containers": [{"name": "c"}]})";
  constexpr char kAsks[] = R"({"containers": [{"name": "c", "resources":
      {"requests": {"memory": "1Mi"}}}]})";
  constexpr char kTolerates[] = R"({"containers": [{"name": "c"}],
      "tolerations": [{"key": "node.kubernetes.io/memory-pressure",
                       "operator": "Exists", "effect": "NoSchedule"}]})";
  constexpr char kCritical[] =
      R"({"priority": 2000000000, "containers": [{"name": "c"}]})";
  const auto message = [](const char* pod, const Shortages& shortages) {
    const auto refusal = RefusalOf(
        SpecOf(pod),
        {.max_pods = 10, .host_ports = {}, .shortages = shortages});
    if (!refusal) return std::string();
    EXPECT_EQ(refusal->reason, "Evicted");
    return refusal->message;
  };
  const Shortages memory{.memory = true}, disk{.disk = true};
  EXPECT_EQ(message(kBare, {}), "");
  EXPECT_EQ(message(kBare, memory),
            "Pod was rejected: The node had condition: [MemoryPressure]. ");
  for (const char* pod : {kAsks, kTolerates, kCritical})
    EXPECT_EQ(message(pod, memory), "") << pod;
  for (const char* pod : {kBare, kAsks, kTolerates}) {
    EXPECT_EQ(message(pod, disk),
              "Pod was rejected: The node had condition: [DiskPressure]. ")
        << pod;
  }
  EXPECT_EQ(message(kCritical, disk), "");
  EXPECT_EQ(message(kAsks, {.memory = true, .pids = true}),
            "Pod was rejected: The node had condition: [MemoryPressure "
            "PIDPressure]. ");
}

TEST(AllocatableTest, WithoutWhatIsReservedAndKeptFree) {
  Options options;
  options.eviction_hard =
      *ParseThresholds("memory.available<100Mi,nodefs.available<10%");
  options.reserved = *ParseReserved("cpu=100m,memory=24Mi");
  const Machine machine{
      .cpus = 2, .memory_bytes = 1024u << 20, .disk_bytes = 1000u << 20};
  const Json status = BuildNodeStatus(options, machine, "", Json(),
                                      absl::FromUnixSeconds(1));
  EXPECT_EQ(status["capacity"],
            Json::parse(R"({"cpu": "2", "memory": "1048576Ki",
                            "ephemeral-storage": "1024000Ki",
                            "pods": "110"})"));
  EXPECT_EQ(status["allocatable"],
            Json::parse(R"({"cpu": "1900m", "memory": "921600Ki",
                            "ephemeral-storage": "921600Ki",
                            "pods": "110"})"));
  options.reserved = *ParseReserved("memory=4Gi");
  EXPECT_EQ(AllocatableOf(options, machine)["memory"].sign(), 0)
      << "less than nothing is nothing";
  for (const char* bad : {"cpu", "cpu=", "pods=3", "memory=-1", "cpu=much"}) {
    EXPECT_THAT(ParseReserved(bad).status().message(),
                HasSubstr(absl::StrCat("\"", bad, "\" is no reserve")))
        << bad;
  }
}

TEST(HostPortRulesTest, OneLineAFamilyAndNothingWithoutPorts) {
  const std::string none = FormatHostPorts({});
  EXPECT_EQ(none, "table inet fairlead-hostports\n"
                  "delete table inet fairlead-hostports\n");
  const auto ports = SpecOf(R"({"containers": [{"name": "c", "ports": [
      {"hostPort": 80, "containerPort": 8080},
      {"hostPort": 53, "containerPort": 5353, "protocol": "UDP",
       "hostIP": "192.0.2.1"}]}]})").host_ports;
  const std::string rules = FormatHostPorts(
      {{ports, {*IpAddress::Parse("10.0.0.2"), *IpAddress::Parse("fd00::2")}},
       {{}, {*IpAddress::Parse("10.0.0.3")}}});
  EXPECT_THAT(rules, testing::StartsWith(none));
  EXPECT_THAT(rules, HasSubstr(
      "    meta nfproto ipv4 tcp dport 80 dnat ip to 10.0.0.2:8080\n"
      "    meta nfproto ipv6 tcp dport 80 dnat ip6 to [fd00::2]:8080\n"
      "    ip daddr 192.0.2.1 udp dport 53 dnat ip to 10.0.0.2:5353\n  }\n"));
  EXPECT_THAT(rules, testing::Not(HasSubstr("10.0.0.3")));
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
