// SPDX-License-Identifier: Apache-2.0
// kill -9 of each daemon, a lost API server, a lost node: after the restart
// all is as before, and traffic never stops.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "tests/netns/box.h"
#include "userspace/base/strings.h"

namespace fairlead::e2e {
namespace {

class BoxFaultsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto box = TestBox::Start(
        "e2efaults",
        "--kubelet-flag=--lease-interval=1 "
        "--controller-flag=--node-monitor-grace-period=5s "
        "--controller-flag=--pod-eviction-timeout=1s");
    ASSERT_TRUE(box.ok()) << box.status();
    box_ = std::move(*box);
    box_->Apply(EchoManifest("web", 4, 30080));
    box_->Eventually("rollout", [] { return box_->RolledOut("web"); });
    box_->Eventually("endpoints in both kernels", [] {
      return box_->KernelBackends("node-1", "web").size() == 24 &&
             box_->KernelBackends("node-2", "web").size() == 24;
    });
  }
  static void TearDownTestSuite() { box_.reset(); }
  void SetUp() override { ASSERT_NE(box_, nullptr); }

  static std::string Dump(const std::string& node, const std::string& map) {
    return box_->Must(StrCat("fairleadctl map dump ", map, " --socket ",
                             box_->dir(), "/", node, "/agent.sock"));
  }
  static json AgentStatus(const std::string& node) {
    return json::parse(box_->Run(StrCat("fairleadctl agent status -o json "
                                        "--socket ",
                                        box_->dir(), "/", node, "/agent.sock"))
                           .out,
                       nullptr, false);
  }
  static void ExpectTraffic(const std::string& when) {
    json outside = box_->Load("outside", "172.30.0.11:30080",
                              "--count 200 --rate 500");
    EXPECT_EQ(outside["failed"], 0) << when << outside.dump();
    std::string ip = box_ip_;
    json inside = box_->Load("node-1", ip + ":80", "--count 200 --rate 500");
    EXPECT_EQ(inside["failed"], 0) << when << inside.dump();
  }
  static void LearnIp() {
    box_ip_ = box_->Get("services web")["spec"]["clusterIP"];
  }
  // Pod -> {its containers' start times}: changes when one is restarted.
  static json Containers() {
    json out;
    json pods = box_->Get("pods -l app=web");
    for (const json& pod : pods["items"]) {
      const json& status = pod["status"]["containerStatuses"][0];
      out[pod["metadata"]["name"].get<std::string>()] = {
          status["containerID"], status["restartCount"],
          pod["status"]["podIP"]};
    }
    return out;
  }

  // The status of the node's Ready condition.
  static std::string Ready(const std::string& node) {
    json object = box_->Get("nodes " + node);
    for (const json& c : object["status"]["conditions"])
      if (c["type"] == "Ready") return c["status"];
    return "";
  }

  static std::unique_ptr<TestBox> box_;
  static std::string box_ip_;
};
std::unique_ptr<TestBox> BoxFaultsTest::box_;
std::string BoxFaultsTest::box_ip_;

TEST_F(BoxFaultsTest, AKilledAgentLeavesTrafficAndWritesNothingWhenBack) {
  LearnIp();
  std::string services = Dump("node-1", "service");
  std::string backends = Dump("node-1", "backend");
  box_->Kill("agent-node-1");
  ExpectTraffic("without the agent");
  box_->Up();
  json status = AgentStatus("node-1");
  EXPECT_EQ(status["kernelWrites"], "0") << status.dump();
  EXPECT_EQ(Dump("node-1", "service"), services);
  EXPECT_EQ(Dump("node-1", "backend"), backends);
  ExpectTraffic("with the new agent");
}

