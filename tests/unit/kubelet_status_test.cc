// SPDX-License-Identifier: Apache-2.0
// A pod's and a node's status as the API has them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "userspace/kubelet/node_status.h"
#include "userspace/kubelet/pod_status.h"

namespace fairlead::kubelet {
namespace {

using Json = nlohmann::json;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);
constexpr char kNowText[] = "2023-11-14T22:13:20Z";

class StatusTest : public ::testing::Test {
 protected:
  StatusTest() {
    spec_.ns = "shop";
    spec_.name = "web-1";
    spec_.uid = "u-1";
    spec_.containers = {{.name = "web", .image = "host"}};
    view_.sandbox_ready = true;
    view_.ips = {*IpAddress::Parse("10.244.1.7"),
                 *IpAddress::Parse("fd00::7")};
    view_.host_ips = {*IpAddress::Parse("192.0.2.11")};
    view_.start_time = kNow;
  }
  ContainerView& Web() { return view_.containers["web"]; }
  void Run(ContainerRun::State state, int code = 0, int attempt = 0) {
    Web().run = ContainerRun{.state = state,
                             .attempt = attempt,
                             .id = "abc",
                             .started = kNow,
                             .finished = kNow,
                             .exit_code = code};
  }
  Json Status() { return BuildPodStatus(spec_, view_, current_, {}, kNow); }
  Json Container() { return Status()["containerStatuses"][0]; }
  Json Condition(const std::string& type) {
    const Json status = Status();
    for (const Json& c : status["conditions"]) {
      if (c["type"] == type) return c;
    }
    return {};
  }

