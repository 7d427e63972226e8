// SPDX-License-Identifier: Apache-2.0
// From kube-proxy to Fairlead and back, on real connections: nothing that was
// opened by the one ends when the other comes, nor when the rules go.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>

#include "absl/time/clock.h"
#include "tests/netns/kube_proxy_world.h"
#include "tests/netns/live_load.h"
#include "tests/netns/service_test_base.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const std::vector<std::string> kEndpoints = {"l1", "l2", "r1"};
// From outside; a pod's and the host's, in the agent's cgroup or not.
constexpr From kClients[] = {
    {"outside", false}, {"a", false}, {"a", true}, {"node1", true}};

class TakeoverTest : public ServiceTest,
                     public ::testing::WithParamInterface<ProxyMode> {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    log_start_ = bed_->Log().size();
    bed_->EndAgent();
    bed_->Put({.number = 1, .endpoints = kEndpoints});
    ASSERT_OK(rules_.Flush());
    ASSERT_OK(rules_.Install({1}, kEndpoints));
  }
  void TearDown() override {
    bed_->EndAgent();
    EXPECT_OK(rules_.Flush());
  }

  // One of each client, way, family and protocol.
  absl::Status OpenAll(Lasting* to) {
    for (const From& from : kClients) {
      for (Way way : kWays) {
        for (IpFamily family : kFamilies) {
          for (Protocol protocol : kProtocols) {
            const L4Address at = FrontendOf(1, way, family, protocol);
            absl::Status status = to->Add(OpenFrom(from, at));
            if (!status.ok()) {
              return WithContext(status, StrCat(from.ToString(), " to ",
                                                at.ToString()));
            }
          }
        }
      }
    }
    return absl::OkStatus();
  }

  void ExpectNewOnesAreOurs() {
    Lasting ours;
    const double before = Ours();
    ASSERT_OK(OpenAll(&ours));
    EXPECT_EQ(Ours() - before, ours.size());
    EXPECT_OK(ours.GoOn("a second packet"));
  }
  // What agents have said in this test.
  std::string Said() const { return bed_->Log().substr(log_start_); }

  // How many flows netfilter's own tables translate.
  int Translated() {
    auto output = bed_->net().node().netns.Command(
        "grep -c 'dport=80 .*sport=8080\\|dport=30001 .*sport=8080' "
        "/proc/net/nf_conntrack || true");
    return output.ok() ? atoi(output->c_str()) : -1;
  }
  bool Held() {
    auto output = bed_->net().node().netns.Command(
        "nft list tables | grep -c fairlead-takeover || true");
    return output.ok() && atoi(output->c_str()) > 0;
  }
  double Ours() {
    std::map<std::string, double> counters = bed_->Counters();
    return counters["forward_new"] + counters["socket_translated"];
  }

  size_t log_start_ = 0;
  KubeProxyWorld rules_{bed_->net(), GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Modes, TakeoverTest,
                         ::testing::Values(ProxyMode::kNftables,
                                           ProxyMode::kIptablesNft,
                                           ProxyMode::kIptablesLegacy),
                         [](const auto& test) {
                           return std::string(ProxyModeName(test.param));
                         });

TEST_P(TakeoverTest, NothingEndsOnTheWayThere) {
  Lasting theirs, ours;
  ASSERT_OK(OpenAll(&theirs));
  EXPECT_GT(Translated(), 0);
  LiveLoad load(bed_->net());
  absl::SleepFor(absl::Seconds(1));
  ASSERT_OK(bed_->RestartAgent(SIGTERM));
  EXPECT_OK(theirs.GoOn("the agent's start"));
  EXPECT_TRUE(Held());
  ASSERT_OK(OpenAll(&ours));
  EXPECT_OK(ours.GoOn("nothing"));
  ASSERT_OK(bed_->RestartAgent(SIGKILL));
  EXPECT_OK(theirs.GoOn("the agent's kill"));
  ASSERT_OK(rules_.CleanUp());
  EXPECT_OK(theirs.GoOn("kube-proxy's cleanup"));
  EXPECT_OK(ours.GoOn("kube-proxy's cleanup"));
  // Without the rules it is the table that was made for it that tells.
  ASSERT_OK(bed_->RestartAgent(SIGTERM));
  EXPECT_OK(theirs.GoOn("the agent's restart without the rules"));
  EXPECT_THAT(load.failures(), IsEmpty());
  load.End();
  EXPECT_THAT(load.failures(), IsEmpty());
  printf("%d connections were opened, %d datagrams answered\n", load.opened(),
         load.datagrams());
  EXPECT_GT(load.opened(), 500);
}

