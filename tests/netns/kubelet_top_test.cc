// SPDX-License-Identifier: Apache-2.0
// kubectl top, with a pod that uses a processor.
#include "tests/netns/kubelet_streams_fixture.h"

#include "absl/strings/str_split.h"

namespace fairlead {
namespace {

constexpr char kBusy[] = R"(
apiVersion: v1
kind: Pod
metadata: {name: busy, labels: {app: busy}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
  - {name: spin, image: host, command: [sh, -c, 'while :; do :; done']}
  - {name: rest, image: host, command: [sleep, infinity]}
)";

class KubectlTopTest : public KubeletStreamsTest {
 protected:
  void TearDown() override {
    if (!IsSkipped()) Run("kubectl delete pod busy");
  }
};

TEST_F(KubectlTopTest, NodesAndPods) {
  std::ofstream(Path("busy.yaml")) << kBusy;
  ASSERT_EQ(Run("kubectl apply -f " + Path("busy.yaml")).code, 0);
  Outcome top;
  ASSERT_TRUE(Eventually(
      [&] {
        top = Run("kubectl top pod busy --containers --no-headers "
                  "--sort-by=cpu");
        return top.code == 0 && top.text.find("spin") != std::string::npos;
      },
      absl::Seconds(60)))
      << top.text;
  // The one that spins comes first.
  EXPECT_THAT(top.text,
              ::testing::MatchesRegex("busy +spin +[0-9]+m +[0-9]+Mi *\n"
                                      "busy +rest +0m +[0-9]+Mi *\n"));
  const std::vector<std::string> words =
      absl::StrSplit(top.text, ' ', absl::SkipEmpty());
  EXPECT_GT(atoi(words[2].c_str()), 50) << "a spinning shell uses a processor";
  EXPECT_THAT(Run("kubectl top pod -A --containers --sort-by=cpu").text,
              ::testing::MatchesRegex(
                  "NAMESPACE +POD +NAME +CPU\\(cores\\) +MEMORY\\(bytes\\) *\n"
                  "default +busy +spin +(.|\n)*default +two +a +(.|\n)*"));
  EXPECT_THAT(Run("kubectl top pod -l app=busy").text,
              ::testing::MatchesRegex("NAME +CPU\\(cores\\) +MEMORY\\(bytes\\)"
                                      " *\nbusy +[0-9]+m +[0-9]+Mi *\n"));
  for (const char* line : {"kubectl top node", "kubectl top node node-1"}) {
    EXPECT_THAT(Run(line).text,
                ::testing::MatchesRegex(
                    "NAME +CPU\\(cores\\) +CPU\\(%\\) +MEMORY\\(bytes\\) +"
                    "MEMORY\\(%\\) *\nnode-1 +[0-9]+m +[0-9]+% +[0-9]+Mi +"
                    "[0-9]+% *\n"))
        << line;
  }
  EXPECT_EQ(Run("kubectl get pods.metrics.k8s.io busy -o "
                "jsonpath='{.kind} {.window}'").text, "PodMetrics 10s");
  EXPECT_THAT(Run("kubectl top pod none").text,
              HasSubstr("Error from server (NotFound): "
                        "podmetrics.metrics.k8s.io \"default/none\" not "
                        "found"));
}

}  // namespace
}  // namespace fairlead
