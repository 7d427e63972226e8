// SPDX-License-Identifier: Apache-2.0
// A stock kubectl against the controller: the commands that people type, and
// what they print. Without kubectl the tests are skipped (a failure in CI).
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "tests/netns/box.h"
#include "userspace/base/strings.h"

namespace fairlead::e2e {
namespace {

class BoxKubectlTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto box = TestBox::Start("e2ekubectl");
    ASSERT_TRUE(box.ok()) << box.status();
    box_ = std::move(*box);
  }
  static void TearDownTestSuite() { box_.reset(); }
  void SetUp() override {
    ASSERT_NE(box_, nullptr);
    if (box_->Run("kubectl version --client").exit_code != 0)
      GTEST_SKIP() << "kubectl is not installed";
  }

  // Standard output and error together, as a person sees them.
  static std::string Say(const std::string& command) {
    return box_->Must(command + " 2>&1");
  }
  static void ExpectSays(const std::string& command,
                         const std::vector<std::string>& words) {
    std::string said = Say(command);
    for (const std::string& word : words)
      EXPECT_TRUE(absl::StrContains(said, word))
          << command << " does not say \"" << word << "\":\n" << said;
  }
  static void ExpectFails(const std::string& command, const std::string& word) {
    CommandResult result = box_->Run(command);
    EXPECT_NE(result.exit_code, 0) << command;
    EXPECT_TRUE(absl::StrContains(result.err, word))
        << command << ":\n" << result.out << result.err;
  }

  static std::unique_ptr<TestBox> box_;
};
std::unique_ptr<TestBox> BoxKubectlTest::box_;

