// SPDX-License-Identifier: Apache-2.0
// Probes of every kind against a pod's own servers: gRPC, HTTPS; startup
// probes and what waits for them.
#include "absl/time/clock.h"
#include "tests/netns/kubelet_fixture.h"

namespace fairlead {
namespace {

class KubeletProbesTest : public KubeletTest {
 protected:
  // A server that is well until the file "broken" is there.
  Json HealthPod(const std::string& name, const Json& extra) const {
    return Pod(name,
               {"/bin/sh", "-c",
                StrCat("exec fairlead-health --grpc 9000 --https 8443 --fail ",
                       Path("broken"), " > ", Path("asked"))},
               extra);
  }
  static Json Every(Json probe, int seconds = 1) {
    probe["periodSeconds"] = seconds;
    probe["failureThreshold"] = 1;
    return probe;
  }
  void Break() { std::ofstream(Path("broken")) << "x"; }
  void Mend() { fs::remove(Path("broken")); }
};

TEST_F(KubeletProbesTest, GrpcReadiness) {
  StartKubelet();
  Create(HealthPod(
      "web", {{"readinessProbe",
               Every({{"grpc", {{"port", 9000}, {"service", "web"}}}})}}));
  Create(HealthPod(
      "typo", {{"readinessProbe",
                Every({{"grpc", {{"port", 9000}, {"service", "wbe"}}}})}}));
  ASSERT_TRUE(AwaitReady("web"));
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("typo", "Unhealthy",
                    "Readiness probe failed: error: health rpc probe failed: "
                    "rpc error: code = NotFound desc = ");
  }));
  EXPECT_EQ(Condition(Get("typo"), "Ready"), "False");
  Break();
  EXPECT_TRUE(AwaitReady("web", false));
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("web", "Unhealthy",
                    "Readiness probe failed: service unhealthy (responded "
                    "with \"NOT_SERVING\")");
  }));
  Mend();
  EXPECT_TRUE(AwaitReady("web"));
  EXPECT_EQ(Container(Get("web"))["restartCount"], 0);
}

TEST_F(KubeletProbesTest, GrpcLivenessAndStartup) {
  StartKubelet();
  const Json probe = Every({{"grpc", {{"port", 9000}}}});
  Json startup = probe;
  startup["failureThreshold"] = 30;
  Create(HealthPod("live",
                   {{"livenessProbe", probe}, {"startupProbe", startup}}));
  ASSERT_TRUE(AwaitReady("live"));
  EXPECT_EQ(Container(Get("live"))["started"], true);
  Break();
  ASSERT_TRUE(Eventually([&] {
    return HasEvent("live", "Killing",
                    "Container c failed liveness probe, will be restarted");
  }));
  // It isn't started, and so not ready, while the startup probe fails.
  ASSERT_TRUE(Await("live", [](const Json& p) {
    return Container(p).value("restartCount", 0) == 1 &&
           Container(p)["started"] == false;
  }));
  Mend();
  EXPECT_TRUE(AwaitReady("live"));
}

TEST_F(KubeletProbesTest, HttpsReadinessAndHook) {
  StartKubelet();
  const Json get = {{"httpGet",
                     {{"path", "/well"}, {"port", 8443}, {"scheme", "HTTPS"}}}};
  Json hook = get;
  hook["httpGet"]["path"] = "/hook";
  Json pod = HealthPod("web", {{"readinessProbe", Every(get)},
                               {"lifecycle", {{"preStop", hook}}}});
  Create(pod);
  ASSERT_TRUE(AwaitReady("web"));
  EXPECT_THAT(ReadText(Path("asked")), HasSubstr("GET /well HTTP/1.1"));
  Break();
  EXPECT_TRUE(AwaitReady("web", false));
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("web", "Unhealthy",
                    "Readiness probe failed: HTTP probe failed with "
                    "statuscode: 503");
  }));
  // To a hook any answer will do.
  Delete("web");
  ASSERT_TRUE(Eventually([&] { return !Exists("web"); }));
  EXPECT_THAT(ReadText(Path("asked")), HasSubstr("GET /hook HTTP/1.1"));
  EXPECT_FALSE(HasEvent("web", "FailedPreStopHook", ""));
}

TEST_F(KubeletProbesTest, AFailedStartupProbeRestarts) {
  StartKubelet();
  const Json fails = Every({{"exec", {{"command", {"/bin/false"}}}}});
  // The other probes wait for it: that they fail is not heard of.
  Json pod = Pod("slow", {"/bin/sleep", "1000"},
                 {{"startupProbe", fails},
                  {"livenessProbe", fails},
                  {"readinessProbe", fails}});
  pod["spec"]["containers"][0]["startupProbe"]["failureThreshold"] = 2;
  pod["spec"]["containers"][0]["startupProbe"]
     ["terminationGracePeriodSeconds"] = 0;
  Create(pod);
  ASSERT_TRUE(Await("slow", [](const Json& p) {
    return Container(p).value("restartCount", 0) >= 1;
  })) << "the probe's own grace is shorter than the pod's 20 s";
  EXPECT_TRUE(HasEvent("slow", "Killing",
                       "Container c failed startup probe, will be restarted"));
  EXPECT_TRUE(HasEvent("slow", "Unhealthy", "Startup probe failed: "));
  EXPECT_FALSE(HasEvent("slow", "Unhealthy", "Liveness probe failed: "));
  EXPECT_FALSE(HasEvent("slow", "Unhealthy", "Readiness probe failed: "));
}

TEST_F(KubeletProbesTest, OthersWaitForTheStartupProbe) {
  StartKubelet();
  Json startup = Every(
      {{"exec", {{"command", {"/bin/sh", "-c", "test -e " + Path("up")}}}}});
  startup["failureThreshold"] = 100;
  const auto leaves = [&](const std::string& name) -> Json {
    return Every({{"exec",
                   {{"command",
                     {"/bin/sh", "-c", "echo x >> " + Path(name)}}}}});
  };
  Create(Pod("web", {"/bin/sleep", "1000"},
             {{"startupProbe", startup},
              {"livenessProbe", leaves("lived")},
              {"readinessProbe", leaves("read")}}));
  ASSERT_TRUE(Eventually([&] {
    return HasEvent("web", "Unhealthy", "Startup probe failed: ");
  }));
  absl::SleepFor(absl::Milliseconds(1500));
  EXPECT_FALSE(fs::exists(Path("lived")));
  EXPECT_FALSE(fs::exists(Path("read")));
  EXPECT_EQ(Condition(Get("web"), "Ready"), "False");
  std::ofstream(Path("up")) << "x";
  EXPECT_TRUE(AwaitReady("web"));
  EXPECT_TRUE(fs::exists(Path("read")));
  EXPECT_TRUE(Eventually([&] { return fs::exists(Path("lived")); }));
}

}  // namespace
}  // namespace fairlead
