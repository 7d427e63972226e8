// SPDX-License-Identifier: Apache-2.0
// kubectl port-forward as a user runs it: the real kubectl, which asks for
// SPDY inside a WebSocket and, told to, for SPDY alone.
#include "tests/netns/kubelet_streams_fixture.h"

#include "absl/strings/numbers.h"

namespace fairlead {
namespace {

// The pod serves on its loopback address, where nothing but a forward gets to.
constexpr char kForwarded[] = R"(
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: host
        command: [python3, "@DIR@/forwarded.py", serve, "8080"]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe:
          exec: {command: [sh, -c, "ss -Hltn 'sport = :8080' | grep -q ."]}
          periodSeconds: 1
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
)";

class KubectlPortForwardTest : public KubeletStreamsTest {
 protected:
  void SetUp() override {
    KubeletStreamsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    std::string yaml = kForwarded;
    yaml.replace(yaml.find("@DIR@"), 5, FAIRLEAD_SOURCE_DIR "/tests/netns");
    std::ofstream(Path("web.yaml")) << yaml;
    ASSERT_EQ(Run("kubectl apply -f " + Path("web.yaml")).code, 0);
    const Outcome ready =
        Run("kubectl wait --for=condition=Available deployment/web "
            "--timeout=30s && kubectl get pods -l app=web -o name");
    ASSERT_EQ(ready.code, 0) << ready.text << Run("kubectl get pods").text;
    pod_ = ready.text.substr(ready.text.find("pod/"));
    pod_.resize(pod_.find('\n'));
  }
  void TearDown() override {
    for (const int pid : started_) Run(StrCat("kill ", pid));
    if (!pod_.empty()) Run("kubectl delete deployment,service web");
  }

  struct Forward {
    int pid = 0;   // kubectl's
    int port = 0;  // 0: it doesn't forward
    std::string output;  // path
  };
  // kubectl port-forward WORDS, once it listens.
  Forward Start(const std::string& words, const std::string& before = "") {
    Forward forward;
    forward.output = Path(StrCat("forward", started_.size()));
    const Outcome started = Run(StrCat(
        before, " kubectl port-forward ", words, " > ", forward.output,
        " 2>&1 < /dev/null & echo $!"));
    if (!absl::SimpleAtoi(started.text, &forward.pid)) return forward;
    started_.push_back(forward.pid);
    EXPECT_TRUE(Eventually([&] {
      const std::string text = Said(forward);
      const std::string_view begin = "Forwarding from 127.0.0.1:";
      const size_t at = text.find(begin);
      return at != std::string::npos && text.find('\n', at) != text.npos &&
             (forward.port = atoi(text.c_str() + at + begin.size())) > 0;
    })) << Said(forward);
    return forward;
  }
  static std::string Said(const Forward& forward) {
    return Run("cat " + forward.output).text;
  }
  static Outcome Client(const std::string& words) {
    return Run(StrCat("timeout 100 python3 ", FAIRLEAD_SOURCE_DIR,
                      "/tests/netns/forwarded.py ", words));
  }
  // Connections to the pod's program, seen in the pod.
  int Connections() const {
    const Outcome uid = Run(StrCat("kubectl get ", pod_,
                                   " -o jsonpath='{.metadata.uid}'"));
    const Outcome seen =
        Run(StrCat("nsenter --net=", Path("netns"), "/streams-", uid.text,
                   " ss -Htn state established 'sport = :8080' | wc -l"));
    EXPECT_EQ(seen.code, 0) << seen.text;
    return atoi(seen.text.c_str());
  }

