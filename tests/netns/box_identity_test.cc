// SPDX-License-Identifier: Apache-2.0
// Who may what in a cluster in a box: the administrator, a node, an agent, a
// pod, and somebody from the street.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/netns/box.h"
#include "userspace/base/strings.h"

namespace fairlead::e2e {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

// GET of a URL without any credentials or questions: "STATUS BODY".
constexpr char kGet[] =
    R"(python3 -c 'import ssl, sys, urllib.request as r
try: a = r.urlopen(sys.argv[1], timeout=20, context=ssl._create_unverified_context())
except r.HTTPError as e: a = e
print(a.status, a.read().decode())' )";
constexpr char kAccess[] = "/var/run/secrets/kubernetes.io/serviceaccount";

class BoxIdentityTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto box = TestBox::Start("e2eidentity");
    ASSERT_TRUE(box.ok()) << box.status();
    box_ = std::move(*box);
  }
  static void TearDownTestSuite() { box_.reset(); }
  void SetUp() override {
    ASSERT_NE(box_, nullptr);
    if (box_->Run("kubectl version --client").exit_code != 0)
      GTEST_SKIP() << "kubectl is not installed";
  }

  // kubectl in a node's place, with the credentials of one of its daemons.
  static CommandResult As(const std::string& daemon,
                          const std::string& command) {
    return box_->Exec("node-1", StrCat("kubectl --kubeconfig ", box_->dir(),
                                       "/node-1/", daemon, ".kubeconfig ",
                                       command));
  }
  static void ExpectMay(const std::string& daemon, const std::string& command,
                        const std::string& word) {
    CommandResult result = As(daemon, command);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr(word)) << command;
  }
  static void ExpectForbidden(const std::string& daemon,
                              const std::string& command,
                              const std::string& words) {
    CommandResult result = As(daemon, command);
    EXPECT_NE(result.exit_code, 0) << command << ": " << result.out;
    EXPECT_THAT(result.err, HasSubstr("Error from server (Forbidden)"));
    EXPECT_THAT(result.err, HasSubstr(words));
  }

  static std::unique_ptr<TestBox> box_;
};
std::unique_ptr<TestBox> BoxIdentityTest::box_;

TEST_F(BoxIdentityTest, OnlyItsOwnerReadsAKey) {
  for (const char* file :
       {"kubeconfig", "pki/ca.key", "pki/sa.key", "node-1/agent.kubeconfig",
        "node-1/agent-client.key", "node-2/kubelet.kubeconfig",
        "node-2/kubelet-client.key", "node-2/kubelet-serving.key"}) {
    const fs::path path = box_->dir() + "/" + file;
    EXPECT_EQ(fs::status(path).permissions(),
              fs::perms::owner_read | fs::perms::owner_write)
        << path;
  }
}

TEST_F(BoxIdentityTest, TheAdministratorMayAll) {
  EXPECT_THAT(box_->Must("kubectl auth whoami"), HasSubstr("system:masters"));
  EXPECT_EQ(box_->Must("kubectl auth can-i '*' '*'"), "yes\n");
  EXPECT_THAT(box_->Must("kubectl auth can-i --list"), HasSubstr("*.*"));
}

TEST_F(BoxIdentityTest, WhoShowsNothingSeesNothing) {
  const std::string url = box_->Must(
      "kubectl config view -o jsonpath='{.clusters[0].cluster.server}'");
  EXPECT_THAT(url, HasSubstr("https://127.0.0.1:"));
  const std::string nodes = box_->Must(StrCat(kGet, url, "/api/v1/nodes"));
  EXPECT_EQ(nodes.substr(0, 4), "403 ");
  EXPECT_THAT(nodes,
              HasSubstr("nodes is forbidden: User \\\"system:anonymous\\\" "
                        "cannot list resource \\\"nodes\\\""));
  CommandResult bad = box_->Run("kubectl --kubeconfig /dev/null --token x "
                                "--insecure-skip-tls-verify --server " + url +
                                " get --raw /api/v1/nodes");
  EXPECT_THAT(bad.err, HasSubstr("You must be logged in to the server"));
  // Without the authority a client doesn't believe the server either.
  CommandResult doubt = box_->Run("kubectl --kubeconfig /dev/null --token x "
                                  "--server " + url + " get --raw /version");
  EXPECT_THAT(doubt.err, HasSubstr("certificate signed by unknown authority"));
}

