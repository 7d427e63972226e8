// SPDX-License-Identifier: Apache-2.0
// A real agent's health: the health-check NodePort of a load balancer, the
// event when its port is taken, and a node that is about to go.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/netns/agent_fixture.h"

namespace fairlead::harness {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kNodeIp[] = "192.0.2.1";
constexpr char kHere[] = R"(,"nodeName":"n1")";
constexpr char kElsewhere[] = R"(,"nodeName":"n2")";

class AgentHealthTest : public AgentTest {
 protected:
  void PutLoadBalancer(int port) {
    api_->Put("services", "web", "",
              StrCat(R"("spec":{"type":"LoadBalancer","clusterIPs":[")", kVip,
                     R"("],"externalTrafficPolicy":"Local",)",
                     R"("healthCheckNodePort":)", port,
                     R"(,"ports":[{"name":"http","port":80,"nodePort":31080}]})"
                     ));
  }

  bool Answers(int port, const std::string& status) {
    return Eventually([&] {
      return Get(port, "/", kNodeIp).find(status) != std::string::npos;
    });
  }

  static Json Body(const std::string& answer) {
    size_t at = answer.find("\r\n\r\n");
    return at == answer.npos
               ? Json()
               : Json::parse(answer.substr(at), nullptr, false);
  }
};

TEST_F(AgentHealthTest, HealthCheckNodePortCountsWhatIsHere) {
  PutLoadBalancer(31000);
  PutEndpoints("web", {1, 2}, kHere);
  StartAgent();
  WaitHealthy();
  ASSERT_TRUE(Answers(31000, "200 OK")) << Log();
  std::string answer = Get(31000, "/some/path", kNodeIp);
  EXPECT_THAT(answer, HasSubstr("X-Load-Balancing-Endpoint-Weight: 2\r\n"));
  Json want = {{"service", {{"namespace", "default"}, {"name", "web"}}},
               {"localEndpoints", 2},
               {"serviceProxyHealthy", true}};
  EXPECT_EQ(Body(answer), want);
  // Not on an address that takes no NodePorts.
  EXPECT_EQ(Get(31000, "/"), "");
  PutEndpoints("web", {1, 2}, kElsewhere);
  EXPECT_TRUE(Answers(31000, "503")) << Log();
  // Terminating endpoints may still be served, but don't count.
  PutEndpoints("web", {1},
               StrCat(kHere, R"(,"conditions":{"ready":false,)"
                             R"("serving":true,"terminating":true})"));
  PutEndpoints("web", {2}, kHere);
  EXPECT_TRUE(Answers(31000, "200 OK"));
  EXPECT_EQ(Body(Get(31000, "/", kNodeIp))["localEndpoints"], 1);
  // Another port, then none.
  PutLoadBalancer(31001);
  EXPECT_TRUE(Answers(31001, "200 OK"));
  EXPECT_EQ(Get(31000, "/", kNodeIp), "");
  api_->Delete("services", "web");
  EXPECT_TRUE(Eventually([&] { return Get(31001, "/", kNodeIp).empty(); }));
}

// A rollout goes on when a node is healthy: its tables are there by then.
TEST_F(AgentHealthTest, WhoIsHealthyHasAppliedWhatWasListed) {
  constexpr int kServices = 2000;
  for (int i = 0; i < kServices; ++i) {
    PutService(StrCat("s", i), StrCat("10.96.", 1 + i / 250, ".", 1 + i % 250));
  }
  for (int round = 0; round < 5; ++round) {
    StartAgent();
    const size_t start = Log().rfind("msg=\"starting\"");
    // Asked by many without a pause: there is little time between the list and
    // the tables.
    const absl::Time limit = absl::Now() + absl::Seconds(30);
    std::atomic<bool> healthy = false;
    std::atomic<int> too_early = 0;
    std::vector<std::thread> clients;
    for (int i = 0; i < 8; ++i) {
      clients.emplace_back([&] {
        while (!healthy && absl::Now() < limit) {
          if (Get(10256, "/healthz").find("200 OK") == std::string::npos) {
            continue;
          }
          too_early += Log().find("first sync", start) == std::string::npos;
          healthy = true;
        }
      });
    }
    for (std::thread& client : clients) client.join();
    EXPECT_TRUE(healthy);
    EXPECT_EQ(too_early, 0) << Log();
    EXPECT_EQ(StopAgent(SIGTERM), 0);
  }
}

