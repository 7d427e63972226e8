// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/kube_proxy_world.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>

#include <utility>

#include "absl/strings/str_join.h"
#include "tests/netns/endpoint_server.h"
#include "tests/netns/service_test_base.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/netlink/nfnetlink.h"

namespace fairlead::harness {
namespace {

struct Port4 {
  const char* name;
  Protocol protocol;
};
constexpr Port4 kPorts[] = {{"tcp", Protocol::kTcp}, {"udp", Protocol::kUdp}};

bool IsV4(IpFamily family) { return family == IpFamily::kIpv4; }
const char* Pods(IpFamily family) {
  return IsV4(family) ? "10.244.0.0/16" : "fd44::/16";
}

// "10.96.0.1 . tcp . 80"
std::string Element(const L4Address& at, const char* protocol) {
  return StrCat(at.address.ToString(), " . ", protocol, " . ", at.port);
}

// ---- nf_tables ----

class NftTable {
 public:
  NftTable(const Topology& net, IpFamily family) : net_(net), family_(family) {}

  void AddService(int number, const std::vector<std::string>& endpoints) {
    for (const Port4& port : kPorts) {
      const std::string service = StrCat("service-S", number, "-", port.name);
      const std::string external = StrCat("external-S", number, "-", port.name);
      const L4Address cluster_ip =
          FrontendOf(number, Way::kClusterIp, family_, port.protocol);
      cluster_ips_.push_back(cluster_ip.address.ToString());
      ips_.push_back(
          StrCat(Element(cluster_ip, port.name), " : goto ", service));
      for (Way way : {Way::kLoadBalancer, Way::kExternalIp}) {
        ips_.push_back(StrCat(
            Element(FrontendOf(number, way, family_, port.protocol),
                    port.name),
            " : goto ", external));
      }
      node_ports_.push_back(StrCat(
          port.name, " . ",
          FrontendOf(number, Way::kNodePort, family_, port.protocol).port,
          " : goto ", external));
      Chain(external, StrCat("jump mark-for-masquerade\n    goto ", service));
      std::vector<std::string> choices;
      for (const std::string& name : endpoints) {
        const std::string endpoint =
            StrCat("endpoint-S", number, "-", port.name, "__", name);
        choices.push_back(StrCat(choices.size(), " : goto ", endpoint));
        Chain(endpoint, DnatTo(net_.at(name).address(family_), port.name));
      }
      Chain(service,
            StrCat(ip_, " daddr ", cluster_ip.address.ToString(), " ",
                   port.name, " dport ", cluster_ip.port, " ", ip_,
                   " saddr != ", Pods(family_), " jump mark-for-masquerade\n",
                   "    numgen random mod ", choices.size(), " vmap { ",
                   absl::StrJoin(choices, ", "), " }"));
    }
  }

  std::string Text() const {
    const char* type = IsV4(family_) ? "ipv4_addr" : "ipv6_addr";
    return StrCat(
        "table ", ip_, " kube-proxy {\n  comment \"rules for kube-proxy\"\n",
        "  set cluster-ips {\n    type ", type, "\n    elements = { ",
        absl::StrJoin(cluster_ips_, ", "), " }\n  }\n",
        "  set nodeport-ips {\n    type ", type, "\n    elements = { ",
        net_.node().address(family_).ToString(), " }\n  }\n",
        "  map service-ips {\n    type ", type,
        " . inet_proto . inet_service : verdict\n    elements = { ",
        absl::StrJoin(ips_, ", "), " }\n  }\n",
        "  map service-nodeports {\n    type inet_proto . inet_service : "
        "verdict\n    elements = { ",
        absl::StrJoin(node_ports_, ", "), " }\n  }\n", chains_,
        R"(
  chain mark-for-masquerade { meta mark set meta mark | 0x00004000; }
  chain masquerading {
    meta mark & 0x00004000 == 0x00000000 return
    meta mark set meta mark ^ 0x00004000
    masquerade fully-random
  }
  chain services {
    )", ip_, " daddr . meta l4proto . th dport vmap @service-ips\n    ", ip_,
        " daddr @nodeport-ips meta l4proto . th dport vmap "
        "@service-nodeports\n  }\n",
        "  chain cluster-ips-check { ", ip_, R"( daddr @cluster-ips reject; }
  chain filter-forward {
    type filter hook forward priority -110; policy accept;
    ct state new jump cluster-ips-check
  }
  chain filter-output {
    type filter hook output priority -90; policy accept;
    ct state new jump cluster-ips-check
  }
  chain nat-prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    jump services
  }
  chain nat-output {
    type nat hook output priority -100; policy accept;
    jump services
  }
  chain nat-postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    jump masquerading
  }
}
)");
  }

 private:
  void Chain(const std::string& name, const std::string& body) {
    StrAppend(&chains_, "  chain ", name, " {\n    ", body, "\n  }\n");
  }
  std::string DnatTo(const IpAddress& to, const char* protocol) const {
    const std::string text = to.ToString();
    const std::string target =
        StrCat(IsV4(family_) ? text : StrCat("[", text, "]"), ":",
               EndpointServer::kPort);
    return StrCat(ip_, " saddr ", text, " jump mark-for-masquerade\n",
                  "    meta l4proto ", protocol, " dnat to ", target);
  }

  const Topology& net_;
  IpFamily family_;
  std::string ip_ = IsV4(family_) ? "ip" : "ip6";
  std::vector<std::string> cluster_ips_, ips_, node_ports_;
  std::string chains_;
};

