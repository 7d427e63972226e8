// SPDX-License-Identifier: Apache-2.0
// Sidecars, hooks, deadlines, last words, and what is used meanwhile.
#include "tests/netns/kubelet_fixture.h"

namespace fairlead {
namespace {


class KubeletLifecycleTest : public KubeletTest {
 protected:
  // A shell script that begins by adding its container's name to the file
  // "order", and NAME-end when it gets SIGTERM, which takes it a moment.
  Json Script(const std::string& name, const std::string& rest) const {
    return {"/bin/sh", "-c",
            StrCat("trap 'sleep 0.3; echo ", name, "-end >> ", Path("order"),
                   "; exit 0' TERM; echo ", name, " >> ", Path("order"), "; ",
                   rest)};
  }
  static Json Init(const std::string& name, const Json& command,
                   bool sidecar) {
    Json container = {
        {"name", name}, {"image", "host"}, {"command", command}};
    if (sidecar) container["restartPolicy"] = "Always";
    return container;
  }
  static constexpr char kForever[] = "while :; do sleep 0.1; done";
};

TEST_F(KubeletLifecycleTest, SidecarsStartFirstAndEndLast) {
  StartKubelet();
  Json pod = Pod("job", Script("app", StrCat("until test -e ", Path("go"),
                                             "; do sleep 0.1; done")));
  pod["spec"]["restartPolicy"] = "Never";
  Json proxy = Init("proxy", Script("proxy", kForever), true);
  proxy["startupProbe"] = {
      {"exec", {{"command", {"grep", "-q", "proxy", Path("order")}}}},
      {"periodSeconds", 1}};
  pod["spec"]["initContainers"] = {
      proxy, Init("once", Script("once", "exit 0"), false),
      Init("log", Script("log", kForever), true)};
  Create(pod);
  ASSERT_TRUE(AwaitReady("job")) << Get("job").dump(1);
  EXPECT_EQ(ReadText(Path("order")), "proxy\nonce\nlog\napp\n");
  const Json status = Get("job")["status"];
  EXPECT_EQ(status["initContainerStatuses"][0]["ready"], true);
  EXPECT_EQ(status["initContainerStatuses"][0]["started"], true);
  std::ofstream(Path("go")) << "x";
  ASSERT_TRUE(Await("job", [](const Json& p) {
    return p["status"]["phase"] == "Succeeded";
  })) << Get("job").dump(1);
  EXPECT_EQ(ReadText(Path("order")),
            "proxy\nonce\nlog\napp\nlog-end\nproxy-end\n");
}

TEST_F(KubeletLifecycleTest, SidecarsAreRestartedAndOutliveADeletedPodsRest) {
  StartKubelet();
  Json pod = Pod("web", Script("app", kForever));
  pod["spec"]["initContainers"] = {
      Init("proxy", Script("proxy", kForever), true)};
  Create(pod);
  ASSERT_TRUE(AwaitReady("web"));
  const std::string procs =
      StrCat(fs::path(CgroupOf(Get("web"))).parent_path().string(),
             "/proxy/cgroup.procs");
  std::istringstream list(ReadText(procs));
  for (int pid; list >> pid;) kill(pid, SIGKILL);
  EXPECT_TRUE(Await("web", [](const Json& p) {
    const Json proxy = p["status"]["initContainerStatuses"][0];
    return proxy["restartCount"] == 1 && proxy["ready"] == true &&
           Condition(p, "Ready") == "True";
  }));
  EXPECT_EQ(Container(Get("web"))["restartCount"], 0);
  Delete("web");
  ASSERT_TRUE(Eventually([&] { return !Exists("web"); }));
  EXPECT_EQ(ReadText(Path("order")),
            "proxy\napp\nproxy\napp-end\nproxy-end\n");
}

TEST_F(KubeletLifecycleTest, PostStartHooks) {
  StartKubelet();
  const auto hook = [](const std::string& script) -> Json {
    return {{"lifecycle",
             {{"postStart",
               {{"exec", {{"command", {"/bin/sh", "-c", script}}}}}}}}};
  };
  Create(Pod("good", {"/bin/sleep", "100"},
             hook(StrCat("until test -e ", Path("go"),
                         "; do sleep 0.1; done; echo hook > ",
                         Path("hook")))));
  Json bad = Pod("bad", {"/bin/sleep", "100"}, hook("echo no; exit 1"));
  bad["spec"]["terminationGracePeriodSeconds"] = 0;
  Create(bad);
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("bad", "FailedPostStartHook", "PostStartHook failed") &&
           HasEvent("bad", "Killing", "FailedPostStartHook");
  }));
  EXPECT_TRUE(Await("bad", [](const Json& p) {
    return Container(p).value("restartCount", 0) >= 1;
  }));
  EXPECT_EQ(Condition(Get("good"), "Ready"), "False") << "its hook runs";
  std::ofstream(Path("go")) << "x";
  EXPECT_TRUE(AwaitReady("good"));
  EXPECT_EQ(ReadText(Path("hook")), "hook\n");
}