// The agent is not there yet, or any more.
TEST_P(TakeoverTest, RulesAreRemovedWithoutALoss) {
  Lasting theirs;
  ASSERT_OK(OpenAll(&theirs));
  ASSERT_EQ(bed_->RunAgent({"--cleanup-kube-proxy"}), 0) << Said();
  auto left = rules_.Show();
  ASSERT_OK(left.status());
  for (const char* gone : {"KUBE-S", "KUBE-EXT", "KUBE-MARK-MASQ", "kube-proxy",
                           "KUBE-FORWARD", "KUBE-PROXY", "KUBE-NODEPORTS"}) {
    EXPECT_THAT(*left, Not(HasSubstr(gone)));
  }
  if (GetParam() != ProxyMode::kNftables) {
    EXPECT_THAT(*left, HasSubstr("KUBE-FIREWALL"));
    EXPECT_THAT(*left, HasSubstr("dport 7 "));
  }
  EXPECT_OK(theirs.GoOn("the cleanup"));
  EXPECT_EQ(bed_->RunAgent({"--cleanup-kube-proxy"}), 0);
  EXPECT_THAT(Said(), HasSubstr("kube-proxy has left nothing here"));
  ASSERT_OK(bed_->RestartAgent(SIGTERM));
  EXPECT_OK(theirs.GoOn("the agent's start after the cleanup"));
  ExpectNewOnesAreOurs();
  // And when they have ended, so has the takeover.
  ASSERT_OK(bed_->net()
                .node()
                .netns
                .Command("sysctl -qw net.netfilter.nf_conntrack_udp_timeout=3 "
                         "net.netfilter.nf_conntrack_udp_timeout_stream=3")
                .status());
  EXPECT_OK(theirs.GoOn("nothing"));
  EXPECT_TRUE(Held());
  theirs.Close();
  EXPECT_TRUE(Eventually([&] { return !Held(); }, absl::Seconds(30)));
  ASSERT_OK(bed_->net()
                .node()
                .netns
                .Command(
                    "sysctl -qw net.netfilter.nf_conntrack_udp_timeout=30 "
                    "net.netfilter.nf_conntrack_udp_timeout_stream=120")
                .status());
  EXPECT_THAT(Said(), HasSubstr("no flow of its rules is left"));
  ExpectNewOnesAreOurs();
}

TEST_P(TakeoverTest, NothingEndsOnTheWayBack) {
  ASSERT_OK(rules_.Flush());
  ASSERT_OK(bed_->RestartAgent(SIGTERM));
  Lasting ours, theirs;
  ASSERT_OK(OpenAll(&ours));
  LiveLoad load(bed_->net());
  absl::SleepFor(absl::Seconds(1));
  EXPECT_EQ(bed_->RunAgent({"--hand-over"}), 1);
  EXPECT_THAT(Said(), HasSubstr("kube-proxy has no rules here"));
  ASSERT_OK(rules_.Install({1}, kEndpoints));
  EXPECT_EQ(bed_->RunAgent({"--hand-over"}), 1);
  EXPECT_THAT(Said(), HasSubstr("an agent is at work"));
  EXPECT_OK(ours.GoOn("nothing"));

  bed_->StopAgent();
  const int hand_over = bed_->Spawn({"--hand-over"});
  ASSERT_TRUE(Eventually(
      [&] {
        return Said().find("new flows are kube-proxy's") !=
               std::string::npos;
      },
      absl::Seconds(30)));
  EXPECT_OK(ours.GoOn("the hand-over"));
  const int before = Translated();
  ASSERT_OK(OpenAll(&theirs));
  EXPECT_GE(Translated() - before, static_cast<int>(theirs.size()));
  EXPECT_EQ(bed_->RunAgent({"--server", "http://127.0.0.1:1"}), 1);
  EXPECT_THAT(Said(), HasSubstr("--hand-over is at work"));
  EXPECT_OK(ours.GoOn("an agent that was refused"));
  EXPECT_THAT(load.failures(), IsEmpty());
  load.End();
  EXPECT_THAT(load.failures(), IsEmpty());
  EXPECT_EQ(waitpid(hand_over, nullptr, WNOHANG), 0) << Said();

  // Datagrams' flows have no end but silence: interrupted, it goes on where it
  // was, and this time it doesn't wait for them.
  kill(hand_over, SIGKILL);
  waitpid(hand_over, nullptr, 0);
  EXPECT_OK(ours.GoOn("an interruption"));
  ours.Close();
  EXPECT_EQ(bed_->RunAgent({"--hand-over", "--timeout", "3"}), 0);
  EXPECT_THAT(Said(), HasSubstr("handed over to kube-proxy"));
  EXPECT_OK(theirs.GoOn("the end of the hand-over"));
}

