// SPDX-License-Identifier: Apache-2.0
// Forwarding that respects the host: netfilter and routing see one consistent
// flow, reverse paths hold, and what isn't ours works as without an agent.
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <thread>

#include "tests/netns/service_test_base.h"
#include "tests/netns/socket_address.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

constexpr absl::Duration kSilence = absl::Milliseconds(300);

// Clients and endpoints by their own addresses: a packet whose source was
// translated too early, or an answer translated too late, matches nothing.
constexpr char kForwardPolicy[] = R"(
table inet guard {
  counter invalid { }
  counter denied { }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state invalid counter name invalid drop
    ct state established accept
    ip saddr { 192.0.2.10, 10.244.1.10 } ip daddr { 10.244.1.11, 10.244.2.14 } meta l4proto { tcp, udp } th dport 8080 ct state new accept
    ip6 saddr { 2001:db8::10, fd44:1::10 } ip6 daddr { fd44:1::11, fd44:2::14 } meta l4proto { tcp, udp } th dport 8080 ct state new accept
    counter name denied
  }
})";

class Forwarding : public ServiceTest {
 protected:
  void TearDown() override {
    if (bed_ == nullptr) return;
    ASSERT_OK(OnNode("nft flush ruleset").status());
  }

  static absl::StatusOr<std::string> OnNode(const std::string& command) {
    return bed_->net().node().netns.Command(command);
  }
  static absl::Status LoadRules(const std::string& rules) {
    return OnNode(StrCat("nft -f - <<'EOF'\n", rules, "\nEOF")).status();
  }
  static double Counted(const std::string& name) {
    auto text = OnNode("nft list counter inet guard " + name);
    EXPECT_TRUE(text.ok()) << text.status();
    if (!text.ok()) return -1;
    const size_t at = text->find("packets ");
    return at == text->npos ? -1 : atof(text->c_str() + at + 8);
  }

  // All clients whose packets node1 forwards, all ways, families, protocols.
  static void CheckAll(int number, const std::string& wanted) {
    for (const From& from : {kFroms[0], kFroms[1], kFroms[2]}) {
      std::optional<ServiceBed::OnSocketPath> on_socket_path;
      if (from.socket_path) on_socket_path.emplace(*bed_);
      Probes probes;
      std::map<size_t, L4Address> asked;
      for (Way way : kWays) {
        for (IpFamily family : kFamilies) {
          for (Protocol protocol : kProtocols) {
            Attempt attempt{.to = FrontendOf(number, way, family, protocol),
                            .source_port = NextSourcePort()};
            if (wanted.empty()) attempt.patience = kSilence;
            asked[probes.Start(At(from), attempt)] = attempt.to;
          }
        }
      }
      probes.Finish();
      for (const auto& [probe, to] : asked) {
        EXPECT_EQ(probes.outcome(probe).who, wanted)
            << from.ToString() << " -> " << to.ToString() << " "
            << probes.outcome(probe).note;
      }
    }
  }
};

TEST_F(Forwarding, NetfilterSeesClientAndEndpoint) {
  ASSERT_OK(bed_->Apply({{.number = 1, .endpoints = {"l1"}},
                         {.number = 2, .endpoints = {"r1"}},
                         {.number = 3, .endpoints = {"l2"}},
                         {.number = 4, .endpoints = {"r2"}},
                         {.number = 5,
                          .external_local = true,
                          .endpoints = {"l1"}}}));
  ASSERT_OK(LoadRules(kForwardPolicy));
  CheckAll(1, "l1");
  CheckAll(2, "r1");
  CheckAll(5, "l1");
  EXPECT_EQ(Counted("denied"), 0);
  CheckAll(3, "");
  const double denied = Counted("denied");
  EXPECT_GT(denied, 0);
  CheckAll(4, "");
  EXPECT_GT(Counted("denied"), denied);
  EXPECT_EQ(Counted("invalid"), 0);
}

// Packets that a device's strict check of reverse paths has refused.
double ReversePathDrops(const Station& station) {
  auto text = station.netns.Command("grep TcpExt /proc/thread-self/net/netstat");
  EXPECT_TRUE(text.ok()) << text.status();
  std::istringstream lines(text.ok() ? *text : "");
  std::string names, values, name, value;
  std::getline(lines, names);
  std::getline(lines, values);
  std::istringstream name_words(names), value_words(values);
  while (name_words >> name && value_words >> value) {
    if (name == "IPReversePathFilter") return atof(value.c_str());
  }
  return -1;
}

void SendFrom(const Station& station, const IpAddress& source,
              const IpAddress& destination) {
  ASSERT_OK(station.netns.Run([&]() -> absl::Status {
    UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    SocketAddress from({source, 0, Protocol::kUdp});
    SocketAddress to({destination, 7, Protocol::kUdp});
    if (bind(fd.get(), from.get(), from.size()) != 0 ||
        sendto(fd.get(), "", 0, 0, to.get(), to.size()) != 0) {
      return ErrnoStatus(errno, "send from", source.ToString());
    }
    return absl::OkStatus();
  }));
}

