// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/topology.h"

#include <utility>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

// New devices take `default`; a device's own value can only make it stricter.
constexpr char kSettings[] =
    "sysctl -qw net.ipv4.conf.all.rp_filter=1 "
    "net.ipv4.conf.default.rp_filter=1 "
    "net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 "
    // Above it are the ports that probes choose themselves.
    "net.ipv4.ip_local_port_range='32768 39999' "
    "net.ipv4.tcp_syn_retries=3 net.core.somaxconn=8192 "
    // Answers about a thousand refused clients at once are all wanted.
    "net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0";
constexpr char kForward[] =
    "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";

// What belongs to Services, as the router sees it.
constexpr const char* kServiceRanges[] = {
    "10.96.0.0/16",    "fd96::/16",        "198.51.100.0/24",
    "203.0.113.0/24",  "2001:db8:51::/48", "2001:db8:113::/48",
    "10.244.1.0/24",   "fd44:1::/32",      "172.31.1.3/32",
    "fd31:1::3/128"};

// The router's address on the link to a station is the first of its network.
std::string Gateway(const IpAddress& address) {
  IpAddress::Bytes bytes = address.bytes();
  bytes[15] = 1;
  return IpAddress(bytes).ToString();
}

// An IPv6 address is to be used at once.
std::string NoDad(const IpAddress& address) {
  return address.is_v4() ? "" : " nodad";
}

std::string Bits(const IpAddress& address) {
  return address.is_v4() ? "/24" : "/64";
}

}  // namespace

absl::StatusOr<std::unique_ptr<Topology>> Topology::Create() {
  std::unique_ptr<Topology> topology(new Topology());
  FL_RETURN_IF_ERROR(topology->Build());
  return topology;
}

absl::Status Topology::Run(const std::string& name,
                           const std::string& commands) const {
  return at(name).netns.Command(StrCat("set -e; ", commands)).status();
}

absl::Status Topology::AddStation(const std::string& name,
                                  const std::string& v4,
                                  const std::string& v6) {
  FL_ASSIGN_OR_RETURN(NetnsScope netns, NetnsScope::Create());
  FL_ASSIGN_OR_RETURN(IpAddress four, IpAddress::Parse(v4));
  FL_ASSIGN_OR_RETURN(IpAddress six, IpAddress::Parse(v6));
  stations_.emplace(name, Station{name, std::move(netns), four, six});
  return Run(name, kSettings);
}

absl::Status Topology::ConnectToRouter(const std::string& name) {
  const Station& station = at(name);
  FL_RETURN_IF_ERROR(AddVethPair(at("router").netns, StrCat("to-", name),
                                 station.netns, "eth0"));
  for (const IpAddress& own : {station.v4, station.v6}) {
    std::string gateway = Gateway(own);
    FL_RETURN_IF_ERROR(Run("router", StrCat("ip addr add ", gateway, Bits(own),
                                            " dev to-", name, NoDad(own))));
    FL_RETURN_IF_ERROR(
        Run(name, StrCat("ip addr add ", own.ToString(), Bits(own),
                         " dev eth0", NoDad(own),
                         "; ip route add default via ", gateway,
                         own.is_v4() ? "" : " src " + own.ToString())));
  }
  return absl::OkStatus();
}

absl::Status Topology::AddPod(const std::string& name, const std::string& node,
                              int number) {
  const std::string net = node == "node1" ? "1" : "2";
  FL_RETURN_IF_ERROR(AddStation(name, StrCat("10.244.", net, ".", number),
                                StrCat("fd44:", net, "::", number)));
  const Station& pod = at(name);
  const std::string device = StrCat("pod-", name);
  FL_RETURN_IF_ERROR(AddVethPair(at(node).netns, device, pod.netns, "eth0"));
  for (const IpAddress& own : {pod.v4, pod.v6}) {
    const std::string bits = own.is_v4() ? "/32" : "/128";
    const std::string gateway = Gateway(own);
    FL_RETURN_IF_ERROR(
        Run(node, StrCat("ip addr add ", gateway, bits, " dev ", device,
                         NoDad(own), "; ip route add ", own.ToString(), " dev ", device,
                         " src ",
                         at(node).address(own.family()).ToString())));
    FL_RETURN_IF_ERROR(
        Run(name, StrCat("ip addr add ", own.ToString(), bits,
                         " dev eth0", NoDad(own), "; ip route add ", gateway,
                         " dev eth0; ip route add default via ", gateway)));
  }
  return absl::OkStatus();
}

absl::Status Topology::Build() {
  FL_RETURN_IF_ERROR(AddStation("router", "192.0.2.1", "2001:db8::1"));
  FL_RETURN_IF_ERROR(AddStation("outside", "192.0.2.10", "2001:db8::10"));
  FL_RETURN_IF_ERROR(AddStation("node1", "172.31.1.2", "fd31:1::2"));
  FL_RETURN_IF_ERROR(AddStation("node2", "172.31.2.2", "fd31:2::2"));
  for (const char* name : {"router", "node1", "node2"}) {
    FL_RETURN_IF_ERROR(Run(name, kForward));
  }
  for (const char* name : {"outside", "node1", "node2"}) {
    FL_RETURN_IF_ERROR(ConnectToRouter(name));
  }
  FL_RETURN_IF_ERROR(
      Run("node1", StrCat("ip addr add ", kSecondV4, "/24 dev eth0; ",
                          "ip addr add ", kSecondV6,
                          "/64 dev eth0 nodad preferred_lft 0")));
  for (const char* range : kServiceRanges) {
    const bool v6 = std::string_view(range).find(':') != std::string::npos;
    FL_RETURN_IF_ERROR(Run(
        "router", StrCat("ip route replace ", range, " via ",
                         node().address(v6 ? IpFamily::kIpv6 : IpFamily::kIpv4)
                             .ToString())));
  }
  FL_RETURN_IF_ERROR(
      Run("router", "ip route add 10.244.2.0/24 via 172.31.2.2; "
                    "ip route add fd44:2::/32 via fd31:2::2"));
  // Else what node1 itself sends to a Service would come back to it.
  FL_RETURN_IF_ERROR(
      Run("router", "nft 'add table inet back; "
                    "add chain inet back forward {type filter hook forward "
                    "priority 0;}; "
                    "add rule inet back forward iifname to-node1 "
                    "oifname to-node1 drop'"));
  int number = 10;
  for (const char* name : {"a", "l1", "l2", "l3"}) {
    FL_RETURN_IF_ERROR(AddPod(name, "node1", number++));
  }
  for (const char* name : {"r1", "r2"}) {
    FL_RETURN_IF_ERROR(AddPod(name, "node2", number++));
  }
  return absl::OkStatus();
}

absl::Status Topology::LimitPath(const std::string& name, int mtu) const {
  const bool pod = name != "outside" && name != "node1" && name != "node2";
  for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
    const std::string way =
        pod ? StrCat("via ", at("node2").address(family).ToString())
            : StrCat("dev to-", name);
    FL_RETURN_IF_ERROR(
        Run("router", StrCat("ip route replace ",
                             at(name).address(family).ToString(), " ", way,
                             " mtu lock ", mtu)));
  }
  return absl::OkStatus();
}

}  // namespace fairlead::harness