  PodSpec spec_;
  PodView view_;
  Json current_ = Json::object();
};

TEST_F(StatusTest, BeforeItRuns) {
  EXPECT_EQ(Status()["phase"], "Pending");
  EXPECT_EQ(Container()["state"]["waiting"]["reason"], "ContainerCreating");
  EXPECT_EQ(Container()["ready"], false);
  EXPECT_EQ(Container()["started"], false);
  EXPECT_EQ(Condition("Ready")["reason"], "ContainersNotReady");
  EXPECT_EQ(Condition("Ready")["message"],
            "containers with unready status: [web]");
}

TEST_F(StatusTest, Running) {
  Run(ContainerRun::State::kRunning);
  Web().ready = Web().started = true;
  const Json status = Status();
  EXPECT_EQ(status["phase"], "Running");
  EXPECT_EQ(status["podIP"], "10.244.1.7");
  EXPECT_EQ(status["podIPs"].size(), 2u);
  EXPECT_EQ(status["hostIP"], "192.0.2.11");
  EXPECT_EQ(status["startTime"], kNowText);
  EXPECT_EQ(Container()["containerID"], "process://abc");
  for (const char* type : {"Ready", "ContainersReady", "Initialized",
                           "PodScheduled", "PodReadyToStartContainers"}) {
    EXPECT_EQ(Condition(type)["status"], "True") << type;
  }
}

TEST_F(StatusTest, RunningButNotReady) {
  Run(ContainerRun::State::kRunning);
  Web().started = true;
  EXPECT_EQ(Status()["phase"], "Running");
  EXPECT_EQ(Condition("Ready")["status"], "False");
  EXPECT_EQ(Container()["ready"], false);
}

TEST_F(StatusTest, CrashLoop) {
  Run(ContainerRun::State::kExited, 3, 2);
  Web().restart_at = kNow + absl::Seconds(10);
  Web().backoff = absl::Seconds(10);
  const Json container = Container();
  EXPECT_EQ(container["state"]["waiting"]["reason"], "CrashLoopBackOff");
  EXPECT_EQ(container["state"]["waiting"]["message"],
            "back-off 10s restarting failed container=web "
            "pod=web-1_shop(u-1)");
  EXPECT_EQ(container["lastState"]["terminated"]["exitCode"], 3);
  EXPECT_EQ(container["restartCount"], 2);
  EXPECT_EQ(Status()["phase"], "Running");
}

TEST_F(StatusTest, StartError) {
  Run(ContainerRun::State::kExited, 128);
  Web().run->start_error = "exec nosuch: No such file or directory";
  const Json terminated = Container()["state"]["terminated"];
  EXPECT_EQ(terminated["reason"], "StartError");
  EXPECT_EQ(terminated["exitCode"], 128);
}

TEST_F(StatusTest, AnImageThatIsNotHost) {
  Web().waiting_reason = "ErrImagePull";
  Web().waiting_message = "no";
  EXPECT_EQ(Container()["state"]["waiting"]["reason"], "ErrImagePull");
  EXPECT_EQ(Container()["state"]["waiting"]["message"], "no");
  EXPECT_EQ(Status()["phase"], "Pending");
}

struct EndCase {
  RestartPolicy policy;
  int code;
  bool stopping;
  const char* phase;
};

class EndTest : public StatusTest,
                public ::testing::WithParamInterface<EndCase> {};

TEST_P(EndTest, Phase) {
  spec_.restart_policy = GetParam().policy;
  view_.stopping = GetParam().stopping;
  Run(ContainerRun::State::kExited, GetParam().code);
  EXPECT_EQ(Status()["phase"], GetParam().phase);
}

INSTANTIATE_TEST_SUITE_P(
    Policies, EndTest,
    ::testing::Values(
        EndCase{RestartPolicy::kAlways, 0, false, "Running"},
        EndCase{RestartPolicy::kAlways, 1, false, "Running"},
        EndCase{RestartPolicy::kOnFailure, 0, false, "Succeeded"},
        EndCase{RestartPolicy::kOnFailure, 1, false, "Running"},
        EndCase{RestartPolicy::kNever, 0, false, "Succeeded"},
        EndCase{RestartPolicy::kNever, 1, false, "Failed"},
        EndCase{RestartPolicy::kAlways, 0, true, "Succeeded"},
        EndCase{RestartPolicy::kAlways, 143, true, "Failed"}));

TEST_F(StatusTest, AnEvictedPodIsTheTargetOfADisruption) {
  Run(ContainerRun::State::kExited, 137);
  view_.ended_reason = "DeadlineExceeded";
  EXPECT_TRUE(Condition("DisruptionTarget").is_null());
  view_.ended_reason = "Evicted";
  view_.ended_message = "The node was low on resource: memory. ";
  EXPECT_EQ(Condition("DisruptionTarget")["status"], "True");
  EXPECT_EQ(Condition("DisruptionTarget")["reason"], "TerminationByKubelet");
  EXPECT_EQ(Condition("DisruptionTarget")["message"], view_.ended_message);
}

TEST_F(StatusTest, TransitionTimesStayWhileTheStatusDoes) {
  Run(ContainerRun::State::kRunning);
  Web().ready = true;
  current_ = {{"qosClass", "Burstable"},
              {"startTime", "2023-01-01T00:00:00Z"},
              {"conditions",
               {{{"type", "Ready"},
                 {"status", "True"},
                 {"lastTransitionTime", "2023-01-02T00:00:00Z"}},
                {{"type", "ContainersReady"},
                 {"status", "False"},
                 {"lastTransitionTime", "2023-01-02T00:00:00Z"}}}}};
  EXPECT_EQ(Condition("Ready")["lastTransitionTime"], "2023-01-02T00:00:00Z");
  EXPECT_EQ(Condition("ContainersReady")["lastTransitionTime"], kNowText);
  EXPECT_EQ(Status()["qosClass"], "Burstable");
  EXPECT_EQ(Status()["startTime"], "2023-01-01T00:00:00Z");
}

TEST_F(StatusTest, ReadinessGate) {
  Run(ContainerRun::State::kRunning);
  Web().ready = true;
  spec_.readiness_gates = {"example.org/lb"};
  EXPECT_EQ(Condition("Ready")["reason"], "ReadinessGatesNotReady");
  EXPECT_EQ(Condition("ContainersReady")["status"], "True");
  current_["conditions"] = {{{"type", "example.org/lb"}, {"status", "True"}}};
  EXPECT_EQ(Condition("Ready")["status"], "True");
}

TEST_F(StatusTest, PatchTakesAwayWhatIsGone) {
  Run(ContainerRun::State::kRunning);
  Web().ready = true;
  const Json current = {
      {"message", "old"},
      {"podIPs", {{{"ip", "10.244.1.9"}}}},
      {"conditions",
       {{{"type", "Ready"}, {"status", "False"}, {"reason", "old"}}}}};
  const Json patch = StatusPatch(spec_, current, Status());
  EXPECT_EQ(patch["metadata"]["uid"], "u-1");
  EXPECT_TRUE(patch["status"]["message"].is_null());
  bool deleted = false;
  for (const Json& ip : patch["status"]["podIPs"])
    deleted = deleted || (ip["ip"] == "10.244.1.9" && ip.contains("$patch"));
  EXPECT_TRUE(deleted);
  for (const Json& c : patch["status"]["conditions"]) {
    if (c["type"] == "Ready") {
      EXPECT_TRUE(c.contains("reason"));
      EXPECT_TRUE(c["reason"].is_null());
    }
  }
}

TEST(NodeStatusTest, DiffersOnlyInWhatMatters) {
  Options options;
  options.node_name = "n1";
  options.node_ips = {*IpAddress::Parse("192.0.2.11")};
  const Json now = BuildNodeStatus(options, {}, "", {}, kNow);
  const Json later =
      BuildNodeStatus(options, {}, "", now, kNow + absl::Minutes(1));
  EXPECT_FALSE(NodeStatusDiffers(now, later));
  EXPECT_TRUE(NodeStatusDiffers(
      now, BuildNodeStatus(options, {}, "no network", now, kNow)));
  Json unknown = now;
  unknown["conditions"][3]["status"] = "Unknown";  // a controller's verdict
  EXPECT_TRUE(NodeStatusDiffers(unknown, now));
}

TEST(NodeStatusTest, Registration) {
  Options options;
  options.node_name = "n1";
  options.labels = {{"zone", "a"}};
  options.pod_cidrs = {*IpPrefix::Parse("10.1.0.0/24")};
  const Json node = BuildNode(options, {.cpus = 2, .memory_bytes = 1 << 20});
  EXPECT_EQ(node["metadata"]["labels"]["kubernetes.io/hostname"], "n1");
  EXPECT_EQ(node["metadata"]["labels"]["zone"], "a");
  EXPECT_EQ(node["spec"]["podCIDR"], "10.1.0.0/24");
  EXPECT_EQ(node["status"]["capacity"]["cpu"], "2");
  EXPECT_EQ(node["status"]["capacity"]["memory"], "1024Ki");
}

}  // namespace
}  // namespace fairlead::kubelet
