// SPDX-License-Identifier: Apache-2.0
// A node's pods from their start to their end, with the kubelet as a program.
#include <signal.h>
#include <sys/wait.h>

#include "tests/netns/kubelet_fixture.h"

namespace fairlead {
namespace {

TEST_F(KubeletTest, RegistersWhenItHasAPodCidr) {
  StartKubelet("");
  const auto node = [&] { return Api("GET", "/api/v1/nodes/node-1"); };
  const auto ready = [&] { return Condition(node(), "Ready"); };
  ASSERT_TRUE(Eventually([&] { return ready() == "False"; }));
  EXPECT_THAT(Condition(node(), "Ready", "message"), HasSubstr("pod CIDR"));
  Create(EchoPod("early"));
  Api("PATCH", "/api/v1/nodes/node-1",
      {{"spec", {{"podCIDR", "10.9.0.0/24"}, {"podCIDRs", {"10.9.0.0/24"}}}}});
  ASSERT_TRUE(Eventually([&] { return ready() == "True"; }));
  EXPECT_TRUE(AwaitReady("early"));
  EXPECT_EQ(Get("early")["status"]["podIP"], "10.9.0.2");
  const Json lease = Api(
      "GET",
      "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1");
  EXPECT_EQ(lease["spec"]["holderIdentity"], "node-1");
}

TEST_F(KubeletTest, APodHasAnAddressThatTheNodeReaches) {
  StartKubelet();
  Create(EchoPod("web"));
  ASSERT_TRUE(AwaitReady("web"));
  const Json pod = Get("web");
  EXPECT_EQ(Container(pod)["ready"], true);
  EXPECT_EQ(pod["status"]["hostIP"], kNode4);
  ASSERT_EQ(pod["status"]["podIPs"].size(), 2u);
  const std::string v4 = pod["status"]["podIPs"][0]["ip"];
  const std::string v6 = pod["status"]["podIPs"][1]["ip"];
  EXPECT_THAT(Http(v4, 8080, "/").body, HasSubstr(StrCat("\"", kNode4, ":")));
  EXPECT_THAT(Http(v6, 8080, "/").body, HasSubstr(StrCat("[", kNode6, "]:")));
  EXPECT_THAT(Http(v4, 8080, "/").body, HasSubstr("\"pod\":\"web\""))
      << "the host name is the pod's";
  EXPECT_TRUE(HasEvent("web", "Started", "Started container c"));
}

TEST_F(KubeletTest, PodsReachEachOther) {
  StartKubelet();
  Create(EchoPod("server"));
  ASSERT_TRUE(AwaitReady("server"));
  const std::string target =
      Get("server")["status"]["podIPs"][1]["ip"].get<std::string>();
  const std::string answer = Path("answer");
  Create(Pod("client",
             {"/bin/sh", "-c",
              StrCat("fairlead-load --count 1 --target [", target,
                     "]:8080 >", answer, ".tmp; mv ", answer, ".tmp ", answer,
                     "; sleep 100")}));
  ASSERT_TRUE(Eventually([&] { return fs::exists(answer); }));
  EXPECT_THAT(ReadText(answer), HasSubstr("\"server\":{\"count\":1"));
}

TEST_F(KubeletTest, RoutesLeadToOtherNodes) {
  StartKubelet();
  Api("POST", "/api/v1/nodes",
      {{"metadata", {{"name", "node-2"}}},
       {"spec", {{"podCIDRs", {"10.244.2.0/24", "fd00:2::/64"}}}},
       {"status",
        {{"addresses",
          {{{"type", "InternalIP"}, {"address", "192.0.2.12"}},
           {{"type", "InternalIP"}, {"address", "2001:db8::12"}}}}}}});
  const auto routes = [&] {
    return *node_->Command("ip route; ip -6 route");
  };
  EXPECT_TRUE(Eventually([&] {
    return routes().find("10.244.2.0/24 via 192.0.2.12 dev up0") !=
               std::string::npos &&
           routes().find("fd00:2::/64 via 2001:db8::12 dev up0") !=
               std::string::npos;
  })) << routes();
  EXPECT_THAT(routes(), HasSubstr("unreachable 10.244.1.0/24"));
  Api("DELETE", "/api/v1/nodes/node-2");
  EXPECT_TRUE(Eventually([&] {
    return routes().find("10.244.2.0/24") == std::string::npos;
  })) << routes();
}

TEST_F(KubeletTest, ReadinessFollowsTheProbe) {
  StartKubelet();
  Create(EchoPod("web"));
  ASSERT_TRUE(AwaitReady("web"));
  const std::string ip = Get("web")["status"]["podIP"];
  Http(ip, 8080, "/fail");
  EXPECT_TRUE(AwaitReady("web", false));
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("web", "Unhealthy",
                    "Readiness probe failed: HTTP probe failed with "
                    "statuscode: 503");
  }));
  Http(ip, 8080, "/ok");
  EXPECT_TRUE(AwaitReady("web"));
  EXPECT_EQ(Container(Get("web"))["restartCount"], 0);
}