// Deletes pods with preStop hooks; how long it took until they were gone.
class KubeletPreStopTest : public KubeletLifecycleTest {
 protected:
  // It notes when it gets SIGTERM, and then ends, or not.
  Json Hooked(const std::string& name, const Json& hook, int grace,
              bool deaf = false) const {
    Json pod = Pod(name,
                   {"/bin/sh", "-c",
                    StrCat("trap 'echo term >> ", Path("order"),
                           deaf ? "" : "; exit 0", "' TERM; ", kForever)},
                   {{"lifecycle", {{"preStop", hook}}}});
    pod["spec"]["terminationGracePeriodSeconds"] = grace;
    return pod;
  }
  static Json Exec(const std::string& script) {
    return {{"exec", {{"command", {"/bin/sh", "-c", script}}}}};
  }
  absl::Duration TimeToDelete(const std::string& name) {
    const absl::Time begun = absl::Now();
    Delete(name);
    EXPECT_TRUE(Eventually([&] { return !Exists(name); }, absl::Seconds(20)));
    return absl::Now() - begun;
  }
};

TEST_F(KubeletPreStopTest, TheHookComesBeforeSigterm) {
  StartKubelet();
  Create(Hooked("web", Exec(StrCat("sleep 1; echo hook >> ", Path("order"))),
                30));
  ASSERT_TRUE(AwaitReady("web"));
  const absl::Duration took = TimeToDelete("web");
  EXPECT_GE(took, absl::Seconds(1));
  EXPECT_LT(took, absl::Seconds(15)) << "not the whole grace";
  EXPECT_EQ(ReadText(Path("order")), "hook\nterm\n");
  EXPECT_FALSE(HasEvent("web", "FailedPreStopHook", ""));
}

TEST_F(KubeletPreStopTest, AFailedHookIsToldAndChangesNothingElse) {
  StartKubelet();
  Create(Hooked("web", Exec("echo the password; exit 3"), 30));
  ASSERT_TRUE(AwaitReady("web"));
  EXPECT_LT(TimeToDelete("web"), absl::Seconds(15));
  EXPECT_EQ(ReadText(Path("order")), "term\n");
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("web", "FailedPreStopHook", "PreStopHook failed");
  }));
  EXPECT_FALSE(HasEvent("web", "FailedPreStopHook", "password"))
      << "what a hook says stays on the node";
}

// Two seconds more, in which a container can end by itself.
TEST_F(KubeletPreStopTest, AHookThatUsesUpTheGraceLeavesTwoSeconds) {
  StartKubelet();
  Create(Hooked("ends", Exec("sleep 60"), 1));
  Create(Hooked("deaf", Exec("sleep 60"), 1, /*deaf=*/true));
  ASSERT_TRUE(AwaitReady("ends"));
  ASSERT_TRUE(AwaitReady("deaf"));
  absl::Duration took = TimeToDelete("ends");
  EXPECT_EQ(ReadText(Path("order")), "term\n");
  EXPECT_GE(took, absl::Seconds(1));
  took = TimeToDelete("deaf");
  EXPECT_EQ(ReadText(Path("order")), "term\nterm\n");
  EXPECT_GE(took, absl::Seconds(3));
  EXPECT_LT(took, absl::Seconds(8));
  EXPECT_TRUE(HasEvent("deaf", "FailedPreStopHook", "PreStopHook failed"));
}

TEST_F(KubeletPreStopTest, SleepAndHttpGet) {
  StartKubelet();
  Create(Hooked("sleeps", {{"sleep", {{"seconds", 2}}}}, 30));
  ASSERT_TRUE(AwaitReady("sleeps"));
  const absl::Duration took = TimeToDelete("sleeps");
  EXPECT_GE(took, absl::Seconds(2));
  EXPECT_LT(took, absl::Seconds(15));
  // The hook makes the container end; nobody listens where the other's goes.
  Json pod = EchoPod("web");
  Json& container = pod["spec"]["containers"][0];
  container["lifecycle"]["preStop"]["httpGet"] = {{"path", "/exit?code=0"},
                                                  {"port", "http"}};
  Create(pod);
  pod["metadata"]["name"] = "lost";
  container["lifecycle"]["preStop"]["httpGet"]["port"] = 9;
  Create(pod);
  ASSERT_TRUE(AwaitReady("web"));
  ASSERT_TRUE(AwaitReady("lost"));
  TimeToDelete("web");
  TimeToDelete("lost");
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("lost", "FailedPreStopHook", "PreStopHook failed");
  }));
}

TEST_F(KubeletLifecycleTest, TerminationMessages) {
  StartKubelet();
  const auto message = [&](const std::string& pod) -> std::string {
    return Container(Get(pod)).value(
        Json::json_pointer("/state/terminated/message"), "");
  };
  Json pod = Pod("own",
                 {"/bin/sh", "-c",
                  "echo noise; printf 'disk is full' > /dev/termination-log; "
                  "exit 1"},
                 {{"securityContext", {{"runAsUser", 65534}}}});
  pod["spec"]["restartPolicy"] = "Never";
  Create(pod);
  pod = Pod("log", {"/bin/sh", "-c", "echo last words; exit 1"},
            {{"terminationMessagePolicy", "FallbackToLogsOnError"},
             {"terminationMessagePath", Path("said")}});
  pod["spec"]["restartPolicy"] = "Never";
  Create(pod);
  EXPECT_TRUE(Eventually([&] { return message("own") == "disk is full"; }));
  EXPECT_TRUE(Eventually([&] { return message("log") == "last words\n"; }));
}