TEST_F(AgentHealthTest, ATakenPortIsToldInAnEventAndTriedAgain) {
  UniqueFd holder;
  ASSERT_OK(netns_->Run([&]() -> absl::Status {
    holder.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = V4(kNodeIp, 31000);
    if (bind(holder.get(), reinterpret_cast<sockaddr*>(&address),
             sizeof address) < 0 ||
        listen(holder.get(), 1) < 0) {
      return ErrnoStatus(errno, "listen", kNodeIp);
    }
    return absl::OkStatus();
  }));
  PutLoadBalancer(31000);
  PutEndpoints("web", {1}, kHere);
  StartAgent();
  WaitHealthy();
  ASSERT_TRUE(Eventually([&] { return !Told().empty(); })) << Log();
  Json event = Json::parse(Told()[0]);
  EXPECT_EQ(event["reason"], "FailedToStartServiceHealthcheck");
  EXPECT_EQ(event["type"], "Warning");
  EXPECT_EQ(event["regarding"]["kind"], "Service");
  EXPECT_EQ(event["regarding"]["name"], "web");
  EXPECT_EQ(event["regarding"]["uid"], "u-web");
  EXPECT_THAT(event["note"].get<std::string>(), HasSubstr("31000"));
  EXPECT_EQ(Metric("fl_health_check_listeners_missing"), 1);
  EXPECT_EQ(Connect(), "10.244.0.1");
  holder.reset();
  EXPECT_TRUE(Answers(31000, "200 OK")) << Log();
  EXPECT_EQ(Told().size(), 1u);
}

TEST_F(AgentHealthTest, ANodeThatIsGoingGetsNoNewTraffic) {
  auto put_node = [&](const std::string& labels, const std::string& spec) {
    api_->Put("nodes", "n1", labels, StrCat(R"("spec":{)", spec, "}"));
  };
  auto healthz = [&](const std::string& status) {
    return Eventually([&] {
      return Get(10256, "/healthz").find(status) != std::string::npos;
    });
  };
  put_node("", "");
  PutService("web", kVip);
  PutEndpoints("web", {1});
  StartAgent();
  WaitHealthy();
  Json body = Body(Get(10256, "/healthz"));
  EXPECT_EQ(body["nodeEligible"], true);
  EXPECT_EQ(body["healthy"], true);
  EXPECT_TRUE(body.contains("lastUpdated"));
  EXPECT_EQ(body["status"].size(), 2u);
  put_node("", R"("taints":[{"key":"ToBeDeletedByClusterAutoscaler",)"
               R"("effect":"NoSchedule"}])");
  EXPECT_TRUE(healthz("503 Service Unavailable")) << Log();
  EXPECT_EQ(Body(Get(10256, "/healthz"))["nodeEligible"], false);
  EXPECT_EQ(Body(Get(10256, "/healthz"))["healthy"], true);
  EXPECT_THAT(Get(10256, "/livez"), HasSubstr("200 OK"));
  put_node("", "");
  EXPECT_TRUE(healthz("200 OK"));
  put_node(R"(},"deletionTimestamp":"2026-01-01T00:00:00Z","annotations":{)",
           "");
  EXPECT_TRUE(healthz("503 Service Unavailable"));
  EXPECT_THAT(Get(10256, "/livez"), HasSubstr("200 OK"));
  EXPECT_EQ(Connect(), "10.244.0.1");
  EXPECT_GE(Metric("kubeproxy_proxy_healthz_total{code=\"503\"}"), 3);
  EXPECT_GE(Metric("kubeproxy_proxy_livez_total{code=\"200\"}"), 2);
}

}  // namespace
}  // namespace fairlead::harness