// It ends by itself when the last connection does.
TEST_P(TakeoverTest, AHandOverEndsWithTheLastConnection) {
  ASSERT_OK(rules_.Flush());
  ASSERT_OK(bed_->RestartAgent(SIGTERM));
  Lasting ours;
  for (IpFamily family : kFamilies) {
    ASSERT_OK(ours.Add(OpenFrom(
        {"outside", false},
        FrontendOf(1, Way::kNodePort, family, Protocol::kTcp))));
  }
  ASSERT_OK(rules_.Install({1}, kEndpoints));
  bed_->StopAgent();
  const int hand_over = bed_->Spawn({"--hand-over"});
  absl::SleepFor(absl::Seconds(5));
  EXPECT_EQ(waitpid(hand_over, nullptr, WNOHANG), 0) << Said();
  ours.Close();
  int status = -1;
  EXPECT_TRUE(Eventually(
      [&] { return waitpid(hand_over, &status, WNOHANG) == hand_over; },
      absl::Seconds(30)))
      << Said();
  EXPECT_EQ(status, 0);
}

// kube-proxy's rules masquerade what carries their bit of the mark.
TEST_P(TakeoverTest, ItsBitOfTheMarkIsLeftToIt) {
  std::vector<std::string> flags = ServiceBed::ClusterCidrs();
  flags.insert(flags.end(), {"--masquerade-bit", "14"});
  ASSERT_OK(bed_->RestartAgent(SIGTERM, flags));
  EXPECT_THAT(Said(), HasSubstr("masquerade_bit=14 used=12"));
  ExpectNewOnesAreOurs();
}

using IpvsTest = ServiceTest;

// kube-proxy's device has the addresses of all Services, which are as local as
// the node's own: no NodePort is there. (A bridge: what is known is the name.)
TEST_F(IpvsTest, ItsDevicesAddressesAreNotTheNodes) {
  const std::string vip =
      FrontendOf(1, Way::kClusterIp, IpFamily::kIpv4, Protocol::kTcp)
          .address.ToString();
  ASSERT_OK(bed_->net()
                .node()
                .netns
                .Command(StrCat("ip link add kube-ipvs0 type bridge; ip addr add ",
                                vip, "/32 dev kube-ipvs0"))
                .status());
  std::vector<std::string> flags = ServiceBed::ClusterCidrs();
  flags.insert(flags.end(), {"--nodeport-addresses", "non-loopback"});
  ASSERT_OK(bed_->StartAgent(flags));
  ASSERT_OK(bed_->Apply({{.number = 1, .endpoints = {"l1"}}}));
  L4Address at = FrontendOf(1, Way::kNodePort, IpFamily::kIpv4, Protocol::kTcp);
  EXPECT_EQ(AskFrom({"outside", false}, at, 1),
            (std::map<std::string, int>{{"l1", 1}}));
  at.address = *IpAddress::Parse(vip);
  EXPECT_EQ(AskFrom({"a", false}, at, 1),
            (std::map<std::string, int>{{"refused", 1}}));
  at.port = 80;
  EXPECT_EQ(AskFrom({"a", false}, at, 1),
            (std::map<std::string, int>{{"l1", 1}}));
  bed_->EndAgent();
  ASSERT_OK(bed_->net().node().netns.Command("ip link del kube-ipvs0").status());
}

}  // namespace
}  // namespace fairlead::harness