TEST_F(Forwarding, ReversePathsHold) {
  // The stricter one of this and a device's own counts.
  auto strict = OnNode("cat /proc/sys/net/ipv4/conf/all/rp_filter");
  ASSERT_TRUE(strict.ok()) << strict.status();
  ASSERT_EQ(*strict, "1\n");
  ASSERT_OK(bed_->Apply({{.number = 6, .endpoints = {"l1"}},
                         {.number = 7, .endpoints = {"r1"}},
                         {.number = 8,
                          .external_local = true,
                          .endpoints = {"l1"}}}));
  CheckAll(6, "l1");
  CheckAll(7, "r1");
  CheckAll(8, "l1");
  EXPECT_EQ(ReversePathDrops(bed_->net().node()), 0);
  // The counter does count: the address of a pod, from outside. (The router
  // stands first in its way.)
  const Station& outside = bed_->net().at("outside");
  ASSERT_OK(outside.netns.Command("ip addr add 10.244.1.10/32 dev lo").status());
  SendFrom(outside, bed_->net().at("a").v4, bed_->net().node().v4);
  EXPECT_EQ(ReversePathDrops(bed_->net().at("router")), 1);
  ASSERT_OK(outside.netns.Command("ip addr del 10.244.1.10/32 dev lo").status());
}

// ---- what isn't ours ----

class NotOurs : public Forwarding {
 protected:
  static void SetUpTestSuite() {
    Forwarding::SetUpTestSuite();
    ASSERT_OK(bed_->Apply({{.number = 20, .endpoints = {"l1", "l2"}}}));
  }
  static Outcome AskOnce(const From& from, const L4Address& to) {
    std::optional<ServiceBed::OnSocketPath> on_socket_path;
    if (from.socket_path) on_socket_path.emplace(*bed_);
    return Ask(At(from), {.to = to});
  }
  // A server on node1's own addresses, at a port that is no frontend's.
  static void ExpectAnswered(const From& from, const L4Address& to,
                             const std::string& who) {
    EXPECT_EQ(AskFrom(from, to, 3), (std::map<std::string, int>{{who, 3}}))
        << from.ToString() << " -> " << to.ToString();
  }
};

TEST_F(NotOurs, TheHostsListeners) {
  // One of them within the range of NodePorts.
  EndpointServer server;
  for (Port port : {9000, 31999}) {
    ASSERT_OK(server.Add(bed_->net().node(), static_cast<Port>(port)));
  }
  server.Start();
  for (const From& from : kFroms) {
    for (Port port : {9000, 31999}) {
      for (IpFamily family : kFamilies) {
        for (Protocol protocol : kProtocols) {
          const L4Address to{bed_->net().node().address(family), port,
                             protocol};
          const Outcome outcome = Ask(At(from), {.to = to});
          EXPECT_EQ(outcome.who, "node1") << to.ToString() << outcome.note;
          EXPECT_EQ(outcome.source, At(from).address(family).ToString());
        }
      }
    }
  }
}

// Node by node and pod by pod without a Service in between: nobody's address is
// translated, even where everything to a ClusterIP would be.
TEST_F(NotOurs, WhoTalksToAPodItselfKeepsItsAddress) {
  std::vector<std::string> all = ServiceBed::ClusterCidrs();
  all.push_back("--masquerade-all");
  for (const auto& flags : {all, ServiceBed::ClusterCidrs()}) {
    ASSERT_OK(bed_->StartAgent(flags));
    for (const From& from : kFroms) {
      for (const char* pod : {"l1", "l3", "r1"}) {
        for (IpFamily family : kFamilies) {
          for (Protocol protocol : kProtocols) {
            const L4Address to{bed_->net().at(pod).address(family),
                               EndpointServer::kPort, protocol};
            const Outcome outcome = AskOnce(from, to);
            EXPECT_EQ(outcome.who, pod) << to.ToString() << outcome.note;
            EXPECT_EQ(outcome.source, At(from).address(family).ToString())
                << from.ToString() << " -> " << to.ToString();
          }
        }
      }
    }
    EXPECT_EQ(bed_->Counter("source_translated"), 0);
  }
}

