// SPDX-License-Identifier: Apache-2.0
// kube-proxy's configuration file and flags, as the agent takes them.
#include "userspace/agent/kube_proxy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/unit/kube_proxy_names.h"
#include "userspace/agent/no_local_endpoints.h"
#include "userspace/agent/status_pages.h"
#include "userspace/base/strings.h"

namespace fairlead::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const KubeProxySetting& Row(std::string_view flag) {
  for (const KubeProxySetting& row : KubeProxySettings()) {
    if (row.flag == flag) return row;
  }
  static const KubeProxySetting none;
  ADD_FAILURE() << "no flag " << flag;
  return none;
}

constexpr char kHead[] =
    "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n"
    "kind: KubeProxyConfiguration\n";

struct Applied {
  Flags flags;
  std::string unused;
};

absl::StatusOr<Applied> Apply(const std::string& body) {
  auto values = ParseKubeProxyFile(StrCat(kHead, body));
  if (!values.ok()) return values.status();
  Applied applied;
  auto unused = ApplyKubeProxyValues(*values, &applied.flags);
  if (!unused.ok()) return unused.status();
  applied.unused = *unused;
  return applied;
}

// The form in which installers write it: everything there, most of it zero.
TEST(KubeProxyFile, AsInstallersWriteIt) {
  auto applied = Apply(R"(
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
logging:
  flushFrequency: 0s
  options:
    json:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
)");
  ASSERT_TRUE(applied.ok()) << applied.status();
  EXPECT_EQ(applied->flags.kubeconfig, "/var/lib/kube-proxy/kubeconfig.conf");
  EXPECT_THAT(applied->flags.cluster_cidrs, ElementsAre("10.244.0.0/16"));
  EXPECT_EQ(applied->flags.node_ip, "");
  EXPECT_EQ(applied->flags.healthz_bind_address, "0.0.0.0:10256");
  EXPECT_EQ(applied->flags.detect_local_mode, "ClusterCIDR");
  EXPECT_THAT(applied->flags.nodeport_addresses, IsEmpty());
  EXPECT_EQ(applied->flags.default_nodeport_addresses,
            "non-loopback,127.0.0.0/8");
  EXPECT_EQ(applied->unused, "logging.options (logs are lines of key=value)");
}

TEST(KubeProxyFile, EverySettingThatMeansSomething) {
  auto applied = Apply(R"(
hostnameOverride: n7
bindAddress: 192.0.2.7
bindAddressHardFail: true
healthzBindAddress: 127.0.0.1:1
metricsBindAddress: "::1"
mode: nftables
clusterCIDR: 10.0.0.0/8,fd00::/16
nodePortAddresses: [192.0.2.0/24, primary]
detectLocalMode: BridgeInterface
detectLocal: {bridgeInterface: cni0, interfaceNamePrefix: veth}
oomScoreAdj: -999
nftables: {masqueradeAll: true, masqueradeBit: 20}
logging: {verbosity: 5}
)");
  ASSERT_TRUE(applied.ok()) << applied.status();
  const Flags& flags = applied->flags;
  EXPECT_EQ(flags.node_name, "n7");
  EXPECT_EQ(flags.node_ip, "192.0.2.7");
  EXPECT_TRUE(flags.bind_address_hard_fail);
  EXPECT_EQ(flags.healthz_bind_address, "127.0.0.1:1");
  EXPECT_EQ(flags.metrics_bind_address, "[::1]:10249");
  EXPECT_THAT(flags.cluster_cidrs, ElementsAre("10.0.0.0/8,fd00::/16"));
  EXPECT_THAT(flags.nodeport_addresses, ElementsAre("192.0.2.0/24", "primary"));
  EXPECT_EQ(flags.detect_local_mode, "BridgeInterface");
  EXPECT_EQ(flags.pod_bridge_interface, "cni0");
  EXPECT_EQ(flags.pod_interface_name_prefix, "veth");
  EXPECT_EQ(flags.oom_score_adj, -999);
  EXPECT_TRUE(flags.masquerade_all);
  EXPECT_EQ(flags.masquerade_bit, 20);
  EXPECT_EQ(flags.log_level, "debug");
  EXPECT_EQ(applied->unused, "");
}

