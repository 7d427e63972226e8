// SPDX-License-Identifier: Apache-2.0
// The agent's parts that need neither kernel nor API server.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <fstream>
#include <thread>

#include "userspace/agent/config.h"
#include "userspace/agent/http_server.h"
#include "userspace/agent/local_addresses.h"
#include "userspace/agent/metrics.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

IpAddress Ip(std::string_view text) { return *IpAddress::Parse(text); }

Flags GoodFlags() {
  Flags flags;
  flags.server = "http://127.0.0.1:1";
  flags.node_name = "n1";
  flags.cgroup_root = "none";
  flags.bpf_root = "/b";
  return flags;
}

TEST(Config, Defaults) {
  auto config = MakeConfig(GoodFlags());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->cgroup_root.has_value());
  EXPECT_EQ(config->node_ports.first, 30000);
  EXPECT_EQ(config->healthz->port, 10256);
  EXPECT_TRUE(config->nodeport_primary);
}

TEST(Config, AllProblemsAtOnce) {
  Flags flags = GoodFlags();
  flags.kubeconfig = "/does/not/exist";
  flags.cluster_cidrs = {"10.0.0.0/8,10.1.0.0/16", "fd00::1/8"};
  flags.node_port_range = "7-3";
  flags.masquerade_source_ports = "1-70000";
  flags.healthz_bind_address = "::1:80";
  flags.metrics_bind_address = "localhost:80";
  flags.nodeport_addresses = {"everything"};
  flags.node_ip = "1.2.3";
  auto config = MakeConfig(flags);
  ASSERT_TRUE(absl::IsInvalidArgument(config.status()));
  std::string text(config.status().message());
  for (const char* piece :
       {"/does/not/exist", "only one range", "fd00::1/8", "--node-port-range",
        "--masquerade-source-ports", "--healthz-bind-address",
        "--metrics-bind-address", "--nodeport-addresses", "--node-ip"}) {
    EXPECT_THAT(text, HasSubstr(piece));
  }
}

TEST(Config, SeveralServers) {
  Flags flags = GoodFlags();
  flags.server = "http://a:1, https://[fd00::1]:2";
  auto config = MakeConfig(flags);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->api_server.url, "http://a:1");
  EXPECT_THAT(config->api_server.more_urls,
              ElementsAre("https://[fd00::1]:2"));
  // With a kubeconfig: its credentials, at these addresses.
  flags.kubeconfig = testing::TempDir() + "/servers.kubeconfig";
  std::ofstream(flags.kubeconfig) << R"(
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://h"}}]
users: [{name: u, user: {token: t0}}]
)";
  config = MakeConfig(flags);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->api_server.url, "http://a:1");
  EXPECT_EQ(config->api_server.bearer_token, "t0");
}

TEST(Config, SecretsAreNotShown) {
  auto config = MakeConfig(GoodFlags());
  ASSERT_TRUE(config.ok());
  config->api_server.bearer_token = "s3cret";
  for (const auto& [flag, value] : config->ToText()) {
    EXPECT_THAT(value, Not(HasSubstr("s3cret"))) << flag;
  }
}

TEST(Config, Devices) {
  AgentConfig config;
  EXPECT_TRUE(WantsDevice(config, "eth0", false));
  EXPECT_FALSE(WantsDevice(config, "lo", true));
  config.devices = {"eth*", "lo"};
  EXPECT_TRUE(WantsDevice(config, "eth7", false));
  EXPECT_TRUE(WantsDevice(config, "lo", true));
  EXPECT_FALSE(WantsDevice(config, "veth0", false));
}