// ---- iptables ----

class IptablesText {
 public:
  IptablesText(const Topology& net, IpFamily family)
      : net_(net), family_(family) {
    Rule("PREROUTING", Said("kubernetes service portals") + "KUBE-SERVICES");
    Rule("OUTPUT", Said("kubernetes service portals") + "KUBE-SERVICES");
    Rule("POSTROUTING",
         Said("kubernetes postrouting rules") + "KUBE-POSTROUTING");
    Rule("KUBE-MARK-MASQ", "-j MARK --set-xmark 0x4000/0x4000");
    Rule("KUBE-POSTROUTING", "-m mark ! --mark 0x4000/0x4000 -j RETURN");
    Rule("KUBE-POSTROUTING", "-j MARK --set-xmark 0x4000/0x0");
    Rule("KUBE-POSTROUTING",
         Said("kubernetes service traffic requiring SNAT") +
             "MASQUERADE --random-fully");
  }

  void AddService(int number, const std::vector<std::string>& endpoints) {
    for (const Port4& port : kPorts) {
      const std::string id = StrCat("S", number, port.name);
      const std::string svc = Chain("KUBE-SVC-" + id);
      const std::string ext = Chain("KUBE-EXT-" + id);
      const std::string cluster_ip = To(number, Way::kClusterIp, port);
      Rule("KUBE-SERVICES",
           StrCat(cluster_ip, Said("ns/s:cluster IP"), svc));
      for (Way way : {Way::kLoadBalancer, Way::kExternalIp}) {
        Rule("KUBE-SERVICES", StrCat(To(number, way, port), "-j ", ext));
      }
      Rule("KUBE-NODEPORTS",
           StrCat("-p ", port.name, " -m ", port.name, " --dport ",
                  FrontendOf(number, Way::kNodePort, family_, port.protocol)
                      .port,
                  " -j ", ext));
      Rule(ext, Said("masquerade traffic for external destinations") +
                    "KUBE-MARK-MASQ");
      Rule(ext, "-j " + svc);
      Rule(svc, StrCat("! -s ", Pods(family_), " ", cluster_ip,
                       "-j KUBE-MARK-MASQ"));
      size_t left = endpoints.size();
      for (const std::string& name : endpoints) {
        const std::string ip = net_.at(name).address(family_).ToString();
        const std::string sep = Chain(StrCat("KUBE-SEP-", id, name));
        const std::string chance =
            left == 1 ? ""
                      : StrCat("-m statistic --mode random --probability ",
                               1.0 / static_cast<double>(left), " ");
        --left;
        Rule(svc, StrCat(chance, "-j ", sep));
        Rule(sep, StrCat("-s ", ip, " -j KUBE-MARK-MASQ"));
        Rule(sep, StrCat("-p ", port.name, " -m ", port.name,
                         " -j DNAT --to-destination ",
                         IsV4(family_) ? ip : StrCat("[", ip, "]"), ":",
                         EndpointServer::kPort));
      }
    }
  }

  std::string Text() {
    Rule("KUBE-SERVICES",
         "-m comment --comment \"kubernetes service nodeports; NOTE: this must "
         "be the last rule in this chain\" -m addrtype --dst-type LOCAL -j "
         "KUBE-NODEPORTS");
    std::string text = "*nat\n";
    for (const char* name : {"KUBE-MARK-MASQ", "KUBE-NODEPORTS",
                             "KUBE-POSTROUTING", "KUBE-PROXY-CANARY",
                             "KUBE-SERVICES"}) {
      Chain(name);
    }
    for (const std::string& name : chains_) {
      StrAppend(&text, ":", name, " - [0:0]\n");
    }
    StrAppend(&text, rules_, "COMMIT\n", R"(*filter
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-A INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -p tcp -m tcp --dport 7 -m comment --comment "not KUBE-'s" -j DROP
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*mangle
:KUBE-IPTABLES-HINT - [0:0]
:KUBE-PROXY-CANARY - [0:0]
COMMIT
)");
    return text;
  }