TEST(KubeProxyFile, WhatMeansNothingIsNamedWithItsReason) {
  auto applied = Apply(R"(
mode: iptables
iptables: {syncPeriod: 30s, masqueradeBit: 3, localhostNodePorts: true}
nftables: {masqueradeBit: 5}
ipvs: {scheduler: rr, strictARP: true}
conntrack: {maxPerCore: 32768}
featureGates: {SomeGate: true}
)");
  ASSERT_TRUE(applied.ok()) << applied.status();
  EXPECT_EQ(applied->flags.masquerade_bit, 3);
  EXPECT_EQ(applied->flags.default_nodeport_addresses,
            "non-loopback,127.0.0.0/8");
  for (const char* piece :
       {"iptables.syncPeriod (changes are applied",
        "nftables.masqueradeBit (only for mode nftables)",
        "ipvs.scheduler, ipvs.strictARP (there is no IPVS here)",
        "conntrack.maxPerCore (", "featureGates ("}) {
    EXPECT_THAT(applied->unused, HasSubstr(piece));
  }
}

// What no addresses mean is the mode's choice.
TEST(KubeProxyFile, NodePortsWithoutAddresses) {
  struct Case {
    const char* body;
    const char* addresses;
  };
  constexpr char kAll[] = "non-loopback,127.0.0.0/8";
  for (const Case& row :
       {Case{"", kAll}, Case{"mode: iptables", kAll},
        Case{"nodePortAddresses: []", kAll},
        Case{"iptables: {localhostNodePorts: true}", kAll},
        Case{"iptables: {localhostNodePorts: false}", "non-loopback"},
        Case{"mode: ipvs", "non-loopback"},
        Case{"{mode: ipvs, iptables: {localhostNodePorts: true}}",
            "non-loopback"},
        Case{"mode: nftables", "primary"}, Case{"mode: ebpf", "primary"}}) {
    SCOPED_TRACE(row.body);
    auto values = ParseKubeProxyFile(
        row.body[0] == '{'
            ? StrCat(R"({"apiVersion": "kubeproxy.config.k8s.io/v1alpha1",)"
                     R"("kind": "KubeProxyConfiguration",)",
                     row.body + 1)
            : StrCat(kHead, row.body));
    ASSERT_TRUE(values.ok()) << values.status();
    Flags flags;
    ASSERT_TRUE(ApplyKubeProxyValues(*values, &flags).ok());
    EXPECT_EQ(flags.default_nodeport_addresses, row.addresses);
    EXPECT_THAT(flags.nodeport_addresses, IsEmpty());
  }
  auto listed = Apply("nodePortAddresses: [primary]\n"
                      "iptables: {localhostNodePorts: true}\n");
  ASSERT_TRUE(listed.ok());
  EXPECT_THAT(listed->flags.nodeport_addresses,
              ElementsAre("primary", "localhost"));
  // Flags of our own only: no mode is meant.
  Flags flags;
  const KubeProxyValues verbosity = {{&Row("v"), 1}};
  ASSERT_TRUE(ApplyKubeProxyValues(verbosity, &flags).ok());
  EXPECT_EQ(flags.default_nodeport_addresses, "primary");
}

struct BadRow {
  const char* body;
  const char* piece;
};

TEST(KubeProxyFile, BadOnesAreRefusedByName) {
  for (const BadRow& row : {
           BadRow{"clusterCidr: 10.0.0.0/8\n",
                  "unknown key \"clusterCidr\": is \"clusterCIDR\" meant?"},
           BadRow{"iptables: {masqueradall: true}\n",
                  "unknown key \"iptables.masqueradall\": is "
                  "\"iptables.masqueradeAll\" meant?"},
           BadRow{"somethingElseEntirely: 1\n",
                  "unknown key \"somethingElseEntirely\""},
           BadRow{"mode: 3\n", "mode: 3: want a string"},
           BadRow{"mode: userspace\n", "want iptables, ipvs or nftables"},
           BadRow{"iptables: 3\n", "iptables: want a map"},
           BadRow{"oomScoreAdj: 4000\n", "oomScoreAdj: 4000"},
           BadRow{"bindAddress: here\n", "bindAddress: "},
           BadRow{"iptables: {syncPeriod: soon}\n",
                  "iptables.syncPeriod: \"soon\": want a duration"},
           BadRow{"nodePortAddresses: [1]\n", "want a list of strings"},
           BadRow{"mode: [\n", ""},
       }) {
    auto applied = Apply(row.body);
    ASSERT_FALSE(applied.ok()) << row.body;
    EXPECT_THAT(std::string(applied.status().message()),
                HasSubstr(row.piece));
  }
  auto two = Apply("modes: x\nportRang: y\n");
  EXPECT_THAT(std::string(two.status().message()), HasSubstr("\"modes\""));
  EXPECT_THAT(std::string(two.status().message()), HasSubstr("\"portRang\""));
}

TEST(KubeProxyFile, OnlyOfItsKind) {
  for (const char* text :
       {"", "[]", "kind: KubeProxyConfiguration\n",
        "apiVersion: kubeproxy.config.k8s.io/v1alpha2\n"
        "kind: KubeProxyConfiguration\n",
        "apiVersion: v1\nkind: Pod\n"}) {
    auto values = ParseKubeProxyFile(text);
    EXPECT_FALSE(values.ok()) << text;
    EXPECT_THAT(std::string(values.status().message()),
                HasSubstr("KubeProxyConfiguration"));
  }
}

