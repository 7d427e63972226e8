// SPDX-License-Identifier: Apache-2.0
// A real agent process: connections balanced, restarts, an API server that is
// gone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <fstream>
#include <map>
#include <string>

#include "absl/strings/match.h"
#include "tests/netns/agent_fixture.h"
#include "tests/unit/kube_proxy_names.h"

namespace fairlead::harness {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

// One of the two lists that everything depends on can't be had: nothing is
// written, what an earlier run has left serves on, and it is said which.
struct Refused {
  const char* resource;
  int status;
};
class OneListFails : public AgentTest,
                     public ::testing::WithParamInterface<Refused> {
 protected:
  void ExpectNotReady() {
    ASSERT_TRUE(Eventually([&] {
      return absl::StrContains(Get(10256, "/healthz"), GetParam().resource);
    })) << Get(10256, "/healthz");
    const std::string healthz = Get(10256, "/healthz");
    EXPECT_THAT(healthz, HasSubstr("503 Service Unavailable"));
    EXPECT_THAT(healthz, HasSubstr("\"connected\":false"));
    EXPECT_THAT(healthz, HasSubstr(std::to_string(GetParam().status)));
    EXPECT_THAT(Get(10256, "/livez"), HasSubstr("200 OK"));
    // It is asked again, and the other list is there meanwhile.
    ASSERT_TRUE(Eventually([&] {
      return Metric(StrCat("fl_api_errors_total{resource=\"",
                           GetParam().resource, "\"}")) > 2;
    }));
    EXPECT_THAT(Get(10256, "/healthz"), HasSubstr("503 Service Unavailable"));
    EXPECT_EQ(Metric("fl_kernel_operations_total"), 0);
  }
};

INSTANTIATE_TEST_SUITE_P(
    All, OneListFails,
    ::testing::Values(Refused{"services", 500}, Refused{"services", 403},
                      Refused{"endpointslices", 500},
                      Refused{"endpointslices", 403}),
    [](const auto& info) {
      return StrCat(info.param.resource, info.param.status);
    });

TEST_P(OneListFails, ItIsNotReadyAndSaysWhy) {
  PutService("web", kVip);
  PutEndpoints("web", {1});
  api_->Refuse(GetParam().resource, GetParam().status);
  StartAgent();
  ASSERT_NO_FATAL_FAILURE(ExpectNotReady());
  EXPECT_NE(Connect(), "10.244.0.1");
  EXPECT_THAT(Log(), HasSubstr("not connected to the API server"));
  EXPECT_THAT(api_->Created(), IsEmpty());
  api_->Refuse(GetParam().resource, 0);
  WaitHealthy();
  EXPECT_EQ(Connect(), "10.244.0.1");
  EXPECT_TRUE(
      Eventually([&] { return Metric("fl_api_connected") == 1; }));

  // The same with something to keep.
  ASSERT_EQ(StopAgent(SIGKILL), -SIGKILL);
  PutEndpoints("web", {2});
  api_->Refuse(GetParam().resource, GetParam().status);
  StartAgent();
  ASSERT_NO_FATAL_FAILURE(ExpectNotReady());
  EXPECT_EQ(Connect(), "10.244.0.1");
  api_->Refuse(GetParam().resource, 0);
  WaitHealthy();
  EXPECT_EQ(Connect(), "10.244.0.2");
}

// kube-proxy's, where people look who describe the Node.
TEST_F(AgentTest, ItsStartIsAnEventOfTheNode) {
  for (int start = 1; start <= 2; ++start) {
    StartAgent();
    WaitHealthy();
    ASSERT_TRUE(
        Eventually([&] { return api_->Created().size() == size_t(start); }))
        << Log();
    const std::string event = api_->Created().back();
    EXPECT_THAT(event, HasSubstr(R"("apiVersion":"events.k8s.io/v1")"));
    EXPECT_THAT(event, HasSubstr(R"("reason":"Starting")"));
    EXPECT_THAT(event, HasSubstr(R"("action":"StartKubeProxy")"));
    EXPECT_THAT(event, HasSubstr(R"("type":"Normal")"));
    EXPECT_THAT(event, HasSubstr(R"("namespace":"default")"));
    EXPECT_THAT(event, HasSubstr(R"("kind":"Node","name":"n1","uid":"n1")"));
    EXPECT_THAT(event, HasSubstr(R"("reportingInstance":"n1")"));
    // A change is no start.
    PutService("web", kVip);
    PutEndpoints("web", {start});
    ASSERT_TRUE(Eventually([&] {
      return Connect() == StrCat("10.244.0.", start);
    }));
    EXPECT_EQ(api_->Created().size(), size_t(start));
    ASSERT_EQ(StopAgent(SIGTERM), 0);
  }
}

// No reset, no end: its packets are gone, as when a node loses its power. Some
// 30 s, which is what TCP is told to wait for.
TEST_F(AgentTest, AServerThatVanishesIsNoticed) {
  PutService("web", kVip);
  PutEndpoints("web", {1});
  StartAgent();
  WaitHealthy();
  ASSERT_EQ(Connect(), "10.244.0.1");
  ASSERT_OK(netns_->Command("nft 'add table ip gone; "
                            "add chain ip gone in {type filter hook input "
                            "priority 0;}; "
                            "add rule ip gone in tcp dport 8001 drop; "
                            "add rule ip gone in tcp sport 8001 drop'")
                .status());
  PutEndpoints("web", {2});  // an event that doesn't arrive
  ASSERT_TRUE(Eventually(
      [&] {
        return absl::StrContains(Get(10256, "/healthz"),
                                 "\"connected\":false");
      },
      absl::Seconds(120)))
      << Log();
  EXPECT_EQ(Connect(), "10.244.0.1");
  ASSERT_OK(netns_->Command("nft delete table ip gone").status());
  ASSERT_TRUE(Eventually([&] { return Connect() == "10.244.0.2"; },
                         absl::Seconds(120)))
      << Log();
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
  ASSERT_TRUE(Eventually([&] { return !Told().empty(); }));
  EXPECT_THAT(Told()[0], HasSubstr("BadService"));
  EXPECT_THAT(Told()[0], HasSubstr("\"web\""));
}

// As an installer for kube-proxy starts it: its file, its flags, its ports.
TEST_F(AgentTest, TakesKubeProxysFileAndFlags) {
  const std::string file = dir_->path() + "/config.yaml";
  std::ofstream(file) << R"(
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
nftables: {masqueradeBit: 21}
clusterCIDR: 10.244.0.0/16
conntrack: {maxPerCore: 32768}
)";
  PutService("web", kVip);
  PutEndpoints("web", {1});
  StartAgent({"--config", file, "--proxy-mode", "iptables",
              "--iptables-sync-period=30s", "--oom-score-adj", "100"});
  WaitHealthy();
  EXPECT_EQ(Connect(), "10.244.0.1");
  EXPECT_THAT(Log(), HasSubstr("conntrack.maxPerCore (Services' flows"));
  EXPECT_THAT(Log(), HasSubstr("iptables.syncPeriod (changes are applied"));
  EXPECT_THAT(Log(), HasSubstr(" cluster-cidr=10.244.0.0/16 "));
  EXPECT_THAT(Log(), HasSubstr(" masquerade-bit=21 "));
  std::ifstream score(StrCat("/proc/", agent_, "/oom_score_adj"));
  int value = 0;
  score >> value;
  EXPECT_EQ(value, 100);
  EXPECT_THAT(Get(10249, "/proxyMode"), HasSubstr("ebpf"));
  EXPECT_THAT(Get(10249, "/configz"), HasSubstr("\"masqueradeBit\":21"));
  EXPECT_THAT(Get(10249, "/flagz"), HasSubstr("\nmasquerade-bit=21\n"));
  EXPECT_THAT(Get(10249, "/statusz"), HasSubstr("\nUp: "));
  EXPECT_THAT(Get(10249, "/livez"), HasSubstr("\"healthy\":true"));
  EXPECT_THAT(Get(10249, "/debug/pprof/"), HasSubstr(" 404 "));
}