TEST_F(KubeletTest, ExecProbeRunsInsideTheContainer) {
  StartKubelet();
  // PID 1 is the container's own only in its PID namespace.
  Create(Pod("exec", {"/bin/sleep", "100"},
             {{"readinessProbe",
               {{"exec",
                 {{"command",
                   {"/bin/sh", "-c",
                    StrCat("grep -q sleep /proc/1/cmdline && cat ",
                           Path("go"))}}}},
                {"periodSeconds", 1},
                {"failureThreshold", 1}}}}));
  EXPECT_TRUE(Eventually([&] { return HasEvent("exec", "Unhealthy", "go"); }));
  EXPECT_EQ(Condition(Get("exec"), "Ready"), "False");
  std::ofstream(Path("go")) << "x";
  EXPECT_TRUE(AwaitReady("exec"));
}

TEST_F(KubeletTest, FailedLivenessProbeRestarts) {
  StartKubelet();
  Json pod = EchoPod("live");
  Json& container = pod["spec"]["containers"][0];
  container["livenessProbe"] = container["readinessProbe"];
  Create(pod);
  ASSERT_TRUE(AwaitReady("live"));
  Http(Get("live")["status"]["podIP"], 8080, "/fail");
  EXPECT_TRUE(Await("live", [&](const Json& p) {
    return Container(p).value("restartCount", 0) == 1 &&
           Condition(p, "Ready") == "True";
  }));
  EXPECT_TRUE(HasEvent("live", "Killing", "failed liveness probe"));
}

TEST_F(KubeletTest, ACrashIsNoticedAndBacksOff) {
  StartKubelet();
  Create(EchoPod("web"));
  ASSERT_TRUE(AwaitReady("web"));
  const std::string ip = Get("web")["status"]["podIP"];
  for (const int pid : Pids(Get("web"))) kill(pid, SIGKILL);
  ASSERT_TRUE(Await("web", [&](const Json& p) {
    return Container(p).value("restartCount", 0) == 1 &&
           Condition(p, "Ready") == "True";
  }));
  const Json last = Container(Get("web"))["lastState"]["terminated"];
  EXPECT_EQ(last["exitCode"], 137);
  EXPECT_EQ(last["signal"], 9);
  EXPECT_EQ(Get("web")["status"]["podIP"], ip) << "the sandbox stays";
  for (const int pid : Pids(Get("web"))) kill(pid, SIGKILL);
  EXPECT_TRUE(Await("web", [](const Json& p) {
    return IsWaiting(p, "CrashLoopBackOff");
  }));
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("web", "BackOff", "Back-off restarting failed container");
  }));
  EXPECT_TRUE(Await("web", [&](const Json& p) {
    return Container(p).value("restartCount", 0) == 2 &&
           Condition(p, "Ready") == "True";
  }));
}

