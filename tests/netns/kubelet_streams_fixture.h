// SPDX-License-Identifier: Apache-2.0
// A controller and a kubelet over TLS, all in one network namespace, for what
// the real kubectl asks of running pods. One of them for all tests of a suite.
// For tests only.
#ifndef FAIRLEAD_TESTS_NETNS_KUBELET_STREAMS_FIXTURE_H_
#define FAIRLEAD_TESTS_NETNS_KUBELET_STREAMS_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "tests/harness/scopes.h"
#include "tests/harness/spawn.h"
#include "userspace/base/strings.h"
#include "userspace/base/write_file.h"
#include "userspace/pki/authority.h"
#include "userspace/pki/kubelet_client.h"

namespace fairlead {

namespace fs = std::filesystem;
using harness::Eventually;
using ::testing::HasSubstr;

inline constexpr char kPod[] = R"(
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: host
    command:
    - sh
    - -c
    - 'echo one; echo two; echo three >&2; trap "exit 0" TERM;
       while [ ! -e $FLAG ]; do sleep 0.05; done; echo last; sleep 1000 & wait'
    env: [{name: FLAG, value: "@DIR@/flag"}]
  - {name: b, image: host, command: [sh, -c, 'echo crashing; exit 3']}
---
apiVersion: v1
kind: Pod
metadata: {name: unbound}
spec:
  automountServiceAccountToken: false
  nodeSelector: {there: is-none}
  containers: [{name: c, image: host, command: ["true"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: pulling}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: nginx}]
)";

class KubeletStreamsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { world_ = new World; }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  void SetUp() override {
    if (Run("kubectl version --client").code != 0)
      GTEST_SKIP() << "kubectl is not installed";
    ASSERT_TRUE(world_->ready);
  }

  struct Outcome {
    int code;
    std::string text;
  };
  // A shell line inside, with KUBECONFIG; both streams.
  static Outcome Run(const std::string& line) { return world_->Run(line); }
  static std::string Path(const std::string& name) {
    return world_->Path(name);
  }
  static void WriteServingCertificate(const std::string& folder) {
    world_->WriteServingCertificate(folder);
  }
  static void WriteKubeletClient(const std::string& user) {
    world_->WriteKubeletClient(user);
  }

 private:
  struct World {
    World() {
      node.emplace(*harness::NetnsScope::Create());
      other.emplace(*harness::NetnsScope::Create());
      cgroup.emplace(*harness::CgroupScope::Create());
      dir.emplace(*harness::TempDirScope::Create());
      EXPECT_TRUE(harness::AddVethPair(*node, "up0", *other, "up0").ok());
      EXPECT_TRUE(node->Command("ip addr add 192.0.2.11/24 dev up0").ok());
      const std::string bin = FAIRLEAD_BINARY_DIR "/bin/";
      WriteServingCertificate("pki");
      WriteKubeletClient(pki::kKubeletClientUser);
      controller = Spawn({bin + "fairlead-controller", "--store",
                          Path("store.db"), "--listen", "https://127.0.0.1:0",
                          "--kubelet-client-certificate", Path("client.crt"),
                          "--kubelet-client-key", Path("client.key"),
                          "--write-kubeconfig", Path("kubeconfig")});
      EXPECT_TRUE(Eventually([&] { return fs::exists(Path("kubeconfig")); }));
      kubelet = Spawn({bin + "fairlead-kubelet", "--kubeconfig",
                       Path("kubeconfig"), "--node-name", "node-1",
                       "--node-ip", "192.0.2.11", "--port", "0",
                       "--tls-cert-file", Path("kubelet.crt"),
                       "--tls-private-key-file", Path("kubelet.key"),
                       "--client-ca-file", Path("pki/ca.crt"),
                       "--container-log-max-size", "4096",
                       "--root-dir", Path("root"), "--cgroup-root",
                       cgroup->path(), "--netns-dir", Path("netns"),
                       "--netns-prefix", "streams-"});
      std::string pods = kPod;
      pods.replace(pods.find("@DIR@"), 5, dir->path());
      std::ofstream(Path("pods.yaml")) << pods;
      if (Run("kubectl version --client").code != 0) return;
      EXPECT_EQ(Run("kubectl apply -f " + Path("pods.yaml")).code, 0);
      ready = Eventually(
          [&] {
            return Run("kubectl get pods").text.find("CrashLoopBackOff") !=
                   std::string::npos;
          },
          absl::Seconds(30));
      EXPECT_TRUE(ready) << Run("kubectl get pods,nodes").text
                         << Run("cat " + Path("log")).text;
    }

    ~World() {
      Run("kubectl delete pods --all --wait=false");
      EXPECT_TRUE(Eventually([&] {
        std::error_code error;
        const fs::directory_iterator list(Path("root/pods"), error);
        return begin(list) == end(list);
      }, absl::Seconds(20))) << "pods were left behind\n" << Run("tail -n 20 " + Path("log")).text;
      for (const pid_t pid : {kubelet, controller}) {
        kill(pid, SIGTERM);
        waitpid(pid, nullptr, 0);
      }
      std::error_code ignored;
      fs::remove(cgroup->path() + "/pods", ignored);
    }

    std::string Path(const std::string& name) const {
      return dir->path() + "/" + name;
    }

    // What the API server shows the kubelet: a certificate of this user.
    void WriteKubeletClient(const std::string& user) const {
      const auto authority = pki::Authority::Open(Path("pki"), absl::Now());
      ASSERT_TRUE(authority.ok()) << authority.status();
      const auto made = authority->IssueClient({user, {}}, absl::Now());
      ASSERT_TRUE(made.ok()) << made.status();
      ASSERT_TRUE(WriteFile(Path("client.key"), made->key_pem, 0600).ok());
      ASSERT_TRUE(
          WriteFile(Path("client.crt"), made->certificate_pem, 0644).ok());
    }

    // Of the authority in that folder, which is made if there is none.
    void WriteServingCertificate(const std::string& folder) const {
      const auto authority =
          pki::Authority::Open(Path(folder), absl::Now());
      ASSERT_TRUE(authority.ok()) << authority.status();
      const auto made = authority->IssueServer(
          "node-1", {}, {*IpAddress::Parse("192.0.2.11")}, absl::Now());
      ASSERT_TRUE(made.ok()) << made.status();
      ASSERT_TRUE(WriteFile(Path("kubelet.key"), made->key_pem, 0600).ok());
      ASSERT_TRUE(
          WriteFile(Path("kubelet.crt"), made->certificate_pem, 0644).ok());
    }

    pid_t Spawn(const std::vector<std::string>& words) const {
      return harness::Spawn(words, Path("log"), node->fd());
    }

    Outcome Run(const std::string& line) const {
      const auto out = node->Command(
          StrCat("export KUBECONFIG=", Path("kubeconfig"), "; (", line,
                 "); echo \"=$?\""));
      if (!out.ok()) return {-1, out.status().ToString()};
      const size_t at = out->rfind('=');
      return {atoi(out->c_str() + at + 1), out->substr(0, at)};
    }

    std::optional<harness::NetnsScope> node, other;
    std::optional<harness::CgroupScope> cgroup;
    std::optional<harness::TempDirScope> dir;
    pid_t controller = 0, kubelet = 0;
    bool ready = false;
  };
  static inline World* world_ = nullptr;
};

}  // namespace fairlead

#endif  // FAIRLEAD_TESTS_NETNS_KUBELET_STREAMS_FIXTURE_H_
