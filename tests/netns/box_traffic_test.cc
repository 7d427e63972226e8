// SPDX-License-Identifier: Apache-2.0
// Real traffic through a cluster in a box: who answers, who refuses, what
// survives a change.
#include <gtest/gtest.h>

#include <set>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "tests/netns/box.h"
#include "userspace/base/strings.h"

namespace fairlead::e2e {
namespace {

class BoxTrafficTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto box = TestBox::Start("e2etraffic");
    ASSERT_TRUE(box.ok()) << box.status();
    box_ = std::move(*box);
    box_->Apply(EchoManifest("web", 3, 30080));
    box_->Eventually("rollout", [] { return box_->RolledOut("web"); });
    box_->Eventually("endpoints in both kernels", [] {
      return box_->KernelBackends("node-1", "web").size() == 18 &&
             box_->KernelBackends("node-2", "web").size() == 18;
    });
  }
  static void TearDownTestSuite() { box_.reset(); }
  void SetUp() override { ASSERT_NE(box_, nullptr); }

  static std::vector<std::string> ClusterIps(const std::string& service) {
    std::vector<std::string> out;
    json object = box_->Get("services " + service);
    for (const json& ip : object["spec"]["clusterIPs"])
      out.push_back(absl::StrContains(ip.get<std::string>(), ":")
                        ? StrCat("[", ip.get<std::string>(), "]")
                        : ip.get<std::string>());
    return out;
  }

  static void ExpectAnswers(const std::string& what, const json& result,
                            const std::vector<std::string>& pods) {
    std::vector<std::string> answered;
    for (const auto& [pod, unused] : result["pods"].items())
      answered.push_back(pod);
    EXPECT_EQ(result["failed"], 0) << what << ": " << result.dump();
    EXPECT_EQ(answered, pods) << what;
  }

  static std::unique_ptr<TestBox> box_;
};
std::unique_ptr<TestBox> BoxTrafficTest::box_;

constexpr char kQuick[] = "--count 200 --rate 1000";

TEST_F(BoxTrafficTest, SecondUpChangesNothing) {
  json before = box_->MustJson("fairleadctl cluster status -o json --name " +
                               box_->name() + " --dir " +
                               box_->dir().substr(0, box_->dir().rfind('/')));
  box_->Up();
  json after = box_->MustJson("fairleadctl cluster status -o json --name " +
                              box_->name() + " --dir " +
                              box_->dir().substr(0, box_->dir().rfind('/')));
  EXPECT_EQ(before, after);
}

TEST_F(BoxTrafficTest, MapsAndApiTellTheSameStory) {
  for (const char* node : {"node-1", "node-2"})
    EXPECT_EQ(box_->KernelBackends(node, "web"), box_->ApiBackends("web"));
  std::string dump = box_->Must(StrCat("fairleadctl map dump service --socket ",
                                       box_->dir(), "/node-1/agent.sock"));
  for (const std::string& ip : ClusterIps("web"))
    EXPECT_TRUE(absl::StrContains(dump, ip + ":80/TCP")) << dump;
}

TEST_F(BoxTrafficTest, EveryPodAnswersOnEveryPath) {
  std::vector<std::string> pods = box_->Pods("app=web");
  ASSERT_EQ(pods.size(), 3u);
  for (const std::string& ip : ClusterIps("web")) {
    for (bool packet_path : {false, true}) {
      const char* path = packet_path ? " packet path" : " socket path";
      ExpectAnswers("pod -> http " + ip + path,
                    box_->Load("pod/" + pods[0], ip + ":80", kQuick,
                               packet_path),
                    pods);
      for (const char* protocol : {"tcp", "udp"}) {
        ExpectAnswers(StrCat("pod -> ", protocol, " ", ip, path),
                      box_->Load("pod/" + pods[0], ip + ":7",
                                 StrCat(kQuick, " --protocol ", protocol),
                                 packet_path),
                      pods);
      }
    }
    ExpectAnswers("node-2 host -> " + ip,
                  box_->Load("node-2", ip + ":80", kQuick), pods);
  }
}

TEST_F(BoxTrafficTest, NodePortAnswersFromOutsideOnEveryNode) {
  std::vector<std::string> pods = box_->Pods("app=web");
  for (const char* node : {"172.30.0.11", "172.30.0.12", "[fd00:172:30::11]",
                           "[fd00:172:30::12]"}) {
    ExpectAnswers(StrCat("outside -> ", node),
                  box_->Load("outside", StrCat(node, ":30080"), kQuick), pods);
  }
  ExpectAnswers("pod -> the other node's NodePort, packet path",
                box_->Load("pod/" + pods[0], "172.30.0.12:30080", kQuick,
                           true),
                pods);
}