TEST_F(KubeletTest, OtherImagesWait) {
  StartKubelet();
  Create(Pod("web", {"nginx"}, {{"image", "nginx:1.25"}}));
  ASSERT_TRUE(Await("web", [](const Json& p) {
    return IsWaiting(p, "ErrImagePull");
  }));
  EXPECT_THAT(Container(Get("web"))["state"]["waiting"]["message"],
              HasSubstr("this runtime doesn't pull images"));
  EXPECT_EQ(Get("web")["status"]["phase"], "Pending");
  EXPECT_TRUE(Eventually([&] {
    return HasEvent("web", "Failed", "Failed to pull image \"nginx:1.25\"");
  }));
}

TEST_F(KubeletTest, AProgramThatIsNotThere) {
  StartKubelet();
  Create(Pod("typo", {"no-such-program"}));
  EXPECT_TRUE(Await("typo", [](const Json& p) {
    const Json c = Container(p);
    for (const char* state : {"/state", "/lastState"}) {
      const Json t = c.value(
          Json::json_pointer(StrCat(state, "/terminated")), Json::object());
      if (t.value("reason", "") == "StartError" && t["exitCode"] == 128)
        return true;
    }
    return false;
  })) << Get("typo")["status"];
}

TEST_F(KubeletTest, PodsThatEnd) {
  StartKubelet();
  Json good = Pod("good", {"/bin/sh", "-c", "exit 0"});
  good["spec"]["restartPolicy"] = "OnFailure";
  Json bad = Pod("bad", {"/bin/sh", "-c", "exit 3"});
  bad["spec"]["restartPolicy"] = "Never";
  Create(good);
  Create(bad);
  EXPECT_TRUE(Await("good", [](const Json& p) {
    return p["status"]["phase"] == "Succeeded";
  }));
  EXPECT_TRUE(Await("bad", [](const Json& p) {
    return p["status"]["phase"] == "Failed" &&
           Container(p)["state"]["terminated"]["exitCode"] == 3;
  }));
  EXPECT_TRUE(Eventually([&] { return fs::is_empty(Path("netns")); }))
      << "their networks are given back";
}

TEST_F(KubeletTest, EnvironmentAndNamespaces) {
  StartKubelet();
  Api("POST", "/api/v1/namespaces/default/configmaps",
      {{"metadata", {{"name", "settings"}}}, {"data", {{"color", "blue"}}}});
  const std::string out = Path("out");
  Create(Pod(
      "env",
      {"/bin/sh", "-c",
       StrCat("{ echo $WHO $IP $COLOR $(hostname) $$$$; ls /proc | grep -c "
              "'^[0-9]'; pwd; } >",
              out, ".tmp; mv ", out, ".tmp ", out, "; sleep 100")},
      {{"workingDir", "/usr"},
       {"env",
        {{{"name", "IP"},
          {"valueFrom", {{"fieldRef", {{"fieldPath", "status.podIP"}}}}}},
         {{"name", "WHO"}, {"value", "at-$(IP)"}},
         {{"name", "COLOR"},
          {"valueFrom",
           {{"configMapKeyRef",
             {{"name", "settings"}, {"key", "color"}}}}}}}}}));
  ASSERT_TRUE(Eventually([&] { return fs::exists(out); }));
  std::istringstream lines(ReadText(out));
  std::string first, processes, cwd;
  std::getline(lines, first);
  std::getline(lines, processes);
  std::getline(lines, cwd);
  EXPECT_EQ(first, "at-10.244.1.2 10.244.1.2 blue env 1");
  EXPECT_LE(std::stoi(processes), 4) << "only its own processes";
  EXPECT_EQ(cwd, "/usr");
}

