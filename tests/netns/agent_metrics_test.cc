// SPDX-License-Identifier: Apache-2.0
// The values of kube-proxy's metrics, beside what really happened.
#include <gmock/gmock.h>

#include "absl/time/clock.h"
#include "tests/netns/agent_fixture.h"

namespace fairlead::harness {
namespace {

constexpr char kLatency[] = "kubeproxy_network_programming_duration_seconds";
constexpr char kSync[] = "kubeproxy_sync_proxy_rules_";

class AgentMetricsTest : public AgentTest {
 protected:
  double Of(const std::string& name, const std::string& more = "") {
    return Metric(StrCat(name, "{ip_family=\"IPv4\"", more, "}"));
  }
  double Bucket(const std::string& le) {
    return Of(StrCat(kLatency, "_bucket"), StrCat(",le=\"", le, "\""));
  }

  // A slice whose endpoint changed so long ago, as its annotation has it.
  void PutChanged(int number, absl::Duration ago) {
    const std::string when = absl::FormatTime(
        "%Y-%m-%dT%H:%M:%E3SZ", absl::Now() - ago, absl::UTCTimeZone());
    api_->Put("endpointslices", "web-1",
              StrCat(R"("kubernetes.io/service-name":"web"},"annotations":{)"
                     R"("endpoints.kubernetes.io/last-change-trigger-time":")",
                     when, "\""),
              StrCat(R"("addressType":"IPv4","ports":[{"name":"http",)"
                     R"("port":8080}],"endpoints":[{"addresses":["10.244.0.)",
                     number, "\"]}]"));
    ASSERT_TRUE(Eventually(
        [&] { return Connect() == StrCat("10.244.0.", number); }))
        << Log();
  }
};

// Of each change from when it was made, not from when it was heard of; what was
// made before the agent began says nothing of the agent.
TEST_F(AgentMetricsTest, ProgrammingLatencyIsCountedFromTheChange) {
  PutService("web", kVip);
  PutEndpoints("web", {1});
  StartAgent();
  WaitHealthy();
  const absl::Time began = absl::Now();
  PutChanged(2, absl::Seconds(3600));
  EXPECT_EQ(Of(StrCat(kLatency, "_count")), 0);
  absl::SleepFor(absl::Seconds(2));
  PutChanged(3, absl::Milliseconds(1500));
  EXPECT_EQ(Of(StrCat(kLatency, "_count")), 1);
  const double took = Of(StrCat(kLatency, "_sum"));
  EXPECT_GE(took, 1.5);
  EXPECT_LE(took, absl::ToDoubleSeconds(absl::Now() - began));
  EXPECT_EQ(Bucket("1"), 0);
  EXPECT_EQ(Bucket("300"), 1);
  PutChanged(1, absl::ZeroDuration());
  EXPECT_EQ(Of(StrCat(kLatency, "_count")), 2);
  EXPECT_EQ(Bucket("0.25") + Bucket("0.5"), 2);  // the last, in both
}

TEST_F(AgentMetricsTest, SyncsAndChangesAreThoseThatWere) {
  const absl::Time before = absl::Now();
  PutService("web", kVip);
  PutEndpoints("web", {1});
  StartAgent();
  WaitHealthy();
  const double full = Of(StrCat(kSync, "duration_seconds_count"));
  EXPECT_EQ(full, Of("kubeproxy_sync_full_proxy_rules_duration_seconds_count") +
                      Of("kubeproxy_sync_partial_proxy_rules_duration_seconds"
                         "_count"));
  PutEndpoints("web", {2});
  ASSERT_TRUE(Eventually([&] { return Connect() == "10.244.0.2"; }));
  EXPECT_EQ(Of(StrCat(kSync, "duration_seconds_count")), full + 1);
  EXPECT_EQ(Of(StrCat(kSync, "endpoint_changes_total")), 2);
  EXPECT_EQ(Of(StrCat(kSync, "service_changes_total")), 1);
  const double now = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
  const double began = absl::ToDoubleSeconds(before - absl::UnixEpoch());
  for (const char* name : {"last_timestamp_seconds",
                           "last_queued_timestamp_seconds"}) {
    const double when = Of(StrCat(kSync, name));
    EXPECT_GE(when, began) << name;
    EXPECT_LE(when, now) << name;
  }
  EXPECT_LE(Of(StrCat(kSync, "last_queued_timestamp_seconds")),
            Of(StrCat(kSync, "last_timestamp_seconds")));
  // Those of before, and two more.
  const double answers = Metric("kubeproxy_proxy_healthz_total{code=\"200\"}");
  (void)Get(10256, "/healthz");
  (void)Get(10256, "/healthz");
  EXPECT_EQ(Metric("kubeproxy_proxy_healthz_total{code=\"200\"}"), answers + 2);
}

TEST_F(AgentMetricsTest, PortsWithoutALocalEndpointAreCountedByPolicy) {
  const std::string ports = R"("ports":[{"name":"http","port":80,)"
                            R"("nodePort":30080}]})";
  auto put = [&](const std::string& name, const std::string& policies) {
    api_->Put("services", name, "",
              StrCat(R"("spec":{"type":"NodePort","clusterIPs":[")", kVip,
                     "\"],", policies, ports));
  };
  put("web", R"("internalTrafficPolicy":"Local",)"
             R"("externalTrafficPolicy":"Local",)");
  PutEndpoints("web", {1}, R"(,"nodeName":"elsewhere")");
  StartAgent();
  WaitHealthy();
  const std::string name = StrCat(kSync, "no_local_endpoints_total");
  EXPECT_EQ(Of(name, ",traffic_policy=\"internal\""), 1);
  EXPECT_EQ(Of(name, ",traffic_policy=\"external\""), 1);
  put("web", R"("internalTrafficPolicy":"Cluster",)"
             R"("externalTrafficPolicy":"Local",)");
  EXPECT_TRUE(Eventually(
      [&] { return Of(name, ",traffic_policy=\"internal\"") == 0; }));
  EXPECT_EQ(Of(name, ",traffic_policy=\"external\""), 1);
  PutEndpoints("web", {1}, R"(,"nodeName":"n1")");
  EXPECT_TRUE(Eventually(
      [&] { return Of(name, ",traffic_policy=\"external\"") == 0; }));
}

}  // namespace
}  // namespace fairlead::harness