TEST_F(BoxTrafficTest, AServiceWithoutEndpointsRefuses) {
  box_->Apply(EchoManifest("empty", 0, 30081));
  box_->Eventually("the frontend is in both kernels", [] {
    for (const char* node : {"node-1", "node-2"}) {
      std::string dump =
          box_->Must(StrCat("fairleadctl service list default/empty --socket ",
                            box_->dir(), "/", node, "/agent.sock"));
      if (!absl::StrContains(dump, "reject")) return false;
    }
    return true;
  });
  std::string pod = "pod/" + box_->Pods("app=web")[0];
  for (const std::string& ip : ClusterIps("empty")) {
    for (bool packet_path : {false, true}) {
      for (const char* protocol : {"tcp", "udp"}) {
        json result = box_->Load(
            pod, ip + ":7", StrCat("--count 3 --rate 100 --protocol ", protocol),
            packet_path);
        EXPECT_EQ(result["failed"], 3) << ip << protocol;
        EXPECT_TRUE(absl::StrContains(result["errors"].dump(), "ECONNREFUSED"))
            << ip << " " << protocol << " packet_path=" << packet_path << " "
            << result.dump();
      }
    }
  }
  json outside = box_->Load("outside", "172.30.0.11:30081",
                            "--count 3 --rate 100");
  EXPECT_TRUE(absl::StrContains(outside["errors"].dump(), "ECONNREFUSED"))
      << outside.dump();
}

TEST_F(BoxTrafficTest, EstablishedConnectionsSurviveOtherEndpointsComingAndGoing) {
  box_->Apply(EchoManifest("stay", 1, 30082));
  box_->Eventually("rollout", [] { return box_->RolledOut("stay"); });
  // Persistent connections for as long as it all takes.
  RunningLoad load(*box_, "outside", "172.30.0.11:30082",
                   "--persistent --workers 4 --rate 100");
  box_->Apply(EchoManifest("stay", 4, 30082));
  box_->Eventually("rollout", [] { return box_->RolledOut("stay"); });
  box_->Apply(EchoManifest("stay", 2, 30082));
  box_->Eventually("scaled down", [] {
    return box_->Pods("app=stay").size() == 2 && box_->RolledOut("stay");
  });
  load.ExpectNoneFailed();
}

TEST_F(BoxTrafficTest, ARollingUpdateLosesNoRequest) {
  box_->Apply(EchoManifest("roll", 3, 30083));
  box_->Eventually("rollout", [] { return box_->RolledOut("roll"); });
  std::vector<std::string> before = box_->Pods("app=roll");
  std::string ip = ClusterIps("roll")[0];
  RunningLoad loads[] = {
      {*box_, "outside", "172.30.0.11:30083", "--rate 100"},
      {*box_, "node-2", ip + ":80", "--rate 100"},
      {*box_, "node-1", ip + ":7", "--rate 100 --protocol udp"},
  };
  box_->Apply(EchoManifest("roll", 3, 30083, "2"));
  box_->Eventually("every pod is new", [&] {
    if (!box_->RolledOut("roll")) return false;
    std::vector<std::string> now = box_->Pods("app=roll");
    std::set<std::string> old(before.begin(), before.end());
    for (const std::string& pod : now)
      if (old.contains(pod)) return false;
    return now.size() == 3;
  });
  for (RunningLoad& load : loads) load.ExpectNoneFailed();
}

TEST_F(BoxTrafficTest, AnUnreadyPodGetsNoNewConnections) {
  box_->Apply(EchoManifest("probe", 2, 0));
  box_->Eventually("rollout", [] { return box_->RolledOut("probe"); });
  std::vector<std::string> pods = box_->Pods("app=probe");
  std::string ip = ClusterIps("probe")[0];
  // One request to /fail makes whichever pod answers fail its probe.
  json hit = box_->Load("node-1", ip + ":80", "--count 1 --path /fail");
  std::string victim = hit["pods"].begin().key();
  std::vector<std::string> others;
  for (const std::string& pod : pods)
    if (pod != victim) others.push_back(pod);
  box_->Eventually("it is out of the kernel", [] {
    return box_->KernelBackends("node-1", "probe").size() == 6;
  });
  ExpectAnswers("only the ready pod", box_->Load("node-1", ip + ":80", kQuick),
                others);
}

}  // namespace
}  // namespace fairlead::e2e