TEST_F(KubeletTest, ServicesAreInTheEnvironment) {
  const auto service = [&](const char* ns, const char* name, const char* ip) {
    Api("POST", StrCat("/api/v1/namespaces/", ns, "/services"),
        {{"metadata", {{"name", name}}},
         {"spec", {{"clusterIP", ip}, {"ports", {{{"port", 443}}}}}}});
  };
  service("default", "kubernetes", "10.0.0.1");
  service("default", "my-db", "10.0.0.2");
  service("other", "far", "10.0.0.3");
  StartKubelet();
  Json pod = Pod("linked", {"/bin/sh", "-c",
                            "echo linked $KUBERNETES_SERVICE_HOST "
                            "$MY_DB_PORT_443_TCP_ADDR $FAR_SERVICE_HOST "
                            "$COPY.; exec sleep 100"},
                 {{"env",
                   Json::array({{{"name", "COPY"},
                                 {"value", "$(MY_DB_SERVICE_PORT)"}}})}});
  Create(pod);
  pod["metadata"]["name"] = "bare";
  pod["spec"]["enableServiceLinks"] = false;
  pod["spec"]["containers"][0]["command"][2] =
      "echo bare $KUBERNETES_SERVICE_HOST $MY_DB_SERVICE_HOST.; "
      "exec sleep 100";
  Create(pod);
  ASSERT_TRUE(AwaitReady("linked"));
  ASSERT_TRUE(AwaitReady("bare"));
  EXPECT_TRUE(Eventually([&] {
    const std::string log = Logs();
    return log.find("linked 10.0.0.1 10.0.0.2 443.\n") != std::string::npos &&
           log.find("bare 10.0.0.1 .\n") != std::string::npos;
  })) << Logs();
}

TEST_F(KubeletTest, MissingConfigMapHoldsTheContainerBack) {
  StartKubelet();
  Create(Pod("wait", {"/bin/sleep", "100"},
             {{"envFrom", {{{"configMapRef", {{"name", "later"}}}}}}}));
  EXPECT_TRUE(Await("wait", [](const Json& p) {
    return IsWaiting(p, "CreateContainerConfigError");
  }));
  Api("POST", "/api/v1/namespaces/default/configmaps",
      {{"metadata", {{"name", "later"}}}, {"data", Json::object()}});
  EXPECT_TRUE(AwaitReady("wait"));
}

TEST_F(KubeletTest, HostNetwork) {
  StartKubelet();
  Json pod = EchoPod("host");
  pod["spec"]["hostNetwork"] = true;
  Create(pod);
  ASSERT_TRUE(AwaitReady("host"));
  EXPECT_EQ(Get("host")["status"]["podIP"], kNode4);
  EXPECT_EQ(Http("127.0.0.1", 8080, "/").status, 200);
  EXPECT_TRUE(fs::is_empty(Path("netns")));
}

TEST_F(KubeletTest, DeletedPodsGetSigtermAndKeepTheirNetwork) {
  StartKubelet();
  Json pod = Pod("web", {"fairlead-echo", "--http", "8080", "--grace", "1s"},
                 {{"readinessProbe", Json::parse(kReadiness)}});
  Create(pod);
  ASSERT_TRUE(AwaitReady("web"));
  const std::string ip = Get("web")["status"]["podIP"];
  const absl::Time begun = absl::Now();
  Delete("web");
  ASSERT_TRUE(Eventually([&] {
    return HasEvent("web", "Killing", "Stopping container c");
  }));
  EXPECT_EQ(Http(ip, 8080, "/").status, 200) << "it still serves";
  ASSERT_TRUE(Eventually([&] { return !Exists("web"); }));
  const absl::Duration took = absl::Now() - begun;
  EXPECT_GE(took, absl::Milliseconds(900));
  EXPECT_LT(took, absl::Seconds(10)) << "not the whole grace of 20 s";
  ExpectNothingLeft();
}

TEST_F(KubeletTest, WhoIgnoresSigtermIsKilledAfterTheGrace) {
  StartKubelet();
  // A first process of a PID namespace ignores SIGTERM unless it handles it.
  Json pod = Pod("deaf", {"/bin/sleep", "1000"});
  pod["spec"]["terminationGracePeriodSeconds"] = 1;
  Create(pod);
  ASSERT_TRUE(AwaitReady("deaf"));
  const absl::Time begun = absl::Now();
  Delete("deaf");
  ASSERT_TRUE(Eventually([&] { return !Exists("deaf"); }));
  EXPECT_GE(absl::Now() - begun, absl::Milliseconds(900));
  ExpectNothingLeft();
}