TEST(LocalAddresses, NodeIpByPrecedence) {
  AgentConfig config;
  std::set<netlink::LinkAddress> local = {
      {1, Ip("127.0.0.1"), 8, false, true},
      {2, Ip("192.0.2.1"), 24},
      {2, Ip("fe80::1"), 64, true, false},
      {3, Ip("198.51.100.1"), 24}};
  auto node_ip = [&](std::vector<IpAddress> node,
                     std::optional<IpAddress> primary) {
    return NodeIp(IpFamily::kIpv4, config, node, primary, local);
  };
  EXPECT_EQ(node_ip({}, std::nullopt), Ip("192.0.2.1"));
  EXPECT_EQ(node_ip({}, Ip("198.51.100.1")), Ip("198.51.100.1"));
  EXPECT_EQ(node_ip({}, Ip("203.0.113.9")), Ip("192.0.2.1"));  // not local
  EXPECT_EQ(node_ip({Ip("192.0.2.1")}, Ip("198.51.100.1")), Ip("192.0.2.1"));
  // The Node may still have the address of another machine.
  EXPECT_EQ(node_ip({Ip("203.0.113.9")}, Ip("198.51.100.1")),
            Ip("198.51.100.1"));
  config.node_ips = {Ip("203.0.113.1")};
  EXPECT_EQ(node_ip({Ip("192.0.2.1")}, {}), Ip("203.0.113.1"));
  EXPECT_EQ(NodeIp(IpFamily::kIpv6, config, {}, {}, local), std::nullopt);
}

TEST(Config, HowPodsAreTold) {
  auto make = [](const char* mode, const char* bridge, const char* prefix) {
    Flags flags;
    flags.server = "http://127.0.0.1:1";
    flags.cgroup_root = "none";
    flags.detect_local_mode = mode;
    flags.pod_bridge_interface = bridge;
    flags.pod_interface_name_prefix = prefix;
    return MakeConfig(flags);
  };
  EXPECT_FALSE(make("ClusterCIDR", "", "")->detects_pods());
  EXPECT_TRUE(make("NodeCIDR", "", "")->detects_pods());
  EXPECT_TRUE(make("NodeCIDR", "", "")->node_pods_from_api);
  auto bridge = make("BridgeInterface", "cni0", "");
  ASSERT_TRUE(bridge.ok()) << bridge.status();
  EXPECT_TRUE(IsPodDevice(*bridge, "cni0", ""));
  EXPECT_TRUE(IsPodDevice(*bridge, "veth1", "cni0"));
  EXPECT_FALSE(IsPodDevice(*bridge, "eth0", "br0"));
  auto prefix = make("InterfaceNamePrefix", "", "cali");
  ASSERT_TRUE(prefix.ok()) << prefix.status();
  EXPECT_TRUE(IsPodDevice(*prefix, "cali12", ""));
  EXPECT_FALSE(IsPodDevice(*prefix, "cal", ""));
  for (auto bad : {make("BridgeInterface", "", ""),
                   make("InterfaceNamePrefix", "", ""), make("Magic", "", "")}) {
    EXPECT_FALSE(bad.ok());
  }
}

TEST(Config, NodePortAddressKeywords) {
  Flags flags;
  flags.server = "http://127.0.0.1:1";
  flags.cgroup_root = "none";
  flags.nodeport_addresses = {"localhost"};
  auto config = MakeConfig(flags);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->nodeport_primary);
  std::set<netlink::LinkAddress> local = {
      {1, Ip("127.0.0.1"), 8, false, true}, {1, Ip("::1"), 128, false, true},
      {2, Ip("192.0.2.1"), 24}};
  EXPECT_THAT(NodeAddresses(*config, local, {Ip("192.0.2.1")}),
              ElementsAre(model::NodeAddress{Ip("::1"), true},
                          model::NodeAddress{Ip("127.0.0.1"), true},
                          model::NodeAddress{Ip("192.0.2.1"), false}));
}

TEST(Config, NodePortsOnAllAddressesButLoopback) {
  Flags flags;
  flags.server = "http://127.0.0.1:1";
  flags.cgroup_root = "none";
  flags.default_nodeport_addresses = "non-loopback,127.0.0.0/8";
  auto config = MakeConfig(flags);
  ASSERT_TRUE(config.ok()) << config.status();
  std::set<netlink::LinkAddress> local = {
      {1, Ip("127.0.0.1"), 8, false, true}, {1, Ip("::1"), 128, false, true},
      {2, Ip("192.0.2.1"), 24}};
  EXPECT_THAT(NodeAddresses(*config, local, {}),
              ElementsAre(model::NodeAddress{Ip("::1"), false},
                          model::NodeAddress{Ip("127.0.0.1"), true},
                          model::NodeAddress{Ip("192.0.2.1"), true}));
  // What is listed goes before the default.
  flags.nodeport_addresses = {"primary"};
  config = MakeConfig(flags);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->nodeport_primary);
  EXPECT_FALSE(config->nodeport_non_loopback);
}

