// SPDX-License-Identifier: Apache-2.0
// Ports of the node that lead to pods, asked from outside, from the node and
// from the pod itself.
#include <sys/socket.h>

#include "tests/netns/kubelet_fixture.h"
#include "userspace/base/netns.h"

namespace fairlead {
namespace {

constexpr char kOutside4[] = "192.0.2.99", kOutside6[] = "2001:db8::99";

class KubeletHostPortsTest : public KubeletTest {
 protected:
  void SetUp() override {
    KubeletTest::SetUp();
    for (const char* command : {"ip addr add 192.0.2.99/24 dev up0",
                                "ip addr add 2001:db8::99/64 dev up0 nodad"}) {
      ASSERT_TRUE(other_->Command(command).ok());
    }
  }
  static Json Port(int host, int container, const std::string& protocol,
                   const std::string& ip = "") {
    Json port = {{"hostPort", host},
                 {"containerPort", container},
                 {"protocol", protocol}};
    if (!ip.empty()) port["hostIP"] = ip;
    return port;
  }
  static Json PodWithPorts(const std::string& name, const Json& ports) {
    Json pod = Pod(name,
                   {"fairlead-echo", "--http", "8080", "--udp", "7001",
                    "--grace", "10ms"},
                   {{"readinessProbe", Json::parse(kReadiness)}});
    Json& list = pod["spec"]["containers"][0]["ports"];
    for (const Json& port : ports) list.push_back(port);
    return pod;
  }
  // The pod that answers, as a program outside of the node finds it.
  std::string OutsideHttp(const std::string& address, fairlead::Port port) {
    std::string body;
    (void)other_->Run([&] {
      body = Ask(address, port, "GET", "/hostname", "").body;
      return absl::OkStatus();
    });
    return body;
  }
  // A client that keeps its socket; "" is no answer within a second.
  UniqueFd UdpClient(const std::string& address, fairlead::Port port) {
    UniqueFd fd;
    (void)other_->Run([&] {
      const L4Address peer{*IpAddress::Parse(address), port, Protocol::kUdp};
      fd = harness::OpenSocket(peer, harness::SocketFamily::kNative);
      const timeval limit{.tv_sec = 1, .tv_usec = 0};
      setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
      EXPECT_EQ(
          harness::Connect(fd.get(), peer, harness::SocketFamily::kNative), 0);
      return absl::OkStatus();
    });
    return fd;
  }
  static std::string AskUdp(const UniqueFd& fd) {
    char answer[512];
    for (int i = 0; i < 2; ++i) {
      // An error that an earlier packet met is told first.
      if (send(fd.get(), "hello", 5, MSG_NOSIGNAL) == 5) break;
    }
    const ssize_t n = recv(fd.get(), answer, sizeof(answer), 0);
    return n <= 0 ? "" : std::string(answer, static_cast<size_t>(n));
  }
  std::string Rules() const {
    return node_->Command("nft list ruleset").value_or("");
  }
};

TEST_F(KubeletHostPortsTest, LeadToThePodOverTcpAndUdp) {
  StartKubelet();
  EXPECT_EQ(Rules(), "") << "no packet filter where there is no need";
  Create(PodWithPorts("web", Json::array({Port(18080, 8080, "TCP"),
                                          Port(17001, 7001, "UDP")})));
  ASSERT_TRUE(AwaitReady("web"));
  ASSERT_TRUE(Eventually([&] {
    return OutsideHttp(kNode4, 18080) == "web\n";
  })) << Rules();
  EXPECT_EQ(OutsideHttp(kNode6, 18080), "web\n");
  EXPECT_THAT(AskUdp(UdpClient(kNode4, 17001)),
              HasSubstr(StrCat("web ", kOutside4, ":")))
      << "the client's own address";
  EXPECT_THAT(AskUdp(UdpClient(kNode6, 17001)),
              HasSubstr(StrCat("web [", kOutside6, "]:")));
  // From the node, and from the pod itself.
  EXPECT_EQ(Http(kNode4, 18080, "/hostname").body, "web\n");
  EXPECT_EQ(Http(kNode6, 18080, "/hostname").body, "web\n");
  std::string own;
  ASSERT_TRUE(RunInNetns(
      Path("netns/test-") + Get("web")["metadata"]["uid"].get<std::string>(),
      [&] {
        own = Ask(kNode4, 18080, "GET", "/hostname", "").body;
        return absl::OkStatus();
      }).ok());
  EXPECT_EQ(own, "web\n");
  // Another port, and the same of the other protocol, stay closed.
  EXPECT_EQ(OutsideHttp(kNode4, 17001), "");
  Delete("web", 0);
  EXPECT_TRUE(Eventually([&] {
    return Rules().find("18080") == std::string::npos;
  })) << Rules();
}

TEST_F(KubeletHostPortsTest, OnlyAtTheHostIp) {
  ASSERT_TRUE(node_->Command("ip addr add 192.0.2.12/24 dev up0").ok());
  StartKubelet();
  Create(PodWithPorts(
      "one", Json::array({Port(18080, 8080, "TCP", "192.0.2.12")})));
  Create(PodWithPorts("two", Json::array({Port(18080, 8080, "TCP", kNode4)})));
  ASSERT_TRUE(AwaitReady("one"));
  ASSERT_TRUE(AwaitReady("two"));
  EXPECT_TRUE(Eventually([&] {
    return OutsideHttp("192.0.2.12", 18080) == "one\n" &&
           OutsideHttp(kNode4, 18080) == "two\n";
  })) << Rules();
  EXPECT_EQ(OutsideHttp(kNode6, 18080), "");
}

TEST_F(KubeletHostPortsTest, APortThatIsTakenRefusesThePod) {
  StartKubelet();
  Create(PodWithPorts("first", Json::array({Port(18080, 8080, "TCP", kNode4)})));
  ASSERT_TRUE(AwaitReady("first"));
  Create(PodWithPorts("other", Json::array({Port(18080, 8080, "UDP")})));
  Create(PodWithPorts("same", Json::array({Port(18080, 8080, "TCP")})));
  EXPECT_TRUE(AwaitReady("other"));
  ASSERT_TRUE(Await("same", [](const Json& p) {
    return p["status"]["phase"] == "Failed";
  }));
  const Json status = Get("same")["status"];
  EXPECT_EQ(status["reason"], "NodePorts");
  EXPECT_EQ(status["message"],
            "Pod was rejected: Predicate NodePorts failed: node(s) didn't "
            "have free ports for the requested pod ports");
}

// Open while there is no kubelet; and the next one keeps, and in the end
// closes, what it finds.
TEST_F(KubeletHostPortsTest, OutliveTheKubelet) {
  StartKubelet();
  for (const char* name : {"web", "gone"}) {
    const int port = name[0] == 'w' ? 18080 : 18081;
    Create(PodWithPorts(name, Json::array({Port(port, 8080, "TCP")})));
    ASSERT_TRUE(AwaitReady(name));
  }
  ASSERT_TRUE(Eventually([&] {
    return OutsideHttp(kNode4, 18080) == "web\n" &&
           OutsideHttp(kNode4, 18081) == "gone\n";
  }));
  Stop(&kubelet_, SIGKILL);
  EXPECT_EQ(OutsideHttp(kNode4, 18080), "web\n");
  Delete("gone", 0);
  StartKubelet();
  EXPECT_TRUE(Eventually([&] { return PodDirs() == 1; }));
  EXPECT_TRUE(Eventually([&] {
    return Rules().find("18081") == std::string::npos;
  }));
  EXPECT_EQ(OutsideHttp(kNode4, 18080), "web\n");
}

// A client that keeps its port is served by the next pod.
TEST_F(KubeletHostPortsTest, AUdpClientFollowsToTheNextPod) {
  StartKubelet();
  const UniqueFd early = UdpClient(kNode4, 17001);
  EXPECT_EQ(AskUdp(early), "") << "there is nobody yet";
  Create(PodWithPorts("one", Json::array({Port(17001, 7001, "UDP")})));
  ASSERT_TRUE(AwaitReady("one"));
  EXPECT_TRUE(Eventually([&] {
    return AskUdp(early).starts_with("one ");
  })) << *node_->Command("nft list ruleset");
  Delete("one", 0);
  ASSERT_TRUE(Eventually([&] { return PodDirs() == 0; }));
  Create(PodWithPorts("two", Json::array({Port(17001, 7001, "UDP")})));
  ASSERT_TRUE(AwaitReady("two"));
  EXPECT_TRUE(Eventually([&] { return AskUdp(early).starts_with("two "); }));
}

}  // namespace
}  // namespace fairlead