TEST_F(KubeletTest, AKilledKubeletComesBackToItsPods) {
  StartKubelet();
  for (const char* name : {"stays", "goes"}) {
    Create(EchoPod(name));
    ASSERT_TRUE(AwaitReady(name));
  }
  const Json before = Get("stays");
  const std::vector<int> pids = Pids(before);
  ASSERT_FALSE(pids.empty());
  Stop(&kubelet_, SIGKILL);
  const std::string ip = before["status"]["podIP"];
  EXPECT_EQ(Http(ip, 8080, "/").status, 200) << "pods need no kubelet";
  Delete("goes", 0);
  StartKubelet();
  ASSERT_TRUE(Eventually([&] { return PodDirs() == 1; }));
  EXPECT_EQ(Pids(before), pids);
  EXPECT_EQ(Http(ip, 8080, "/").status, 200);
  // The probes work again, and it never was unready in between.
  const Json after = Get("stays");
  EXPECT_EQ(Condition(after, "Ready", "lastTransitionTime"),
            Condition(before, "Ready", "lastTransitionTime"));
  EXPECT_EQ(Container(after)["containerID"], Container(before)["containerID"]);
  Http(ip, 8080, "/fail");
  EXPECT_TRUE(AwaitReady("stays", false));
  // And so does the watch over its processes.
  for (const int pid : Pids(before)) kill(pid, SIGKILL);
  EXPECT_TRUE(Await("stays", [](const Json& p) {
    return Container(p).value("restartCount", 0) == 1;
  }));
  // A new pod gets an address that is not in use.
  Create(EchoPod("new"));
  ASSERT_TRUE(AwaitReady("new"));
  EXPECT_NE(Get("new")["status"]["podIP"], ip);
}

TEST_F(KubeletTest, ADeathWhileTheKubeletIsAwayIsSeen) {
  StartKubelet();
  Create(EchoPod("web"));
  ASSERT_TRUE(AwaitReady("web"));
  const Json pod = Get("web");
  Stop(&kubelet_, SIGKILL);
  for (const int pid : Pids(pod)) kill(pid, SIGKILL);
  StartKubelet();
  EXPECT_TRUE(Await("web", [](const Json& p) {
    return Container(p).value("restartCount", 0) == 1 &&
           Container(p)["lastState"]["terminated"]["exitCode"] == 137 &&
           Condition(p, "Ready") == "True";
  }));
}

TEST_F(KubeletTest, LeftoversAreRemoved) {
  const std::string stray = cgroup_->path() + "/pods/stray/c";
  fs::create_directories(stray);
  fs::create_directories(Path("netns"));
  ASSERT_TRUE(
      node_->Command("ip link add flp0000000000 type veth peer name x").ok());
  std::ofstream(Path("netns/test-stray")) << "";
  std::ofstream(Path("netns/foreign")) << "";
  StartKubelet();
  EXPECT_TRUE(Eventually([&] { return !fs::exists(stray); }));
  EXPECT_TRUE(
      Eventually([&] { return !fs::exists(Path("netns/test-stray")); }));
  EXPECT_THAT(*node_->Command("ip -o link"),
              ::testing::Not(HasSubstr("flp0000000000")));
  EXPECT_TRUE(fs::exists(Path("netns/foreign"))) << "not ours";
}

TEST_F(KubeletTest, AFaultyMachineIsRefusedBeforeAnythingIsTouched) {
  pid_t pid = Spawn(KubeletFlags("nosuch0"), "kubelet.log");
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_THAT(ReadText(Path("kubelet.log")), HasSubstr("no device nosuch0"));
  EXPECT_FALSE(fs::exists(Path("root")));
  EXPECT_FALSE(fs::exists(cgroup_->path() + "/pods"));
}

}  // namespace
}  // namespace fairlead