TEST(LocalAddresses, WhichTakeNodePorts) {
  AgentConfig config;
  config.nodeport_primary = true;
  config.nodeport_cidrs = {*IpPrefix::Parse("198.51.100.0/24")};
  std::set<netlink::LinkAddress> local = {
      {1, Ip("127.0.0.1"), 8, false, true},
      {2, Ip("192.0.2.1"), 24},
      {2, Ip("192.0.2.2"), 24},
      {2, Ip("fe80::1"), 64, true, false},
      {3, Ip("198.51.100.1"), 24},
      {4, Ip("192.0.2.1"), 32}};  // on two devices
  EXPECT_THAT(NodeAddresses(config, local, {Ip("192.0.2.1")}),
              ElementsAre(model::NodeAddress{Ip("127.0.0.1"), false},
                          model::NodeAddress{Ip("192.0.2.1"), true},
                          model::NodeAddress{Ip("192.0.2.2"), false},
                          model::NodeAddress{Ip("198.51.100.1"), true}));
}

TEST(Metrics, TextFormat) {
  PrometheusText text;
  text.Counter("a_total", "Help.", "reason=\"x\"", 1);
  text.Counter("a_total", "Help.", "reason=\"y\"", 12345678901);
  Histogram histogram({0.5, 1});
  histogram.Observe(absl::Milliseconds(500));
  histogram.Observe(absl::Milliseconds(700));
  histogram.Observe(absl::Seconds(3));
  text.Add("h_seconds", "H.", histogram);
  EXPECT_EQ(text.Take(),
            "# HELP a_total Help.\n# TYPE a_total counter\n"
            "a_total{reason=\"x\"} 1\na_total{reason=\"y\"} 12345678901\n"
            "# HELP h_seconds H.\n# TYPE h_seconds histogram\n"
            "h_seconds_bucket{le=\"0.5\"} 1\nh_seconds_bucket{le=\"1\"} 2\n"
            "h_seconds_bucket{le=\"+Inf\"} 3\nh_seconds_sum 4.2\n"
            "h_seconds_count 3\n");
  EXPECT_EQ(Histogram::ForNetworkProgramming().bounds().size(), 80u);
}

std::string Ask(Port port, const std::string& request) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) < 0) {
    return "";
  }
  (void)send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
  std::string answer;
  char buffer[1024];
  ssize_t n = 0;
  while ((n = read(fd.get(), buffer, sizeof buffer)) > 0) {
    answer.append(buffer, n);
  }
  return answer;
}

TEST(HttpServer, Answers) {
  EventLoop loop;
  auto server = HttpServer::Listen(
      &loop, {Ip("127.0.0.1"), 0}, [](std::string_view path) {
        HttpReply reply;
        reply.status = path == "/x" ? 200 : 503;
        reply.body = std::string(path);
        return reply;
      });
  ASSERT_TRUE(server.ok()) << server.status();
  Port port = (*server)->port();
  std::string good, query, head, post, garbage, huge;
  std::thread client([&] {
    good = Ask(port, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    query = Ask(port, "GET /y?z=1 HTTP/1.0\r\n\r\n");
    head = Ask(port, "HEAD /x HTTP/1.1\r\n\r\n");
    post = Ask(port, "POST /x HTTP/1.1\r\n\r\n");
    garbage = Ask(port, "\r\n\r\n");
    huge = Ask(port, std::string(20000, 'x'));
    loop.Stop();
  });
  loop.Run();
  client.join();
  EXPECT_THAT(good, HasSubstr("200 OK"));
  EXPECT_THAT(good, HasSubstr("Content-Length: 2\r\n"));
  EXPECT_THAT(good, HasSubstr("\r\n\r\n/x"));
  EXPECT_THAT(query, HasSubstr("503 Service Unavailable"));
  EXPECT_THAT(query, HasSubstr("\r\n\r\n/y"));
  EXPECT_THAT(head, HasSubstr("200 OK"));
  EXPECT_THAT(head, ::testing::EndsWith("\r\n\r\n"));
  EXPECT_THAT(post, HasSubstr("405"));
  EXPECT_EQ(garbage, "");
  EXPECT_EQ(huge, "");
  auto taken = HttpServer::Listen(&loop, {Ip("127.0.0.1"), port}, {});
  EXPECT_FALSE(taken.ok());
}

}  // namespace
}  // namespace fairlead::agent
