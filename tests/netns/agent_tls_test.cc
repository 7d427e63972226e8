// SPDX-License-Identifier: Apache-2.0
// A real agent and its API server over TLS: a pod's account, servers that fail
// over in both families, certificates that have expired and are renewed.
#include <gmock/gmock.h>
#include <sys/mount.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "tests/netns/agent_fixture.h"
#include "tests/netns/tls_front.h"
#include "userspace/kube/kubeconfig.h"
#include "userspace/kube/service_account.h"

namespace fairlead::harness {
namespace {

constexpr Port kPort = 6443;
constexpr char kBoth[] = "IP:127.0.0.1,IP:::1";

L4Address At(const char* address, Port port) {
  return {*IpAddress::Parse(address), port, Protocol::kTcp};
}

class AgentTlsTest : public AgentTest {
 protected:
  void SetUp() override {
    AgentTest::SetUp();
    const L4Address api = At("127.0.0.1", 8001);
    v4_ = std::make_unique<TlsFront>(&*netns_, At("127.0.0.1", kPort), api);
    v6_ = std::make_unique<TlsFront>(&*netns_, At("::1", kPort), api);
    PutService("web", kVip);
    PutEndpoints("web", {1});
  }
  void TearDown() override {
    v4_.reset();
    v6_.reset();
    AgentTest::TearDown();
  }

  // Asks these servers, in turn, with a token.
  void Launch(const std::string& servers) {
    const std::string file = dir_->path() + "/kubeconfig";
    std::ofstream(file) << kube::MakeKubeconfig(
        "test", {.url = "https://unused.invalid",
                 .bearer_token = "a-token",
                 .ca_pem = authority_.pem()});
    std::vector<std::string> flags = Flags();
    flags[1] = servers;
    flags.insert(flags.end(), {"--kubeconfig", file});
    agent_ = Spawn(flags);
  }
  bool Answers(const std::string& who, absl::Duration within) {
    return Eventually([&] { return Connect() == who; }, within);
  }

  kube::TestAuthority authority_;
  std::unique_ptr<TlsFront> v4_;
  std::unique_ptr<TlsFront> v6_;
};

TEST_F(AgentTlsTest, TheNextServerFollowsInTheOtherFamily) {
  ASSERT_OK(v6_->Start(authority_.Make("server", kBoth)));
  ASSERT_OK(v4_->Start(authority_.Make("server", kBoth)));
  Launch("https://[::1]:6443,https://127.0.0.1:6443");
  WaitHealthy();
  EXPECT_EQ(Connect(), "10.244.0.1");
  EXPECT_GT(v6_->accepted(), 0);
  EXPECT_EQ(v4_->accepted(), 0);
  EXPECT_THAT(v6_->FirstBytes(),
              ::testing::HasSubstr("Authorization: Bearer a-token\r\n"));
  v6_->Stop();
  PutEndpoints("web", {2});
  EXPECT_TRUE(Answers("10.244.0.2", absl::Seconds(20))) << Log();
  EXPECT_GT(v4_->accepted(), 0);
  // And back.
  v4_->Stop();
  ASSERT_OK(v6_->Start(authority_.Make("server", kBoth)));
  PutEndpoints("web", {3});
  EXPECT_TRUE(Answers("10.244.0.3", absl::Seconds(20))) << Log();
}

TEST_F(AgentTlsTest, AnExpiredCertificateCostsChangesUntilItIsRenewed) {
  ASSERT_OK(v4_->Start(authority_.Make("server", kBoth)));
  Launch("https://127.0.0.1:6443");
  WaitHealthy();
  v4_->Present(authority_.Make("server", kBoth, -60));
  PutEndpoints("web", {2});
  ASSERT_TRUE(Eventually(
      [&] { return absl::StrContains(Log(), "certificate has expired"); },
      absl::Seconds(30)))
      << Log();
  // What is in the kernel is kept meanwhile.
  EXPECT_EQ(Connect(), "10.244.0.1");
  v4_->Present(authority_.Make("server", kBoth));
  EXPECT_TRUE(Answers("10.244.0.2", absl::Seconds(40))) << Log();
}

// As the kubelet mounts it, in this process' own mount namespace.
class PodAccountTest : public AgentTlsTest {
 protected:
  void SetUp() override {
    AgentTlsTest::SetUp();
    ASSERT_EQ(mount("tmpfs", "/run", "tmpfs", 0, ""), 0) << strerror(errno);
    std::filesystem::create_directories(kube::kServiceAccountFolder);
    std::ofstream(File("ca.crt")) << authority_.pem();
    std::ofstream(File("token")) << "first-token";
  }
  void TearDown() override {
    AgentTlsTest::TearDown();
    umount2("/run", MNT_DETACH);
  }
  static std::string File(const std::string& name) {
    return StrCat(kube::kServiceAccountFolder, "/", name);
  }
  void Ask(const std::string& server) {
    std::vector<std::string> flags = Flags();
    flags[1] = server;
    agent_ = Spawn(flags);
    WaitHealthy();
  }
};

TEST_F(PodAccountTest, GoesToAServerThatIsGivenAndRotates) {
  ASSERT_OK(v4_->Start(authority_.Make("server", kBoth)));
  Ask("https://127.0.0.1:6443");
  EXPECT_THAT(v4_->FirstBytes(),
              ::testing::HasSubstr("Authorization: Bearer first-token\r\n"));
  std::ofstream(File("token")) << "second-token";
  // The file is read again after ten seconds, and asked of a new connection.
  EXPECT_TRUE(Eventually(
      [&] {
        v4_->Present(authority_.Make("server", kBoth));
        absl::SleepFor(absl::Seconds(2));
        return absl::StrContains(v4_->FirstBytes(), "Bearer second-token\r\n");
      },
      absl::Seconds(60)))
      << v4_->FirstBytes();
}

TEST_F(PodAccountTest, IsNotForAConnectionThatAnybodyReads) {
  Ask(StubApi::url());
  EXPECT_EQ(api_->LastHead().find("Authorization"), std::string::npos);
  EXPECT_EQ(api_->LastHead().find("first-token"), std::string::npos);
}

TEST_F(AgentTlsTest, ACertificateOfSomebodyElseIsNotTalkedTo) {
  ASSERT_OK(v4_->Start(authority_.Make("server", "DNS:other.example")));
  Launch("https://127.0.0.1:6443");
  ASSERT_TRUE(Eventually(
      [&] { return absl::StrContains(Log(), "it is not for"); },
      absl::Seconds(30)))
      << Log();
  EXPECT_EQ(v4_->FirstBytes(), "");  // no token
  v4_->Present(authority_.Make("server", kBoth));
  WaitHealthy();
  EXPECT_TRUE(Answers("10.244.0.1", absl::Seconds(20)));
}

}  // namespace
}  // namespace fairlead::harness