// All at once, as kube-proxy's own manifest may have them: it starts, and one
// warning names what means nothing here.
TEST_F(AgentTest, TakesEachFlagOfKubeProxy) {
  const std::string help = [&] {
    auto text = RunCommand(std::string(FAIRLEAD_BINARY_DIR) +
                           "/bin/fairlead-agent --help");
    return text.ok() ? *text : text.status().ToString();
  }();
  for (const char* flag : agent::kKubeProxyFlags) {
    EXPECT_THAT(help, HasSubstr(StrCat("--", flag, " "))) << flag;
  }
  for (const char* flag : {"config", "cleanup", "version", "help"}) {
    EXPECT_THAT(help, HasSubstr(StrCat("--", flag))) << flag;
  }
  StartAgent({"--log-text-split-stream", "--log-text-info-buffer-size=1Mi",
              "--log-json-split-stream", "--log-json-info-buffer-size", "1Mi",
              "--healthz-port=0", "--conntrack-min", "1"});
  const std::string log = Log();
  const size_t line = log.find("--log-text-split-stream");
  ASSERT_NE(line, log.npos) << log;
  const std::string warning = log.substr(line, log.find('\n', line) - line);
  for (const char* piece :
       {"--log-text-info-buffer-size", "--log-json-split-stream",
        "--log-json-info-buffer-size", "(all lines go to the standard error",
        "--healthz-port (--healthz-bind-address"}) {
    EXPECT_THAT(warning, HasSubstr(piece));
  }
}