TEST_F(BoxFaultsTest, AKilledControllerComesBackToTheSameState) {
  LearnIp();
  auto story = [] {
    json out;
    for (const char* kind : {"services", "pods", "deployments", "nodes"}) {
      json list = box_->Get(std::string(kind));
      for (const json& item : list["items"])
        out[kind][item["metadata"]["name"].get<std::string>()] =
            item["metadata"]["uid"];
    }
    out["ip"] = box_->Get("services web")["spec"]["clusterIPs"];
    return out;
  };
  json before = story();
  json containers = Containers();
  box_->Kill("controller");
  ExpectTraffic("without the controller");
  json status = AgentStatus("node-1");
  EXPECT_EQ(status["healthy"], true) << "the data plane keeps forwarding";
  box_->Eventually("the agent notices", [] {
    return AgentStatus("node-1")["apiConnected"] == false;
  });
  box_->Up();
  EXPECT_EQ(story(), before);
  EXPECT_EQ(Containers(), containers);
  box_->Eventually("the agent reconnects by itself", [] {
    return AgentStatus("node-1")["apiConnected"] == true;
  });
  // It hears of changes again.
  box_->Apply(EchoManifest("web", 5, 30080));
  box_->Eventually("a fifth pod takes traffic", [] {
    return box_->KernelBackends("node-1", "web").size() == 30;
  });
  box_->Apply(EchoManifest("web", 4, 30080));
  box_->Eventually("four again", [] {
    return box_->RolledOut("web") &&
           box_->KernelBackends("node-1", "web").size() == 24;
  });
}

// Its machine was suspended, say. When it goes on, it has heard of no node for
// longer than the grace period, and must not take that for all nodes' silence.
TEST_F(BoxFaultsTest, AControllerThatStoodStillBlamesNobody) {
  LearnIp();
  RunningLoad loads[] = {
      {*box_, "outside", "172.30.0.11:30080", "--rate 100"},
      {*box_, "node-1", box_ip_ + ":80", "--rate 100"},
  };
  int pid = box_->MustJson(
      StrCat("cat ", box_->dir(), "/run/controller.json"))["pid"];
  box_->Must(StrCat("kill -STOP ", pid, "; sleep 7; kill -CONT ", pid));
  absl::SleepFor(absl::Seconds(1));
  EXPECT_EQ(Ready("node-1"), "True");
  EXPECT_EQ(Ready("node-2"), "True");
  for (RunningLoad& load : loads) load.ExpectNoneFailed();
}

TEST_F(BoxFaultsTest, AKilledKubeletComesBackToItsRunningPods) {
  LearnIp();
  json before = Containers();
  box_->Kill("kubelet-node-1");
  ExpectTraffic("without a kubelet");
  box_->Up();
  EXPECT_EQ(Containers(), before);
  ExpectTraffic("with the new kubelet");
}

TEST_F(BoxFaultsTest, ALostNodesPodsAreReplacedElsewhere) {
  LearnIp();
  // Its pods go on: not one request is lost while nobody watches over them,
  // nor when they are given up.
  RunningLoad loads[] = {
      {*box_, "outside", "172.30.0.11:30080", "--rate 100"},
      {*box_, "node-1", box_ip_ + ":80", "--rate 100"},
      {*box_, "node-1", box_ip_ + ":7", "--rate 100 --protocol udp"},
  };
  box_->Kill("kubelet-node-2");
  box_->Eventually("node-2 is not ready",
                   [] { return Ready("node-2") == "Unknown"; });
  box_->Eventually("its endpoints leave at once", [] {
    return box_->KernelBackends("node-1", "web") == box_->ApiBackends("web");
  });
  box_->Eventually("every pod runs on node-1", [] {
    json pods = box_->Get("pods -l app=web")["items"];
    int running = 0;
    for (const json& pod : pods) {
      if (pod["spec"].value("nodeName", "") == "node-1" &&
          pod["status"].value("phase", "") == "Running" &&
          !pod["metadata"].contains("deletionTimestamp"))
        ++running;
    }
    return running == 4 && box_->RolledOut("web");
  });
  box_->Up();
  box_->Eventually("node-2 is back",
                   [] { return Ready("node-2") == "True"; });
  for (RunningLoad& load : loads) load.ExpectNoneFailed();
}

}  // namespace
}  // namespace fairlead::e2e
