// SPDX-License-Identifier: Apache-2.0
// A real agent process: connections balanced, restarts, an API server that is
// gone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <map>
#include <string>

#include "tests/netns/agent_fixture.h"

namespace fairlead::harness {
namespace {

using ::testing::HasSubstr;

TEST_F(AgentTest, BalancesAndFollowsChanges) {
  PutService("web", kVip);
  PutEndpoints("web", {1, 2, 3});
  StartAgent();
  WaitHealthy();
  std::map<std::string, int> answers = Connect(120);
  EXPECT_EQ(answers.size(), 3u) << Log();
  for (const auto& [who, count] : answers) {
    EXPECT_THAT(who, HasSubstr("10.244.0."));
    EXPECT_GT(count, 15) << who;
  }
  PutEndpoints("web", {2});
  ASSERT_TRUE(Eventually([&] { return Connect(20).size() == 1; }));
  EXPECT_EQ(Connect(), "10.244.0.2");
  PutEndpoints("web", {});
  ASSERT_TRUE(Eventually([&] { return Connect() == "ECONNREFUSED"; }));
  api_->Delete("services", "web");
  ASSERT_TRUE(Eventually([&] { return Metric("fl_frontends") == 0; }));
  PutService("other", "10.96.0.11");
  PutEndpoints("other", {1});
  ASSERT_TRUE(Eventually([&] { return Connect("10.96.0.11") == "10.244.0.1"; }))
      << Log();
}

TEST_F(AgentTest, ARestartWithNothingChangedWritesNothing) {
  PutService("web", kVip);
  PutEndpoints("web", {1, 2});
  StartAgent();
  WaitHealthy();
  EXPECT_GT(Metric("fl_kernel_operations_total"), 0);
  ASSERT_EQ(StopAgent(SIGKILL), -SIGKILL);
  EXPECT_EQ(Connect(40).size(), 2u);  // without an agent
  StartAgent();
  WaitHealthy();
  EXPECT_EQ(Metric("fl_kernel_operations_total"), 0) << Log();
  EXPECT_EQ(Metric("fl_frontends"), 1);
  EXPECT_EQ(Connect(40).size(), 2u);
  // What happened meanwhile is made up for.
  ASSERT_EQ(StopAgent(SIGKILL), -SIGKILL);
  PutEndpoints("web", {3});
  StartAgent();
  WaitHealthy();
  EXPECT_EQ(Connect(), "10.244.0.3");
}

TEST_F(AgentTest, ForwardsWithoutAnApiServer) {
  PutService("web", kVip);
  PutEndpoints("web", {1});
  StartAgent();
  WaitHealthy();
  EXPECT_EQ(Connect(), "10.244.0.1");
  api_->Stop();
  ASSERT_TRUE(Eventually([&] {
    return Get(10256, "/healthz").find("\"connected\":false") !=
           std::string::npos;
  }));
  EXPECT_THAT(Get(10256, "/healthz"), HasSubstr("200 OK"));
  EXPECT_EQ(Connect(), "10.244.0.1");
  // An agent that starts now keeps what it finds.
  ASSERT_EQ(StopAgent(SIGKILL), -SIGKILL);
  StartAgent();
  EXPECT_THAT(Get(10256, "/healthz"), HasSubstr("503 Service Unavailable"));
  EXPECT_EQ(Connect(), "10.244.0.1");
  PutEndpoints("web", {2});
  ASSERT_OK(api_->Start());
  ASSERT_TRUE(Eventually([&] { return Connect() == "10.244.0.2"; })) << Log();
}

TEST_F(AgentTest, ABadObjectIsReportedAndTheOthersGoOn) {
  PutService("web", kVip);
  PutEndpoints("web", {1});
  StartAgent();
  WaitHealthy();
  PutService("web", "10.96.0.300");  // keeps its last good state
  PutService("other", "10.96.0.11");
  PutEndpoints("other", {2});
  ASSERT_TRUE(Eventually([&] { return Connect("10.96.0.11") == "10.244.0.2"; }))
      << Log();
  EXPECT_EQ(Connect(), "10.244.0.1");
  EXPECT_EQ(Metric("fl_problems_total"), 1);
  ASSERT_TRUE(Eventually([&] { return !api_->Created().empty(); }));
  EXPECT_THAT(api_->Created()[0], HasSubstr("BadService"));
  EXPECT_THAT(api_->Created()[0], HasSubstr("\"web\""));
}

TEST_F(AgentTest, DevicesComeAndGo) {
  StartAgent();
  WaitHealthy();
  double before = Metric("fl_devices_attached");
  ASSERT_GE(before, 1);  // br0
  ASSERT_OK(netns_->Command("ip link add veth-a type veth peer name veth-b")
                .status());
  EXPECT_TRUE(
      Eventually([&] { return Metric("fl_devices_attached") == before + 2; }))
      << Log();
  ASSERT_OK(netns_->Command("ip link del veth-a").status());
  EXPECT_TRUE(
      Eventually([&] { return Metric("fl_devices_attached") == before; }))
      << Log();
}

TEST_F(AgentTest, MissingThingsAreSaidOnce) {
  EXPECT_EQ(RunAgent({"--server", StubApi::url(), "--cgroup-root", "/etc"}), 1);
  EXPECT_THAT(Log(), HasSubstr("cgroup"));
  EXPECT_EQ(RunAgent({"--no-such-flag"}), 2);
}

TEST_F(AgentTest, TheAdminSocketIsPrivate) {
  StartAgent();
  struct stat info = {};
  ASSERT_TRUE(Eventually([&] {
    return stat((dir_->path() + "/agent.sock").c_str(), &info) == 0;
  })) << Log();
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

}  // namespace
}  // namespace fairlead::harness
