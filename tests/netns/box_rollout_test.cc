// SPDX-License-Identifier: Apache-2.0
// Maintenance and accidents under constant load: a drain with a disruption
// budget, a rollout that fails, a node that dies, a node that is cut off.
// kubectl is asked where it is what people use; without it these tests are
// skipped (a failure in CI).
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "tests/netns/box.h"
#include "userspace/base/strings.h"

namespace fairlead::e2e {
namespace {

constexpr absl::Duration kGrace = absl::Seconds(5);

class BoxRolloutTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto box = TestBox::Start(
        "e2erollout",
        StrCat("--kubelet-flag=--lease-interval=1 "
               "--controller-flag=--node-monitor-grace-period=",
               absl::FormatDuration(kGrace),
               " --controller-flag=--pod-eviction-timeout=3s"));
    ASSERT_TRUE(box.ok()) << box.status();
    box_ = std::move(*box);
    box_->Apply(EchoManifest("web", 4, 30080));
    Spread();
  }
  static void TearDownTestSuite() { box_.reset(); }
  void SetUp() override { ASSERT_NE(box_, nullptr); }

  static bool HasKubectl() {
    return box_->Run("kubectl version --client").exit_code == 0;
  }

  // A pod that asks for no processor is given little of a busy machine's: where
  // nothing may be lost, an answer has kPatience.
  static constexpr absl::Duration kPatience = absl::Seconds(5);

  static std::vector<RunningLoad> Loads(const std::string& service,
                                        int node_port,
                                        absl::Duration patience = kPatience) {
    std::string ip = box_->Get("services " + service)["spec"]["clusterIP"];
    std::vector<RunningLoad> loads;
    // More workers than requests that can be waiting: none is sent late.
    constexpr int kRate = 100;
    const std::string flags =
        StrCat(" --rate ", kRate, " --workers ",
               absl::ToInt64Seconds(kRate * patience) + 50, " --timeout ",
               absl::FormatDuration(patience));
    loads.emplace_back(*box_, "outside", StrCat("172.30.0.11:", node_port),
                       flags);
    loads.emplace_back(*box_, "node-1", ip + ":80", flags);
    loads.emplace_back(*box_, "node-1", ip + ":7",
                       StrCat("--protocol udp", flags));
    return loads;
  }

  // Nodes that web's pods are on or are meant for.
  static std::multiset<std::string> Nodes() {
    std::multiset<std::string> nodes;
    json pods = box_->Get("pods -l app=web");
    for (const json& pod : pods["items"]) {
      if (!pod["metadata"].contains("deletionTimestamp"))
        nodes.insert(pod["spec"].value("nodeName", ""));
    }
    return nodes;
  }
  static bool IsServed() {
    std::vector<std::string> backends = box_->KernelBackends("node-1", "web");
    return box_->RolledOut("web") && backends.size() == 24 &&
           backends == box_->ApiBackends("web");
  }
  // Pods on both nodes; new ones, where that is necessary.
  static void Spread() {
    static int release = 1;
    auto spread = [] {
      std::multiset<std::string> nodes = Nodes();
      return nodes.count("node-1") > 0 && nodes.count("node-2") > 0;
    };
    box_->Eventually("node-2 takes pods", [] {
      return !box_->Get("nodes node-2")["spec"].contains("taints");
    });
    if (!spread()) {
      box_->Apply(EchoManifest("web", 4, 30080, std::to_string(++release)));
    }
    box_->Eventually("pods on both nodes",
                     [&] { return spread() && IsServed(); });
  }

  static std::string ConditionOf(const std::string& what,
                                 const std::string& type) {
    json object = box_->Get(what);
    for (const json& c : object["status"]["conditions"]) {
      if (c["type"] == type)
        return StrCat(c["status"].get<std::string>(), " ",
                      c["reason"].get<std::string>());
    }
    return "";
  }

  // No request that was begun after `known` failed, some before it did.
  static void ExpectFailuresUntil(absl::Time known, RunningLoad* load) {
    json result = load->End();
    absl::Time last = absl::FromUnixMillis(result["started_unix_ms"]) +
                      absl::Milliseconds(result["last_failure_ms"].get<double>());
    EXPECT_GT(result["failed"], 0) << "the node wasn't dead";
    EXPECT_LT(last, known) << result.dump();
    std::printf("%d of %d failed, the last %s before it was known\n",
                result["failed"].get<int>(), result["sent"].get<int>(),
                absl::FormatDuration(known - last).c_str());
  }

  static std::unique_ptr<TestBox> box_;
};
std::unique_ptr<TestBox> BoxRolloutTest::box_;