// A row is either done or explained, and no key or flag is there twice.
TEST(KubeProxySettings, RowsAreWhole) {
  std::set<std::string_view> paths, flags;
  for (const KubeProxySetting& row : KubeProxySettings()) {
    EXPECT_NE(row.path.empty() && row.flag.empty(), true);
    EXPECT_EQ(row.apply == nullptr, !row.why.empty()) << row.path << row.flag;
    if (!row.path.empty()) {
      EXPECT_TRUE(paths.insert(row.path).second) << row.path;
    }
    if (!row.flag.empty()) {
      EXPECT_TRUE(flags.insert(row.flag).second) << row.flag;
    }
  }
}

// Which of the agent's flags it has changed, as text.
std::string Changed(const Flags& flags) {
  const Flags none;
  std::string out;
  auto note = [&out](const char* name, bool changed) {
    if (changed) StrAppend(&out, name, " ");
  };
  note("kubeconfig", flags.kubeconfig != none.kubeconfig);
  note("server", flags.server != none.server);
  note("node_name", flags.node_name != none.node_name);
  note("node_ip", flags.node_ip != none.node_ip);
  note("cluster_cidrs", flags.cluster_cidrs != none.cluster_cidrs);
  note("detect_local_mode", flags.detect_local_mode != none.detect_local_mode);
  note("pod_bridge_interface",
       flags.pod_bridge_interface != none.pod_bridge_interface);
  note("pod_interface_name_prefix",
       flags.pod_interface_name_prefix != none.pod_interface_name_prefix);
  note("nodeports",
       flags.nodeport_addresses != none.nodeport_addresses ||
           flags.default_nodeport_addresses != none.default_nodeport_addresses);
  note("masquerade_all", flags.masquerade_all != none.masquerade_all);
  note("masquerade_bit", flags.masquerade_bit != none.masquerade_bit);
  note("oom_score_adj", flags.oom_score_adj != none.oom_score_adj);
  note("bind_address_hard_fail",
       flags.bind_address_hard_fail != none.bind_address_hard_fail);
  note("healthz", flags.healthz_bind_address != none.healthz_bind_address);
  note("metrics", flags.metrics_bind_address != none.metrics_bind_address);
  note("log_level", flags.log_level != none.log_level);
  return out;
}

nlohmann::json Probe(const KubeProxySetting& row) {
  using Shape = KubeProxySetting::Shape;
  switch (row.shape) {
    case Shape::kBool:
      return true;
    case Shape::kInteger:
      return 7;
    case Shape::kDuration:
      return "7s";
    case Shape::kStrings:
      return nlohmann::json::array({"192.0.2.0/24"});
    case Shape::kMap:
      return {{"x", true}};
    case Shape::kString:
      break;
  }
  if (row.flag == "proxy-mode") return "iptables";
  return row.flag.find("address") != row.flag.npos ? "192.0.2.7" : "x";
}

// Given alone, it changes what the agent does, or is named with its reason:
// never both, never neither.
void ExpectHonouredOrNamed(const KubeProxySetting& row) {
  KubeProxyValues values = {{&row, Probe(row)}};
  static const KubeProxySetting& mode = Row("proxy-mode");
  if (row.path.substr(0, 9) == "nftables.") values[&mode] = "nftables";
  Flags flags;
  auto unused = ApplyKubeProxyValues(values, &flags);
  ASSERT_TRUE(unused.ok()) << unused.status();
  EXPECT_NE(Changed(flags).empty(), unused->empty())
      << "changed: " << Changed(flags) << " named: " << *unused;
  if (unused->empty()) return;
  const std::string name = row.path.empty() ? StrCat("--", row.flag)
                                            : std::string(row.path);
  EXPECT_THAT(*unused, HasSubstr(name + " ("));
}

TEST(KubeProxySettings, EachFieldOfItsFileIsHonouredOrNamed) {
  std::set<std::string_view> known;
  for (const KubeProxySetting& row : KubeProxySettings()) {
    if (row.path.empty()) continue;
    SCOPED_TRACE(row.path);
    known.insert(row.path);
    ExpectHonouredOrNamed(row);
  }
  std::set<std::string_view> expected(std::begin(kKubeProxyFields),
                                      std::end(kKubeProxyFields));
  EXPECT_EQ(known, expected);
}

TEST(KubeProxySettings, EachOfItsFlagsIsHonouredOrNamed) {
  for (std::string_view flag : kKubeProxyFlags) {
    SCOPED_TRACE(flag);
    ExpectHonouredOrNamed(Row(flag));
  }
}