TEST_F(BoxKubectlTest, TheLifeOfADeployment) {
  std::string file = box_->dir() + "/web.yaml";
  std::string manifest = EchoManifest("web", 2, 30080);
  box_->Must(StrCat("cat >", file, " <<'EOF'\n", manifest, "\nEOF"));
  ExpectSays("kubectl apply -f " + file,
             {"deployment.apps/web created", "service/web created"});
  ExpectSays("kubectl rollout status deployment/web --timeout=60s",
             {"deployment \"web\" successfully rolled out"});
  ExpectSays("kubectl wait --for=condition=Available deployment/web "
             "--timeout=30s",
             {"deployment.apps/web condition met"});
  ExpectSays("kubectl apply -f " + file,
             {"deployment.apps/web unchanged", "service/web unchanged"});
  ExpectSays("kubectl get deployments",
             {"NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "2/2"});
  ExpectSays("kubectl get pods -o wide",
             {"STATUS", "RESTARTS", "NOMINATED NODE", "Running", "1/1",
              "10.244."});
  ExpectSays("kubectl get svc web", {"NodePort", "80:30080/TCP"});
  ExpectSays("kubectl get nodes", {"STATUS", "ROLES", "Ready"});
  ExpectSays("kubectl get endpointslices", {"ADDRESSTYPE", "IPv4", "IPv6"});
  ExpectSays("kubectl get pods -l app=web -o name", {"pod/web-"});
  ExpectSays("kubectl get deployment web -o jsonpath='{.spec.replicas}'",
             {"2"});
  ExpectSays("kubectl get deployment web -o yaml",
             {"kind: Deployment", "maxSurge: 1"});
  ExpectSays("kubectl get deployment web -o json", {"\"kind\": \"Deployment\""});
  ExpectSays("kubectl describe deployment web",
             {"RollingUpdateStrategy:", "2 desired | 2 updated",
              "ScalingReplicaSet"});
  ExpectSays("kubectl describe service web", {"NodePort:", "Endpoints:"});
  ExpectSays("kubectl describe pod -l app=web",
             {"Successfully assigned", "Readiness:", "Started"});
  ExpectSays("kubectl describe node node-1", {"Allocatable:", "Non-terminated"});
  ExpectSays("kubectl scale deployment/web --replicas=3",
             {"deployment.apps/web scaled"});
  ExpectSays("kubectl rollout status deployment/web --timeout=60s",
             {"successfully rolled out"});
  ExpectSays("kubectl label deployment/web team=net", {"labeled"});
  ExpectSays("kubectl get deployments -l team=net", {"3/3"});
  ExpectSays("kubectl set image deployment/web echo=nginx", {"image updated"});
  ExpectSays("kubectl get pods", {"web-"});
  box_->Eventually("the unknown image is said", [] {
    return absl::StrContains(Say("kubectl get pods"), "ImagePull");
  });
  // The old pods go on serving.
  ExpectSays("kubectl get deployment web", {"3/3"});
  ExpectSays("kubectl set image deployment/web echo=host", {"image updated"});
  ExpectSays("kubectl rollout status deployment/web --timeout=60s",
             {"successfully rolled out"});
  ExpectSays("kubectl delete -f " + file,
             {"deployment.apps \"web\" deleted", "service \"web\" deleted"});
  ExpectSays("kubectl wait --for=delete pod -l app=web --timeout=60s || true",
             {});
  box_->Eventually("no pod is left", [] {
    return absl::StrContains(Say("kubectl get pods"), "No resources found");
  });
}

TEST_F(BoxKubectlTest, VersionAndKinds) {
  ExpectSays("kubectl version", {"Server Version"});
  ExpectSays("kubectl api-resources",
             {"deployments", "deploy", "apps/v1", "endpointslices", "leases"});
  ExpectSays("kubectl get namespaces", {"default", "kube-system", "Active"});
}

TEST_F(BoxKubectlTest, CreateFromAFileAndConflicts) {
  std::string file = box_->dir() + "/cm.yaml";
  box_->Must(StrCat("cat >", file,
                    " <<'EOF'\napiVersion: v1\nkind: ConfigMap\nmetadata: "
                    "{name: settings}\ndata: {a: \"1\"}\nEOF"));
  ExpectSays("kubectl create -f " + file, {"configmap/settings created"});
  ExpectFails("kubectl create -f " + file, "already exists");
  ExpectSays("kubectl delete configmap settings", {"deleted"});
  ExpectFails("kubectl get configmap settings", "not found");
}

TEST_F(BoxKubectlTest, ServerSideApplyKnowsWhoseAFieldIs) {
  auto apply = [](const std::string& flags, const std::string& data) {
    return StrCat("(kubectl apply --server-side ", flags,
                  " -f - <<'EOF'\napiVersion: v1\nkind: ConfigMap\nmetadata: "
                  "{name: shared}\ndata: {",
                  data, "}\nEOF\n)");
  };
  auto data = [] {
    return Say("kubectl get configmap shared -o jsonpath='{.data}'");
  };
  ExpectSays(apply("", "a: one, b: one"),
             {"configmap/shared serverside-applied"});
  // Another manager: the same value is shared, another one is a conflict.
  ExpectSays(apply("--field-manager=other", "a: one, c: other"),
             {"serverside-applied"});
  ExpectFails(apply("--field-manager=other", "a: one, b: two"),
              "Apply failed with 1 conflict: conflict with \"kubectl\": "
              ".data.b");
  ExpectFails(apply("--field-manager=other", "a: two, b: two"),
              "Please review the fields above--they currently have other "
              "managers.");
  ExpectSays(apply("--field-manager=other --force-conflicts", "a: one, b: two"),
             {"serverside-applied"});
  // c was other's alone and is gone.
  EXPECT_EQ(data(), R"({"a":"one","b":"two"})");
  // What kubectl gives up, other still has; its own is gone.
  ExpectSays(apply("", "d: one"), {"serverside-applied"});
  EXPECT_EQ(data(), R"({"a":"one","b":"two","d":"one"})");
  ExpectSays("kubectl get configmap shared -o yaml --show-managed-fields",
             {"manager: other", "f:d: {}", "operation: Apply"});
  EXPECT_FALSE(absl::StrContains(Say("kubectl get configmap shared -o yaml"),
                                 "managedFields"));
  box_->Must("kubectl delete configmap shared");
}

TEST_F(BoxKubectlTest, ServerSideApplyTakesOverFromClientSide) {
  auto apply = [](const std::string& flags, const std::string& rest) {
    return StrCat("(kubectl apply ", flags,
                  " -f - <<'EOF'\napiVersion: v1\nkind: ConfigMap\nmetadata: "
                  "{name: moved}\n",
                  rest, "\nEOF\n)");
  };
  ExpectSays(apply("", "data: {a: one, b: one}"), {"configmap/moved created"});
  // No conflict with what kubectl itself had set; what it no longer sets goes,
  // and the annotation goes along, so that the way back works.
  ExpectSays(apply("--server-side", "data: {b: two, c: two}"),
             {"configmap/moved serverside-applied"});
  EXPECT_EQ(Say("kubectl get configmap moved -o jsonpath='{.data}'"),
            R"({"b":"two","c":"two"})");
  ExpectSays("kubectl apply view-last-applied configmap/moved",
             {"b: two", "c: two"});
  EXPECT_FALSE(absl::StrContains(
      Say("kubectl get configmap moved -o yaml --show-managed-fields"),
      "kubectl-client-side-apply"));
  ExpectSays(apply("", "data: {b: two, c: two}"), {"configmap/moved"});
  ExpectFails(apply("--server-side", "nonsense: 1"),
              ".nonsense: field not declared in schema");
  box_->Must("kubectl delete configmap moved");
}

TEST_F(BoxKubectlTest, AWatchPrintsEachChange) {
  std::string out = box_->dir() + "/watch.txt";
  box_->Must(StrCat("kubectl create -f - <<'EOF'\napiVersion: v1\nkind: "
                    "ConfigMap\nmetadata: {name: seen}\nEOF"));
  box_->Must(StrCat("(timeout 20 kubectl get configmaps -w >", out,
                    " 2>&1 & echo $! >", out, ".pid)"));
  box_->Eventually("the list is printed", [&] {
    return absl::StrContains(box_->Run("cat " + out).out, "seen");
  });
  box_->Must("kubectl label configmap seen x=y");
  box_->Eventually("the change is printed", [&] {
    std::string text = box_->Run("cat " + out).out;
    return text.find("seen") != text.rfind("seen");
  });
  box_->Run(StrCat("kill $(cat ", out, ".pid)"));
}

TEST_F(BoxKubectlTest, BadInputIsNamed) {
  auto apply = [](const std::string& yaml) {
    return StrCat("cat <<'EOF' | kubectl apply -f -\n", yaml, "\nEOF");
  };
  ExpectFails(apply("apiVersion: v1\nkind: Service\nmetadata: {name: bad}\n"
                    "spec: {ports: [{port: 70000}]}"),
              "spec.ports[0].port");
  ExpectFails(apply("apiVersion: v1\nkind: Service\nmetadata: {name: bad}\n"
                    "spec: {prots: []}"),
              "unknown field \"spec.prots\"");
  EXPECT_EQ(box_->Run("kubectl get service bad").exit_code, 1);
}

TEST_F(BoxKubectlTest, AnUnknownKindIsNamed) {
  std::string foo =
      "cat <<'EOF' | kubectl VERB -f -\napiVersion: example.com/v1\n"
      "kind: Foo\nmetadata: {name: x}\nEOF";
  for (const char* verb : {"apply", "create", "delete"}) {
    ExpectFails(absl::StrReplaceAll(foo, {{"VERB", verb}}),
                "no matches for kind \"Foo\" in version \"example.com/v1\"");
  }
  ExpectFails(
      "cat <<'EOF' | kubectl apply -f -\napiVersion: apiextensions.k8s.io/v1\n"
      "kind: CustomResourceDefinition\nmetadata: {name: foos.example.com}\nEOF",
      "no matches for kind \"CustomResourceDefinition\"");
  for (const char* command : {"get foos", "get foos.example.com x",
                              "describe foos", "explain foos"}) {
    ExpectFails(StrCat("kubectl ", command),
                "the server doesn't have a resource type \"foos\"");
  }
}

TEST_F(BoxKubectlTest, AnUnschedulablePodSaysWhy) {
  box_->Must(
      "cat <<'EOF' | kubectl apply -f -\napiVersion: v1\nkind: Pod\nmetadata: "
      "{name: huge}\nspec: {containers: [{name: c, image: host, command: "
      "[sleep, \"60\"], resources: {requests: {cpu: \"1000\"}}}]}\nEOF");
  box_->Eventually("the condition says why", [] {
    return absl::StrContains(
        Say("kubectl get pod huge -o jsonpath='{.status.conditions}'"),
        "Insufficient cpu");
  });
  box_->Eventually("the event says why", [] {
    return absl::StrContains(Say("kubectl describe pod huge"),
                             "FailedScheduling");
  });
  box_->Must("kubectl delete pod huge --now");
}

}  // namespace
}  // namespace fairlead::e2e