TEST_F(NotOurs, TheHostsTranslations) {
  // To a pod that is an endpoint of a service, too.
  ASSERT_OK(LoadRules(R"(
table inet own {
  chain prerouting {
    type nat hook prerouting priority -100;
    ip daddr 172.31.1.2 meta l4proto { tcp, udp } th dport 9100 dnat ip to 10.244.1.12:8080
    ip6 daddr fd31:1::2 meta l4proto { tcp, udp } th dport 9100 dnat ip6 to [fd44:1::12]:8080
  }
})"));
  for (const From& from : {kFroms[0], kFroms[1], kFroms[2]}) {
    for (IpFamily family : kFamilies) {
      for (Protocol protocol : kProtocols) {
        ExpectAnswered(
            from, {bed_->net().node().address(family), 9100, protocol}, "l2");
      }
    }
  }
}

// A tunnel between outside and node1: 10.99.0.2 and 10.99.0.1, fd99::2 and
// fd99::1 on the device `name`. Service 20 is reached through it.
class Tunnel : public NotOurs {
 protected:
  static void Address(const std::string& name) {
    ASSERT_OK(OnNode(StrCat("ip addr add 10.99.0.1/24 dev ", name,
                            "; ip addr add fd99::1/64 dev ", name,
                            " nodad; ip link set ", name, " up"))
                  .status());
    ASSERT_OK(Outside().netns
                  .Command(StrCat(
                      "ip addr add 10.99.0.2/24 dev ", name,
                      "; ip addr add fd99::2/64 dev ", name,
                      " nodad; ip link set ", name, " up",
                      "; ip route add 10.96.0.20/32 via 10.99.0.1",
                      "; ip route add fd96::14/128 via fd99::1"))
                  .status());
  }
  static const Station& Outside() { return bed_->net().at("outside"); }

  static void Check() {
    EndpointServer server;
    for (const char* ip : {"10.99.0.1", "fd99::1"}) {
      ASSERT_OK(server.Add(bed_->net().node(), *IpAddress::Parse(ip)));
    }
    server.Start();
    for (IpFamily family : kFamilies) {
      for (Protocol protocol : kProtocols) CheckOne(family, protocol);
    }
  }

  static void CheckOne(IpFamily family, Protocol protocol) {
    const bool v4 = family == IpFamily::kIpv4;
    const L4Address host{*IpAddress::Parse(v4 ? "10.99.0.1" : "fd99::1"),
                         EndpointServer::kPort, protocol};
    const Outcome outcome = Ask(Outside(), {.to = host});
    EXPECT_EQ(outcome.who, "node1") << host.ToString() << outcome.note;
    EXPECT_EQ(outcome.source, v4 ? "10.99.0.2" : "fd99::2");
    const L4Address vip = FrontendOf(20, Way::kClusterIp, family, protocol);
    // The agent sees the new device a moment later than we do.
    EXPECT_TRUE(Eventually([&] {
      return Ask(Outside(), {.to = vip, .patience = kSilence}).kind ==
             Outcome::Kind::kAnswered;
    })) << vip.ToString();
    auto answers = AskMany(Outside(), {.to = vip}, 24);
    EXPECT_EQ(answers["l1"] + answers["l2"], 24) << vip.ToString();
  }
};

TEST_F(Tunnel, Vxlan) {
  auto add = [](const char* local, const char* remote) {
    return StrCat("ip link add vx0 type vxlan id 7 dstport 4789 dev eth0 local ",
                  local, " remote ", remote);
  };
  ASSERT_OK(OnNode(add("172.31.1.2", "192.0.2.10")).status());
  ASSERT_OK(
      Outside().netns.Command(add("192.0.2.10", "172.31.1.2")).status());
  ASSERT_NO_FATAL_FAILURE(Address("vx0"));
  Check();
  ASSERT_OK(OnNode("ip link del vx0").status());
  ASSERT_OK(Outside().netns.Command("ip link del vx0").status());
}

UniqueFd OpenTun(const Station& station, const char* name) {
  UniqueFd fd;
  EXPECT_OK(station.netns.Run([&]() -> absl::Status {
    fd.reset(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
    ifreq request = {};
    std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (ioctl(fd.get(), TUNSETIFF, &request) != 0) {
      return ErrnoStatus(errno, "open", "/dev/net/tun");
    }
    return absl::OkStatus();
  }));
  return fd;
}

// A VPN as it is seen from the kernel: packets without a link header, carried
// by a program.
class Vpn {
 public:
  Vpn(UniqueFd left, UniqueFd right)
      : left_(std::move(left)),
        right_(std::move(right)),
        stop_(eventfd(0, EFD_CLOEXEC)),
        thread_([this] { Carry(); }) {}
  ~Vpn() {
    (void)eventfd_write(stop_.get(), 1);
    thread_.join();
  }

 private:
  void Carry() {
    std::array<char, 65536> packet;
    for (;;) {
      pollfd ready[] = {{left_.get(), POLLIN, 0},
                        {right_.get(), POLLIN, 0},
                        {stop_.get(), POLLIN, 0}};
      (void)poll(ready, 3, -1);
      if (ready[2].revents != 0) return;
      for (int side : {0, 1}) {
        const ssize_t size =
            read(ready[side].fd, packet.data(), packet.size());
        if (size <= 0) continue;
        (void)!write(ready[1 - side].fd, packet.data(),
                     static_cast<size_t>(size));
      }
    }
  }

  UniqueFd left_;
  UniqueFd right_;
  UniqueFd stop_;
  std::thread thread_;
};

TEST_F(Tunnel, Vpn) {
  UniqueFd node = OpenTun(bed_->net().node(), "tun0");
  UniqueFd outside = OpenTun(Outside(), "tun0");
  ASSERT_NO_FATAL_FAILURE(Address("tun0"));
  Vpn vpn(std::move(node), std::move(outside));
  Check();
}

}  // namespace
}  // namespace fairlead::harness