TEST_F(KubeletLifecycleTest, ActiveDeadline) {
  StartKubelet();
  Json pod = Pod("slow", Script("slow", kForever));
  pod["spec"]["activeDeadlineSeconds"] = 2;
  Create(pod);
  ASSERT_TRUE(AwaitReady("slow"));
  ASSERT_TRUE(Await("slow", [](const Json& p) {
    return p["status"]["phase"] == "Failed";
  }));
  const Json status = Get("slow")["status"];
  EXPECT_EQ(status["reason"], "DeadlineExceeded");
  EXPECT_EQ(status["message"],
            "Pod was active on the node longer than the specified deadline");
  EXPECT_EQ(Container(Get("slow"))["state"]["terminated"]["exitCode"], 0);
  EXPECT_THAT(ReadText(Path("order")), HasSubstr("slow-end"));
  // A new kubelet doesn't start it again.
  Stop(&kubelet_, SIGKILL);
  StartKubelet();
  Create(EchoPod("next"));
  ASSERT_TRUE(AwaitReady("next"));
  EXPECT_EQ(Get("slow")["status"]["phase"], "Failed");
}

TEST_F(KubeletLifecycleTest, PodsAreEvictedWhenMemoryIsShort) {
  StartKubelet();
  const auto pressure = [&] {
    return Condition(Api("GET", "/api/v1/nodes/node-1"), "MemoryPressure");
  };
  Create(Pod("web", Script("web", kForever)));
  ASSERT_TRUE(AwaitReady("web"));
  EXPECT_EQ(pressure(), "False");
  Stop(&kubelet_, SIGTERM);
  // More than any machine has.
  extra_flags_ = {"--eviction-hard", "memory.available<1Pi"};
  StartKubelet();
  ASSERT_TRUE(Await("web", [](const Json& p) {
    return p["status"]["phase"] == "Failed";
  }));
  const Json status = Get("web")["status"];
  EXPECT_EQ(status["reason"], "Evicted");
  EXPECT_THAT(status["message"].get<std::string>(),
              HasSubstr("The node was low on resource: memory. Threshold "
                        "quantity: 1Pi, available: "));
  EXPECT_TRUE(Eventually([&] { return pressure() == "True"; }));
  EXPECT_TRUE(HasEvent("web", "Evicted", "low on resource: memory"));
}

// Who reaches a server without TLS runs commands in containers.
TEST_F(KubeletLifecycleTest, WithoutTlsOnlyTheNodeItselfIsServed) {
  address_ = "";
  StartKubelet();
  const Port port = KubeletPort();
  EXPECT_EQ(Http("127.0.0.1", port, "/healthz").body, "ok");
  EXPECT_EQ(Http(kNode4, port, "/healthz").status, 0);
  EXPECT_THAT(ReadText(Path("kubelet.log")),
              HasSubstr("the kubelet's server on 127.0.0.1 has no TLS"));
}

TEST_F(KubeletLifecycleTest, StatsTellWhatPodsUse) {
  StartKubelet();
  Create(Pod("busy",
             {"/bin/sh", "-c",
              "x=$(head -c 4000000 /dev/zero | tr '\\0' x); while :; do :; "
              "done"}));
  ASSERT_TRUE(AwaitReady("busy"));
  const Port port = KubeletPort();
  const auto summary = [&] {
    const Json json =
        Json::parse(Http(kNode4, port, "/stats/summary").body, nullptr, false);
    return json.is_object() ? json : Json::object();
  };
  const auto container = [&] {
    return summary().value(Json::json_pointer("/pods/0/containers/0"),
                           Json::object());
  };
  EXPECT_TRUE(Eventually([&] {
    const Json c = container();
    const auto number = [&](const char* path) {
      return c.value(Json::json_pointer(path), int64_t{0});
    };
    // It never rests, but shares two processors with others.
    return number("/cpu/usageNanoCores") > 50'000'000 &&
           number("/cpu/usageCoreNanoSeconds") > 100'000'000 &&
           number("/memory/workingSetBytes") > 4'000'000 &&
           number("/memory/workingSetBytes") < 100'000'000;
  })) << summary().dump(1);
  const Json now = summary();
  EXPECT_EQ(now["pods"][0]["podRef"]["name"], "busy");
  EXPECT_EQ(now["node"]["nodeName"], "node-1");
  EXPECT_GT(now["node"]["memory"]["workingSetBytes"], 4'000'000);
  const HttpAnswer metrics = Http(kNode4, port, "/metrics/resource");
  EXPECT_THAT(
      metrics.body,
      HasSubstr("container_cpu_usage_seconds_total{container=\"c\",namespace="
                "\"default\",pod=\"busy\"} "));
  EXPECT_THAT(metrics.body, HasSubstr("\nnode_cpu_usage_seconds_total "));
}

}  // namespace
}  // namespace fairlead