 private:
  static std::string Said(const char* comment) {
    return StrCat("-m comment --comment \"", comment, "\" -j ");
  }
  std::string Chain(const std::string& name) {
    chains_.push_back(name);
    return name;
  }
  void Rule(const std::string& chain, const std::string& rule) {
    StrAppend(&rules_, "-A ", chain, " ", rule, "\n");
  }
  // "-d 10.96.0.1 -p tcp -m tcp --dport 80 "
  std::string To(int number, Way way, const Port4& port) const {
    const L4Address at = FrontendOf(number, way, family_, port.protocol);
    return StrCat("-d ", at.address.ToString(), " -p ", port.name, " -m ",
                  port.name, " --dport ", at.port, " ");
  }

  const Topology& net_;
  IpFamily family_;
  std::vector<std::string> chains_;
  std::string rules_;
};

}  // namespace

const char* ProxyModeName(ProxyMode mode) {
  switch (mode) {
    case ProxyMode::kNftables:
      return "nftables";
    case ProxyMode::kIptablesNft:
      return "iptables_nft";
    case ProxyMode::kIptablesLegacy:
      return "iptables_legacy";
  }
  return "?";
}

std::string KubeProxyWorld::Tool(IpFamily family) const {
  return StrCat(IsV4(family) ? "iptables-" : "ip6tables-",
                mode_ == ProxyMode::kIptablesLegacy ? "legacy" : "nft");
}

absl::Status KubeProxyWorld::Load(const std::string& command,
                                  const std::string& rules) {
  return net_.node()
      .netns.Command(StrCat(command, " <<'RULES'\n", rules, "RULES"))
      .status();
}

absl::Status KubeProxyWorld::Install(
    const std::vector<int>& services,
    const std::vector<std::string>& endpoints) {
  for (IpFamily family : kFamilies) {
    if (mode_ == ProxyMode::kNftables) {
      NftTable table(net_, family);
      for (int number : services) table.AddService(number, endpoints);
      FL_RETURN_IF_ERROR(Load("nft -f -", table.Text()));
    } else {
      IptablesText text(net_, family);
      for (int number : services) text.AddService(number, endpoints);
      FL_RETURN_IF_ERROR(
          Load(StrCat(Tool(family), "-restore --noflush"), text.Text()));
    }
  }
  return absl::OkStatus();
}

absl::Status KubeProxyWorld::CleanUp() {
  for (IpFamily family : kFamilies) {
    const std::string tool = Tool(family);
    FL_RETURN_IF_ERROR(
        net_.node()
            .netns
            .Command(mode_ == ProxyMode::kNftables
                         ? StrCat("nft delete table ",
                                  IsV4(family) ? "ip" : "ip6", " kube-proxy")
                         : StrCat(tool, "-save | grep -v 'KUBE-[A-Z]' | ",
                                  tool, "-restore"))
            .status());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> KubeProxyWorld::Show() {
  std::string commands = "nft list ruleset 2>/dev/null";
  for (const char* tool : {"iptables-legacy", "ip6tables-legacy"}) {
    StrAppend(&commands, "; ", tool, "-save");
  }
  return net_.node().netns.Command(commands);
}

absl::Status KubeProxyWorld::Flush() {
  std::string commands = "nft flush ruleset";
  for (const char* tool : {"iptables-legacy", "ip6tables-legacy"}) {
    for (const char* table : {"nat", "filter", "mangle"}) {
      StrAppend(&commands, "; ", tool, " -t ", table, " -F; ", tool, " -t ",
                table, " -X");
    }
  }
  FL_RETURN_IF_ERROR(net_.node().netns.Command(commands).status());
  return net_.node().netns.Run([]() -> absl::Status {
    FL_ASSIGN_OR_RETURN(auto socket, netlink::NfnetlinkSocket::Open());
    std::vector<netlink::Message> all;
    all.push_back(netlink::NfnetlinkSocket::Request(
        NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, AF_UNSPEC));
    return socket.Ask(std::move(all), [](uint8_t, std::string_view) {})
        .status();
  });
}

}  // namespace fairlead::harness