TEST_F(BoxRolloutTest, ADrainWithABudgetLosesNoRequest) {
  if (!HasKubectl()) GTEST_SKIP() << "kubectl is not installed";
  box_->Apply(R"({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
      "metadata": {"name": "web"}, "spec": {"maxUnavailable": 1,
      "selector": {"matchLabels": {"app": "web"}}}})");
  box_->Eventually("the budget is counted", [] {
    return ConditionOf("poddisruptionbudgets web", "DisruptionAllowed") ==
           "True SufficientPods";
  });
  auto loads = Loads("web", 30080);
  std::string said = box_->Must("kubectl drain node-2 --timeout=60s 2>&1");
  EXPECT_TRUE(absl::StrContains(
      said, "Cannot evict pod as it would violate the pod's disruption budget"))
      << "the budget was never asked: " << said;
  box_->Eventually("all on node-1", [] {
    return IsServed() && Nodes().count("node-1") == 4;
  });
  for (RunningLoad& load : loads) load.ExpectNoneFailed();
  box_->Must("kubectl uncordon node-2");
  box_->Must("kubectl delete pdb web");
}

TEST_F(BoxRolloutTest, ABadRolloutLeavesTheOldPodsServing) {
  if (!HasKubectl()) GTEST_SKIP() << "kubectl is not installed";
  std::string good = EchoManifest("bad", 3, 30081);
  box_->Apply(good);
  box_->Eventually("rollout", [] { return box_->RolledOut("bad"); });
  std::vector<std::string> before = box_->Pods("app=bad");
  auto loads = Loads("bad", 30081);
  box_->Apply(absl::StrReplaceAll(
      good, {{"path: /healthz", "path: /nowhere"},
             {"replicas: 3", "replicas: 3\n  progressDeadlineSeconds: 2"}}));
  CommandResult status =
      box_->Run("kubectl rollout status deployment/bad --timeout=30s");
  EXPECT_NE(status.exit_code, 0);
  EXPECT_TRUE(absl::StrContains(status.err, "exceeded its progress deadline"))
      << status.out << status.err;
  EXPECT_EQ(ConditionOf("deployments bad", "Progressing"),
            "False ProgressDeadlineExceeded");
  EXPECT_EQ(ConditionOf("deployments bad", "Available"),
            "True MinimumReplicasAvailable");
  std::vector<std::string> now = box_->Pods("app=bad");
  EXPECT_EQ(now.size(), 4u);
  for (const std::string& pod : before)
    EXPECT_EQ(std::count(now.begin(), now.end(), pod), 1) << pod;

  // Stuck as it is, it grows in proportion: 3 and 1 of 4 become 5 and 2 of 7.
  box_->Must("kubectl scale deployment/bad --replicas=6");
  box_->Eventually("both ReplicaSets have grown", [] {
    std::multiset<int> sizes;
    json sets = box_->Get("replicasets -l app=bad");
    for (const json& rs : sets["items"])
      sizes.insert(rs["spec"]["replicas"].get<int>());
    return sizes == std::multiset<int>{2, 5};
  });
  box_->Must("kubectl rollout undo deployment/bad");
  box_->Eventually("all are of the old template again", [] {
    return box_->RolledOut("bad") && box_->Pods("app=bad").size() == 6;
  });
  for (RunningLoad& load : loads) load.ExpectNoneFailed();
  for (const char* kind : {"deployments", "services"})
    box_->Must(StrCat("fairleadctl delete ", kind, " bad"));
}

// What is sent to a dead node is lost until somebody knows: what is promised
// is how long that takes, and that nothing is lost after it.
TEST_F(BoxRolloutTest, ADeadNodeIsFeltOnlyUntilItIsKnown) {
  Spread();
  auto loads = Loads("web", 30080, absl::Seconds(1));
  absl::SleepFor(absl::Milliseconds(300));
  absl::Time died = absl::Now();
  box_->KillNode("node-2");
  box_->Eventually("its endpoints are out of node-1's kernel", [] {
    std::vector<std::string> left = box_->KernelBackends("node-1", "web");
    return left.size() < 24 && left == box_->ApiBackends("web");
  });
  absl::Time known = absl::Now();
  std::printf("known after %s\n", absl::FormatDuration(known - died).c_str());
  EXPECT_LT(known - died, kGrace + absl::Milliseconds(1500));
  box_->Eventually("four on node-1", [] {
    return IsServed() && Nodes().count("node-1") == 4;
  });
  for (RunningLoad& load : loads) ExpectFailuresUntil(known, &load);
  box_->Up();
  Spread();
  json answers = box_->Load("node-1", "172.30.0.11:30080",
                            "--count 200 --rate 1000");
  EXPECT_EQ(answers["failed"], 0) << answers.dump();
}

// The same for those who can't reach it; but it comes back with pods that
// were given up meanwhile.
TEST_F(BoxRolloutTest, ANodeThatWasCutOffComesBack) {
  Spread();
  auto loads = Loads("web", 30080, absl::Seconds(1));
  absl::SleepFor(absl::Milliseconds(300));
  box_->SetLink("node-2", false);
  box_->Eventually("four on node-1", [] {
    return IsServed() && Nodes().count("node-1") == 4;
  });
  absl::Time known = absl::Now();
  box_->SetLink("node-2", true);
  Spread();
  for (RunningLoad& load : loads) ExpectFailuresUntil(known, &load);
}

}  // namespace
}  // namespace fairlead::e2e