TEST_F(AgentTest, RefusesABadKubeProxyFile) {
  const std::string file = dir_->path() + "/config.yaml";
  std::ofstream(file) << "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n"
                         "kind: KubeProxyConfiguration\n"
                         "clusterCidr: 10.244.0.0/16\n";
  EXPECT_EQ(RunAgent({"--config", file}), 2);
  EXPECT_THAT(Log(), HasSubstr(file + ": unknown key \"clusterCidr\": is "
                                      "\"clusterCIDR\" meant?"));
  EXPECT_EQ(RunAgent({"--config", file + ".not"}), 2);
  EXPECT_THAT(Log(), HasSubstr("config.yaml.not"));
}

// kube-proxy's names, for dashboards and alerts.
TEST_F(AgentTest, HasKubeProxysMetrics) {
  PutService("web", kVip);
  PutEndpoints("web", {1});
  StartAgent();
  WaitHealthy();
  ASSERT_EQ(Connect(), "10.244.0.1");
  PutEndpoints("web", {2});
  ASSERT_TRUE(Eventually([&] { return Connect() == "10.244.0.2"; }));
  (void)Get(10256, "/healthz");
  (void)Get(10256, "/livez");
  const std::string metrics = Get(10249, "/metrics");
  for (const char* name :
       {"sync_proxy_rules_duration_seconds",
        "sync_full_proxy_rules_duration_seconds",
        "sync_partial_proxy_rules_duration_seconds",
        "sync_proxy_rules_last_timestamp_seconds",
        "sync_proxy_rules_last_queued_timestamp_seconds",
        "network_programming_duration_seconds",
        "sync_proxy_rules_endpoint_changes_pending",
        "sync_proxy_rules_endpoint_changes_total",
        "sync_proxy_rules_service_changes_pending",
        "sync_proxy_rules_service_changes_total",
        "sync_proxy_rules_iptables_restore_failures_total",
        "sync_proxy_rules_iptables_partial_restore_failures_total",
        "sync_proxy_rules_iptables_total", "sync_proxy_rules_iptables_last",
        "sync_proxy_rules_nftables_sync_failures_total",
        "sync_proxy_rules_nftables_cleanup_failures_total",
        "proxy_healthz_total", "proxy_livez_total",
        "sync_proxy_rules_no_local_endpoints_total",
        "conntrack_reconciler_sync_duration_seconds",
        "conntrack_reconciler_deleted_entries_total",
        "iptables_ct_state_invalid_dropped_packets_total",
        "iptables_localhost_nodeports_accepted_packets_total"}) {
    EXPECT_THAT(metrics, HasSubstr(StrCat("# TYPE kubeproxy_", name, " ")));
  }
  auto of = [&](const std::string& name) {
    return Metric(StrCat("kubeproxy_sync_proxy_rules_", name,
                         "{ip_family=\"IPv4\"}"));
  };
  EXPECT_EQ(of("service_changes_total"), 1);
  EXPECT_EQ(of("endpoint_changes_total"), 2);
  EXPECT_EQ(of("endpoint_changes_pending"), 0);
  EXPECT_EQ(Metric("kubeproxy_sync_full_proxy_rules_duration_seconds_count"
                   "{ip_family=\"IPv4\"}"),
            1);
  EXPECT_GE(Metric("kubeproxy_sync_partial_proxy_rules_duration_seconds_count"
                   "{ip_family=\"IPv6\"}"),
            1);
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