TEST(KubeProxyFlags, AreTextsOfTheSameValues) {
  EXPECT_EQ(*ParseKubeProxyFlag(Row("iptables-localhost-nodeports"), "true"),
            true);
  EXPECT_EQ(*ParseKubeProxyFlag(Row("oom-score-adj"), "-5"), -5);
  EXPECT_EQ(*ParseKubeProxyFlag(Row("kube-api-qps"), "2.5"), 2.5);
  EXPECT_TRUE(ParseKubeProxyFlag(Row("feature-gates"), "A=true").ok());
  auto bad = ParseKubeProxyFlag(Row("ipvs-tcp-timeout"), "long");
  ASSERT_FALSE(bad.ok());
  EXPECT_THAT(std::string(bad.status().message()),
              HasSubstr("--ipvs-tcp-timeout: \"long\": want a duration"));
}

AgentConfig Config() {
  Flags flags;
  flags.server = "http://127.0.0.1:1";
  flags.node_name = "n1";
  flags.cgroup_root = "none";
  flags.bpf_root = "/b";
  flags.cluster_cidrs = {"10.244.0.0/16"};
  return *MakeConfig(flags);
}

// What /configz says can be given back as a file.
TEST(StatusPages, ConfigzIsAConfiguration) {
  const auto page = nlohmann::json::parse(ConfigzReply(Config()).body);
  auto values =
      ParseKubeProxyFile(page.at("kubeproxy.config.k8s.io").dump());
  ASSERT_TRUE(values.ok()) << values.status();
  Flags flags;
  auto unused = ApplyKubeProxyValues(*values, &flags);
  ASSERT_TRUE(unused.ok()) << unused.status();
  EXPECT_EQ(*unused, "");
  EXPECT_EQ(flags.node_name, "n1");
  EXPECT_EQ(page["kubeproxy.config.k8s.io"]["clusterCIDR"], "10.244.0.0/16");
  EXPECT_EQ(page["kubeproxy.config.k8s.io"]["mode"], "ebpf");
}

TEST(StatusPages, FlagzAndStatusz) {
  AgentConfig config = Config();
  config.api_server.bearer_token = "s3cret";
  EXPECT_THAT(FlagzReply(config).body, HasSubstr("\nnode-name=n1\n"));
  EXPECT_THAT(FlagzReply(config).body, Not(HasSubstr("s3cret")));
  const absl::Time start = absl::FromUnixSeconds(0);
  const std::string status =
      StatuszReply(start, start + absl::Seconds(3661.5), "7.8").body;
  EXPECT_THAT(status, HasSubstr("Started: Thu Jan  1 00:00:00 UTC 1970\n"));
  EXPECT_THAT(status, HasSubstr("Up: 1h1m1s\n"));
  EXPECT_THAT(status, HasSubstr("Binary version: 7.8\n"));
}

model::DesiredService Service(IpFamily family, fl_verdict internal,
                              fl_verdict external) {
  model::DesiredPort port;
  port.family = family;
  for (model::FrontendKind kind : {model::FrontendKind::kClusterIp,
                                   model::FrontendKind::kNodePort}) {
    model::Frontend frontend;
    frontend.kind = kind;
    frontend.flags = internal << FL_SERVICE_INTERNAL_VERDICT_SHIFT |
                     external << FL_SERVICE_EXTERNAL_VERDICT_SHIFT;
    port.frontends.push_back(frontend);
  }
  model::DesiredService service;
  service.ports = {port, port};
  return service;
}

TEST(NoLocalEndpoints, CountsPortsThatDrop) {
  NoLocalEndpoints counts;
  counts.Update("a", Service(IpFamily::kIpv4, FL_VERDICT_DROP,
                             FL_VERDICT_FORWARD));
  counts.Update("b", Service(IpFamily::kIpv6, FL_VERDICT_REJECT,
                             FL_VERDICT_DROP));
  EXPECT_EQ(counts.total(IpFamily::kIpv4).internal, 2);
  EXPECT_EQ(counts.total(IpFamily::kIpv4).external, 0);
  EXPECT_EQ(counts.total(IpFamily::kIpv6).internal, 0);
  EXPECT_EQ(counts.total(IpFamily::kIpv6).external, 2);
  counts.Update("a", Service(IpFamily::kIpv4, FL_VERDICT_FORWARD,
                             FL_VERDICT_FORWARD));
  counts.Update("b", {});
  counts.Update("b", {});
  EXPECT_EQ(counts.total(IpFamily::kIpv4).internal, 0);
  EXPECT_EQ(counts.total(IpFamily::kIpv6).external, 0);
}

}  // namespace
}  // namespace fairlead::agent