// From another node, from outside: whoever reaches it.
TEST_F(BoxIdentityTest, AKubeletObeysTheApiServerOnly) {
  const std::string kubelet = "https://172.30.0.11:10250";
  for (const char* place : {"node-2", "outside"}) {
    for (const char* path : {"/exec/default/p/c?command=id", "/healthz"}) {
      EXPECT_EQ(box_->Exec(place, StrCat(kGet, "'", kubelet, path, "'")).out,
                "401 Unauthorized\n")
          << place << path;
    }
  }
  CommandResult node = box_->Exec(
      "node-2", StrCat("kubectl --kubeconfig ", box_->dir(),
                       "/node-2/kubelet.kubeconfig --server ", kubelet,
                       " get --raw /stats/summary"));
  EXPECT_THAT(node.err, HasSubstr("Forbidden (user=system:node:node-2, "
                                  "verb=get, resource=nodes, "
                                  "subresource=stats)"));
  CommandResult administrator = box_->Exec(
      "node-2", StrCat("kubectl --kubeconfig ", box_->dir(),
                       "/kubeconfig --server ", kubelet,
                       " get --raw /stats/summary"));
  EXPECT_THAT(administrator.out, HasSubstr("\"nodeName\":\"node-1\""))
      << administrator.err;
}

// `cluster up` makes certificates anew; nobody is restarted.
TEST_F(BoxIdentityTest, AKubeletTakesItsNewCertificate) {
  const std::string file = box_->dir() + "/node-1/kubelet-serving.crt";
  const std::string before = box_->Must("cat " + file);
  box_->Up();
  const std::string now = box_->Must("cat " + file);
  ASSERT_NE(now, before);
  box_->Eventually("the new certificate is shown", [&] {
    return box_->Exec("node-2",
                      "python3 -c 'import ssl; print(ssl."
                      "get_server_certificate((\"172.30.0.11\", 10250)), "
                      "end=\"\")'")
               .out == now;
  });
}

TEST_F(BoxIdentityTest, AKubeletIsItsNode) {
  ExpectMay("kubelet", "auth whoami", "system:node:node-1");
  ExpectMay("kubelet", "get node node-1", "node-1");
  ExpectForbidden("kubelet", "label node node-2 a=b", "node-2");
  ExpectForbidden("kubelet", "get secrets -A",
                  "User \"system:node:node-1\" cannot list resource "
                  "\"secrets\"");
  ExpectForbidden("kubelet", "delete configmap kube-root-ca.crt",
                  "configmaps");
}

TEST_F(BoxIdentityTest, AnAgentReadsServicesAndNoMore) {
  ExpectMay("agent", "auth whoami", "system:kube-proxy");
  ExpectMay("agent", "auth can-i --list", "endpointslices.discovery.k8s.io");
  ExpectMay("agent", "get services -A", "kubernetes");
  ExpectMay("agent", "get endpointslices -A", "kubernetes");
  ExpectMay("agent", "get servicecidrs", "kubernetes");
  ExpectForbidden("agent", "get pods -A",
                  "User \"system:kube-proxy\" cannot list resource \"pods\"");
  ExpectForbidden("agent", "delete service kubernetes", "services");
}

TEST_F(BoxIdentityTest, APodSpeaksToTheServerAsItsAccount) {
  box_->Must("kubectl create namespace team");
  box_->Must("kubectl create serviceaccount robot -n team");
  EXPECT_EQ(box_->Must("kubectl get configmap kube-root-ca.crt -n team "
                       "-o jsonpath='{.data.ca\\.crt}'"),
            box_->Must("cat " + box_->dir() + "/pki/ca.crt"));
  CommandResult refused = box_->Run(
      "kubectl run p -n team --image host "
      "--overrides='{\"spec\":{\"serviceAccountName\":\"nobody\"}}' "
      "--command -- sleep 600");
  EXPECT_THAT(refused.err,
              HasSubstr("Error from server (Forbidden): pods \"p\" is "
                        "forbidden: error looking up service account "
                        "team/nobody: serviceaccount \"nobody\" not found"));
  box_->Must(
      "kubectl run p -n team --image host "
      "--overrides='{\"spec\":{\"serviceAccountName\":\"robot\"}}' "
      "--command -- sleep 600");
  box_->Must("kubectl wait --for=condition=Ready pod/p -n team --timeout=60s");
  // By the Service default/kubernetes, through the node's datapath.
  auto ask = [](const std::string& path) {
    return box_
        ->Run(StrCat("kubectl exec p -n team -- sh -c 'cd ", kAccess,
                     " && cat namespace && kubectl --kubeconfig /dev/null "
                     "--certificate-authority ca.crt --token $(cat token) "
                     "--server https://10.96.0.1 --request-timeout 30s "
                     "get --raw ",
                     path, " 2>&1'"))
        .out;
  };
  const std::string pods = "/api/v1/namespaces/team/pods";
  EXPECT_THAT(ask(pods),
              HasSubstr("pods is forbidden: User "
                        "\"system:serviceaccount:team:robot\" cannot list "
                        "resource \"pods\" in API group \"\" in the "
                        "namespace \"team\""));
  box_->Must("kubectl create rolebinding robot -n team --clusterrole=view "
             "--serviceaccount=team:robot");
  EXPECT_THAT(ask(pods), HasSubstr("\"PodList\""));
  EXPECT_EQ(ask(pods).substr(0, 4), "team");
  EXPECT_THAT(ask("/api/v1/namespaces/default/pods"), HasSubstr("forbidden"));
}

}  // namespace
}  // namespace fairlead::e2e
