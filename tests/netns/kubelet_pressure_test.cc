// SPDX-License-Identifier: Apache-2.0
// A node that is short of something: its conditions, whom it takes, whom it
// ends, and what it says that it has.
#include "tests/netns/kubelet_fixture.h"

namespace fairlead {
namespace {

class KubeletPressureTest : public KubeletTest {
 protected:
  void StartShortOf(const std::string& thresholds) {
    extra_flags_ = {"--eviction-hard", thresholds,
                    "--node-status-update-frequency", "0.5"};
    StartKubelet();
  }
  Json Node() const { return Api("GET", "/api/v1/nodes/node-1"); }
  static Json Sleeper(const std::string& name) {
    Json pod = Pod(name, {"/bin/sh", "-c", "trap 'exit 0' TERM; "
                                           "while :; do sleep 0.1; done"});
    pod["spec"]["terminationGracePeriodSeconds"] = 1;
    return pod;
  }
  static Json Asking(Json pod, const std::string& memory) {
    pod["spec"]["containers"][0]["resources"] = {
        {"requests", {{"memory", memory}}}};
    return pod;
  }
  bool AwaitRefusal(const std::string& name, const std::string& condition) {
    return Await(name, [&](const Json& p) {
      return p["status"]["phase"] == "Failed" &&
             p["status"].value("reason", "") == "Evicted" &&
             p["status"].value("message", "") ==
                 StrCat("Pod was rejected: The node had condition: [",
                        condition, "]. ");
    });
  }
};

// More than any machine has.
TEST_F(KubeletPressureTest, DiskAndProcesses) {
  StartShortOf("nodefs.available<1Ei,pid.available<100%");
  ASSERT_TRUE(Eventually([&] {
    return Condition(Node(), "DiskPressure") == "True" &&
           Condition(Node(), "PIDPressure") == "True";
  })) << Node().dump(1);
  EXPECT_EQ(Condition(Node(), "DiskPressure", "reason"),
            "KubeletHasDiskPressure");
  EXPECT_EQ(Condition(Node(), "PIDPressure", "reason"),
            "KubeletHasInsufficientPID");
  EXPECT_EQ(Condition(Node(), "MemoryPressure"), "False");
  // A node that is short of these takes nobody.
  Create(Asking(Sleeper("web"), "1Mi"));
  EXPECT_TRUE(AwaitRefusal("web", "DiskPressure PIDPressure"))
      << Get("web").dump(1);
}

TEST_F(KubeletPressureTest, WithLittleMemoryBestEffortPodsAreRefused) {
  StartShortOf("memory.available<1Ei");
  ASSERT_TRUE(Eventually([&] {
    return Condition(Node(), "MemoryPressure") == "True";
  }));
  Create(Sleeper("bare"));
  EXPECT_TRUE(AwaitRefusal("bare", "MemoryPressure"))
      << Get("bare").dump(1);
  // Taken, and the next to be evicted.
  Create(Asking(Sleeper("asks"), "1Gi"));
  EXPECT_TRUE(Await("asks", [](const Json& p) {
    return p["status"].value("message", "")
        .starts_with("The node was low on resource: memory. ");
  })) << Get("asks").dump(1);
}

// Who uses more than it asked for goes first, among those the lower priority;
// one after the other.
TEST_F(KubeletPressureTest, EvictionsAreInOrder) {
  StartKubelet();
  Json important = Sleeper("important");
  important["spec"]["priority"] = 1000;
  Json critical = Sleeper("critical");
  critical["spec"]["priority"] = 2'000'000'000;
  Create(Asking(Sleeper("modest"), "1Gi"));
  Create(important);
  Create(Sleeper("plain"));
  Create(critical);
  for (const char* name : {"modest", "important", "plain", "critical"})
    ASSERT_TRUE(AwaitReady(name)) << name;
  Stop(&kubelet_, SIGTERM);
  StartShortOf("memory.available<1Ei");
  ASSERT_TRUE(Eventually([&] {
    for (const char* name : {"modest", "important", "plain"}) {
      if (Get(name)["status"]["phase"] != "Failed") return false;
    }
    return true;
  }, absl::Seconds(40)));
  // Two may end between two looks at them: the log has their order.
  const std::string log = ReadText(Path("kubelet.log"));
  auto ended = [&](const std::string& name) {
    return log.find(StrCat("container ended pod=default/", name, " "));
  };
  EXPECT_LT(ended("plain"), ended("important"));
  EXPECT_LT(ended("important"), ended("modest"));
  EXPECT_NE(ended("modest"), log.npos);
  EXPECT_EQ(Get("plain")["status"]["reason"], "Evicted");
  EXPECT_EQ(Get("critical")["status"]["phase"], "Running");
}

TEST_F(KubeletPressureTest, AllocatableIsLessThanTheMachine) {
  extra_flags_ = {"--system-reserved", "cpu=500m,memory=64Mi",
                  "--eviction-hard", "memory.available<100Mi"};
  StartKubelet();
  const Json status = Node()["status"];
  const auto kibibytes = [&](const char* list) {
    return std::stoll(status[list]["memory"].get<std::string>());
  };
  EXPECT_EQ(kibibytes("capacity") - kibibytes("allocatable"), 164 * 1024);
  EXPECT_THAT(status["allocatable"]["cpu"].get<std::string>(),
              ::testing::EndsWith("500m"));
  EXPECT_EQ(status["allocatable"]["ephemeral-storage"],
            status["capacity"]["ephemeral-storage"]);
}

}  // namespace
}  // namespace fairlead