  std::string pod_;  // pod/NAME
  std::vector<int> started_;
};

TEST_F(KubectlPortForwardTest, PodsDeploymentsAndServices) {
  const std::string name = pod_.substr(4);
  for (const std::string& target :
       {pod_ + " :8080", std::string("deployment/web :8080"),
        std::string("deployment/web :http"), std::string("svc/web :80")}) {
    const Forward forward = Start(target);
    const Outcome answer =
        Run(StrCat("curl -sS --max-time 10 http://127.0.0.1:", forward.port));
    EXPECT_EQ(answer.text, StrCat("hello from ", name, "\n"))
        << target << "\n" << Said(forward);
    EXPECT_THAT(Said(forward), HasSubstr("Handling connection for "));
  }
}

// What kubectl did before 1.31.
TEST_F(KubectlPortForwardTest, WithoutAWebSocket) {
  const Forward forward =
      Start(pod_ + " :8080 -v=6", "KUBECTL_PORT_FORWARD_WEBSOCKETS=false");
  EXPECT_EQ(Client(StrCat("echo ", forward.port, " 5")).text, "5 right\n")
      << Said(forward);
  EXPECT_THAT(Said(forward), HasSubstr("POST https://"));
  EXPECT_THAT(Said(forward), HasSubstr("/portforward 101 Switching"));
}

TEST_F(KubectlPortForwardTest, FiftyConnectionsAtOnceOverOne) {
  const Forward forward = Start(pod_ + " :8080");
  EXPECT_EQ(Client(StrCat("echo ", forward.port, " 50")).text, "50 right\n")
      << Said(forward);
  // All of them are gone afterwards, and the forward is not.
  EXPECT_TRUE(Eventually([&] { return Connections() == 0; }));
  EXPECT_EQ(Client(StrCat("echo ", forward.port, " 1")).text, "1 right\n");
}

TEST_F(KubectlPortForwardTest, LargeTransfersEachWay) {
  const Forward forward = Start(pod_ + " :8080");
  EXPECT_EQ(Client(StrCat("put ", forward.port, " 50000000")).text, "same\n")
      << Said(forward);
  EXPECT_EQ(Client(StrCat("get ", forward.port, " 50000000")).text, "same\n")
      << Said(forward);
}

TEST_F(KubectlPortForwardTest, APortThatNobodyListensOn) {
  const Forward forward = Start(pod_ + " :81");
  Run(StrCat("curl -sS --max-time 10 http://127.0.0.1:", forward.port));
  EXPECT_TRUE(Eventually([&] {
    return Said(forward).find("lost connection to pod") != std::string::npos;
  })) << Said(forward);
  EXPECT_THAT(
      Said(forward),
      ::testing::ContainsRegex(StrCat(
          "an error occurred forwarding ", forward.port,
          " -> 81: error forwarding port 81 to pod ", pod_.substr(4),
          "_default, uid : failed to execute portforward in network namespace "
          ".+: failed to connect to localhost:81 inside namespace .+, "
          "IPv4: dial tcp4 127.0.0.1:81: connect: connection refused IPv6 "
          "dial tcp6 \\[::1\\]:81: connect: connection refused")));
}

TEST_F(KubectlPortForwardTest, AKilledKubectlEndsItsConnections) {
  const Forward forward = Start(pod_ + " :8080");
  Run(StrCat("python3 ", FAIRLEAD_SOURCE_DIR, "/tests/netns/forwarded.py hold ",
             forward.port, " > ", Path("held"), " 2>&1 < /dev/null & "
             "until grep -q held ", Path("held"), "; do sleep 0.05; done"));
  EXPECT_EQ(Connections(), 1);
  Run(StrCat("kill -9 ", forward.pid));
  EXPECT_TRUE(Eventually([&] { return Connections() == 0; }));
}

TEST_F(KubectlPortForwardTest, WhatCantBeForwarded) {
  EXPECT_THAT(Run("kubectl port-forward pod/pulling :80").text,
              HasSubstr("unable to forward port because pod is not running. "
                        "Current status=Pending"));
  const std::string path = "/api/v1/namespaces/default/pods/";
  EXPECT_THAT(Run(StrCat("kubectl get --raw ", path, "unbound/portforward"))
                  .text,
              HasSubstr("pod unbound does not have a host assigned"));
  EXPECT_THAT(Run(StrCat("kubectl get --raw ", path, "none/portforward")).text,
              HasSubstr("pods \"none\" not found"));
  // Asked for without an upgrade.
  EXPECT_THAT(Run(StrCat("kubectl get --raw ", path, "two/portforward")).text,
              HasSubstr("unable to upgrade: only WebSocket and SPDY/3.1 are "
                        "spoken here"));
  // Who may see pods may not reach into them.
  Run("kubectl create serviceaccount viewer; kubectl create rolebinding viewer "
      "--clusterrole=view --serviceaccount=default:viewer");
  const std::string viewer = "--as=system:serviceaccount:default:viewer";
  EXPECT_THAT(Run(StrCat("kubectl port-forward ", pod_, " :8080 ", viewer))
                  .text,
              HasSubstr("cannot create resource \"pods/portforward\" in API "
                        "group \"\" in the namespace \"default\""));
  Run("kubectl delete rolebinding/viewer serviceaccount/viewer");
}

}  // namespace
}  // namespace fairlead
