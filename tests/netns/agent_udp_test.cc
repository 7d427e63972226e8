// SPDX-License-Identifier: Apache-2.0
// Section 10 of the service semantics, and what is beyond it: UDP clients of a
// real agent after an endpoint, the last endpoint or the Service has gone; on
// the packet path, on the socket path connected or not, and over a restart.
//
// Another Service keeps each endpoint alive in the tables, so that nothing but
// the clean-up ends an exchange.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/netns/agent_fixture.h"

namespace fairlead::harness {
namespace {

using ::testing::AnyOf;
using ::testing::StartsWith;

constexpr char kOtherVip[] = "10.96.0.11";
constexpr int kPort = 53;

// Answers each datagram with its own address.
class UdpEndpoint {
 public:
  UdpEndpoint(const NetnsScope& netns, std::string ip) : ip_(std::move(ip)) {
    absl::Status status = netns.Run([&]() -> absl::Status {
      fd_.reset(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      sockaddr_in address = V4(ip_, 8080);
      if (bind(fd_.get(), reinterpret_cast<sockaddr*>(&address),
               sizeof address) < 0) {
        return ErrnoStatus(errno, "bind", ip_);
      }
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    thread_ = std::thread([this] { Serve(); });
  }
  ~UdpEndpoint() {
    stop_ = true;
    thread_.join();
  }

 private:
  void Serve() {
    char buffer[64];
    while (!stop_) {
      pollfd wait = {fd_.get(), POLLIN, 0};
      if (poll(&wait, 1, 20) <= 0) continue;
      sockaddr_in from = {};
      socklen_t size = sizeof from;
      if (recvfrom(fd_.get(), buffer, sizeof buffer, 0,
                   reinterpret_cast<sockaddr*>(&from), &size) < 0) {
        continue;
      }
      (void)sendto(fd_.get(), ip_.data(), ip_.size(), 0,
                   reinterpret_cast<sockaddr*>(&from), size);
    }
  }

  std::string ip_;
  UniqueFd fd_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// One socket that goes on with its exchange.
class UdpClient {
 public:
  UdpClient(const NetnsScope& netns, bool connected,
            const std::string& ip = AgentTest::kVip)
      : connected_(connected), to_(V4(ip, kPort)) {
    absl::Status status = netns.Run([&]() -> absl::Status {
      fd_.reset(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      if (connected && connect(fd_.get(), reinterpret_cast<sockaddr*>(&to_),
                               sizeof to_) < 0) {
        return ErrnoStatus(errno, "connect", "");
      }
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    timeval limit = {0, 300000};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }

  // Who answered; the error's name; "" for silence.
  std::string Ask() {
    auto* to = connected_ ? nullptr : reinterpret_cast<sockaddr*>(&to_);
    if (sendto(fd_.get(), "?", 1, 0, to, to ? sizeof to_ : 0) < 0) {
      return strerrorname_np(errno);
    }
    char buffer[64];
    ssize_t n = recv(fd_.get(), buffer, sizeof buffer, 0);
    if (n < 0) return errno == EAGAIN ? "" : strerrorname_np(errno);
    return std::string(buffer, n);
  }

 private:
  bool connected_;
  sockaddr_in to_;
  UniqueFd fd_;
};

class AgentUdpTest : public AgentTest {
 protected:
  void SetUp() override {
    AgentTest::SetUp();
    for (int i = 1; i <= 3; ++i) {
      servers_.push_back(
          std::make_unique<UdpEndpoint>(*netns_, StrCat("10.244.0.", i)));
    }
    PutUdpService("dns", kVip);
    PutUdpService("other", kOtherVip);
    PutUdpEndpoints("other", {1, 2, 3});
    PutUdpEndpoints("dns", {1, 2});
  }

  void PutUdpService(const std::string& name, const std::string& vip) {
    api_->Put("services", name, "",
              StrCat(R"("spec":{"clusterIPs":[")", vip,
                     R"("],"ports":[{"name":"dns","protocol":"UDP","port":)",
                     kPort, "}]}"));
  }

  void PutUdpEndpoints(const std::string& service, std::set<int> numbers,
                       const std::string& rest = "") {
    std::string list;
    for (int i : numbers) {
      StrAppend(&list, list.empty() ? "" : ",",
                R"({"addresses":["10.244.0.)", i, "\"]", rest, "}");
    }
    api_->Put("endpointslices", service + "-1",
              StrCat(R"("kubernetes.io/service-name":")", service, "\""),
              StrCat(R"("addressType":"IPv4","ports":[{"name":"dns",)"
                     R"("protocol":"UDP","port":8080}],"endpoints":[)",
                     list, "]"));
  }

  // Leaves one of the two: not the one that is in use.
  std::string RemoveEndpoint(const std::string& used) {
    bool first = used == "10.244.0.1";
    PutUdpEndpoints("dns", {first ? 2 : 1});
    return first ? "10.244.0.2" : "10.244.0.1";
  }

  void StartAndWait() {
    StartAgent();
    WaitHealthy();
    ASSERT_TRUE(Eventually([&] { return Metric("fl_frontends") == 2; }))
        << Log();
  }

  // A namespace behind a device of the node's: its clients use the packet
  // path if they are outside the agent's cgroup.
  void AddRemote(const std::string& ip, const std::string& gateway) {
    auto remote = NetnsScope::Create();
    ASSERT_OK(remote.status());
    remote_.emplace(*std::move(remote));
    ASSERT_OK(AddVethPair(*netns_, "to-remote", *remote_, "eth0"));
    ASSERT_OK(netns_->Command(StrCat("ip addr add ", gateway,
                                     "/24 dev to-remote"))
                  .status());
    ASSERT_OK(remote_->Command(StrCat("ip addr add ", ip,
                                      "/24 dev eth0 && ip route add default "
                                      "via ", gateway))
                  .status());
    auto outside = CgroupScope::Create();
    ASSERT_OK(outside.status());
    outside_.emplace(*std::move(outside));
  }

  UdpClient RemoteClient(bool connected) {
    EXPECT_TRUE(outside_->Join().ok());
    UdpClient client(*remote_, connected);
    EXPECT_TRUE(cgroup_->Join().ok());
    return client;
  }

  double Flows() { return Metric("fl_datapath_map_entries{map=\"fl_flow\"}"); }
  double Forgotten() {
    return Metric("kubeproxy_conntrack_reconciler_deleted_entries_total");
  }
  double Destroyed() { return Metric("fl_udp_sockets_destroyed_total"); }

  std::vector<std::unique_ptr<UdpEndpoint>> servers_;
  std::optional<NetnsScope> remote_;
  std::optional<CgroupScope> outside_;
};

// ---- packet path ----

TEST_F(AgentUdpTest, PacketPathMovesToALiveEndpoint) {
  AddRemote("10.244.1.2", "10.244.1.1");
  StartAndWait();
  UdpClient client = RemoteClient(/*connected=*/true);
  std::string used;
  ASSERT_TRUE(Eventually([&] {
    used = client.Ask();
    return !used.empty();
  })) << Log();
  ASSERT_THAT(used, StartsWith("10.244.0."));
  EXPECT_EQ(client.Ask(), used);
  EXPECT_EQ(Flows(), 2);
  std::string left = RemoveEndpoint(used);
  EXPECT_TRUE(Eventually([&] { return client.Ask() == left; })) << Log();
  EXPECT_TRUE(Eventually([&] { return Forgotten() == 1; }));
  EXPECT_EQ(Flows(), 2);
  // The last endpoint.
  PutUdpEndpoints("dns", {});
  EXPECT_TRUE(Eventually([&] { return client.Ask() == "ECONNREFUSED"; }))
      << Log();
  EXPECT_TRUE(Eventually([&] { return Flows() == 0; })) << Flows();
}

TEST_F(AgentUdpTest, PacketPathForgetsADeletedService) {
  // From outside the cluster, so with a source port of the node's.
  AddRemote("172.16.0.2", "172.16.0.1");
  StartAndWait();
  UdpClient client = RemoteClient(/*connected=*/false);
  ASSERT_TRUE(Eventually([&] {
    return client.Ask().find("10.244.0.") == 0;
  })) << Log();
  EXPECT_GE(Flows(), 2);
  api_->Delete("services", "dns");
  EXPECT_TRUE(Eventually([&] { return Flows() == 0; })) << Flows() << Log();
  EXPECT_EQ(client.Ask(), "");
}

// ---- socket path ----

TEST_F(AgentUdpTest, AnUnconnectedSocketMovesToALiveEndpoint) {
  StartAndWait();
  UdpClient client(*netns_, /*connected=*/false);
  std::string used = client.Ask();
  ASSERT_THAT(used, StartsWith("10.244.0."));
  EXPECT_EQ(client.Ask(), used);
  std::string left = RemoveEndpoint(used);
  EXPECT_TRUE(Eventually([&] { return client.Ask() == left; })) << Log();
  EXPECT_TRUE(Eventually([&] { return Forgotten() == 1; }));
  PutUdpEndpoints("dns", {});
  EXPECT_TRUE(Eventually([&] { return client.Ask() == "ECONNREFUSED"; }));
  PutUdpEndpoints("dns", {3});
  EXPECT_TRUE(Eventually([&] { return client.Ask() == "10.244.0.3"; }));
  EXPECT_EQ(Destroyed(), 0);
}

TEST_F(AgentUdpTest, AConnectedSocketGetsAnError) {
  StartAndWait();
  UdpClient gone(*netns_, /*connected=*/true);
  UdpClient bystander(*netns_, /*connected=*/true, kOtherVip);
  std::string used = gone.Ask();
  std::string elsewhere = bystander.Ask();
  ASSERT_THAT(used, StartsWith("10.244.0."));
  std::string left = RemoveEndpoint(used);
  EXPECT_TRUE(Eventually([&] {
    return gone.Ask().find("10.244.0.") != 0;
  })) << Log();
  EXPECT_THAT(gone.Ask(), AnyOf("ECONNABORTED", "EDESTADDRREQ"));
  EXPECT_TRUE(Eventually([&] { return Destroyed() == 1; })) << Log();
  EXPECT_EQ(bystander.Ask(), elsewhere);
  UdpClient anew(*netns_, /*connected=*/true);
  EXPECT_EQ(anew.Ask(), left);
  // The Service goes, its endpoint stays.
  api_->Delete("services", "dns");
  EXPECT_TRUE(Eventually([&] { return anew.Ask().find("10.244.0.") != 0; }))
      << Log();
  EXPECT_EQ(bystander.Ask(), elsewhere);
}

// As many programs do it: an IPv6 socket for both families.
TEST_F(AgentUdpTest, AConnectedSocketWithAMappedAddressGetsAnError) {
  PutUdpEndpoints("dns", {1});
  StartAndWait();
  UniqueFd fd;
  ASSERT_OK(netns_->Run([&]() -> absl::Status {
    fd.reset(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 to = {};
    to.sin6_family = AF_INET6;
    to.sin6_port = htons(kPort);
    inet_pton(AF_INET6, StrCat("::ffff:", kVip).c_str(), &to.sin6_addr);
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) < 0) {
      return ErrnoStatus(errno, "connect", kVip);
    }
    return absl::OkStatus();
  }));
  EXPECT_EQ(send(fd.get(), "?", 1, 0), 1);
  PutUdpEndpoints("dns", {2});
  EXPECT_TRUE(Eventually([&] { return Destroyed() == 1; })) << Log();
  char buffer[64];
  // The answer that came before, then the error.
  while (recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT) > 0) continue;
  EXPECT_EQ(send(fd.get(), "?", 1, 0), -1);
}

TEST_F(AgentUdpTest, AConnectedSocketInAPodGetsAnError) {
  // A route to the endpoints, and a process, as a pod has one.
  AddRemote("10.244.1.2", "10.244.1.1");
  pid_t pod = fork();
  if (pod == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setns(remote_->fd(), CLONE_NEWNET);
    for (;;) pause();
  }
  StartAndWait();
  UdpClient client(*remote_, /*connected=*/true);
  std::string used;
  ASSERT_TRUE(Eventually([&] {
    used = client.Ask();
    return !used.empty();
  })) << Log();
  ASSERT_THAT(used, StartsWith("10.244.0."));
  RemoveEndpoint(used);
  EXPECT_TRUE(Eventually([&] { return Destroyed() == 1; })) << Log();
  EXPECT_THAT(client.Ask(), AnyOf("ECONNABORTED", "EDESTADDRREQ"));
  kill(pod, SIGKILL);
  waitpid(pod, nullptr, 0);
}

TEST_F(AgentUdpTest, ATerminatingEndpointKeepsItsClients) {
  PutUdpEndpoints("dns", {1});
  StartAndWait();
  UdpClient connected(*netns_, true), unconnected(*netns_, false);
  EXPECT_EQ(connected.Ask(), "10.244.0.1");
  EXPECT_EQ(unconnected.Ask(), "10.244.0.1");
  // Two slices: the old endpoint terminates, a new one is there.
  PutUdpEndpoints("dns", {1}, R"(,"conditions":{"ready":false,)"
                              R"("serving":true,"terminating":true})");
  api_->Put("endpointslices", "dns-2",
            R"("kubernetes.io/service-name":"dns")",
            R"("addressType":"IPv4","ports":[{"name":"dns","protocol":"UDP",)"
            R"("port":8080}],"endpoints":[{"addresses":["10.244.0.2"]}])");
  EXPECT_TRUE(Eventually([&] {
    return UdpClient(*netns_, false).Ask() == "10.244.0.2";
  }));
  usleep(100000);
  EXPECT_EQ(connected.Ask(), "10.244.0.1");
  EXPECT_EQ(unconnected.Ask(), "10.244.0.1");
  EXPECT_EQ(Forgotten(), 0);
  EXPECT_EQ(Destroyed(), 0);
}

// ---- a frontend that comes, an agent that goes ----

TEST_F(AgentUdpTest, ASocketOfTheHostThatWasFirstGetsAnError) {
  api_->Delete("services", "dns");
  StartAgent();
  WaitHealthy();
  UdpClient connected(*netns_, true), unconnected(*netns_, false);
  EXPECT_EQ(connected.Ask(), "");
  EXPECT_EQ(unconnected.Ask(), "");
  PutUdpService("dns", kVip);
  EXPECT_TRUE(Eventually([&] {
    return unconnected.Ask().find("10.244.0.") == 0;
  })) << Log();
  EXPECT_TRUE(Eventually([&] { return Destroyed() == 1; })) << Log();
  EXPECT_THAT(connected.Ask(), AnyOf("ECONNABORTED", "EDESTADDRREQ"));
}

TEST_F(AgentUdpTest, ARestartFlushesNothingThatIsValid) {
  AddRemote("10.244.1.2", "10.244.1.1");
  StartAndWait();
  UdpClient remote = RemoteClient(/*connected=*/false);
  UdpClient connected(*netns_, true), unconnected(*netns_, false);
  std::string a;
  ASSERT_TRUE(Eventually([&] {
    a = remote.Ask();
    return !a.empty();
  })) << Log();
  std::string b = connected.Ask(), c = unconnected.Ask();
  ASSERT_EQ(StopAgent(SIGKILL), -SIGKILL);
  StartAndWait();
  ASSERT_TRUE(Eventually([&] {
    return Metric("kubeproxy_conntrack_reconciler_sync_duration_seconds_count")
           == 1;
  })) << Log();
  EXPECT_EQ(remote.Ask(), a);
  EXPECT_EQ(connected.Ask(), b);
  EXPECT_EQ(unconnected.Ask(), c);
  EXPECT_EQ(Forgotten(), 0);
  EXPECT_EQ(Destroyed(), 0);
  // What went meanwhile is made up for.
  ASSERT_EQ(StopAgent(SIGKILL), -SIGKILL);
  PutUdpEndpoints("dns", {3});
  StartAndWait();
  EXPECT_TRUE(Eventually([&] { return remote.Ask() == "10.244.0.3"; }))
      << Log();
  EXPECT_TRUE(Eventually([&] { return unconnected.Ask() == "10.244.0.3"; }));
  EXPECT_TRUE(Eventually([&] { return Destroyed() == 1; })) << Log();
  EXPECT_THAT(connected.Ask(), AnyOf("ECONNABORTED", "EDESTADDRREQ"));
}

}  // namespace
}  // namespace fairlead::harness
