// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/network/pod_network.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_format.h"
#include "userspace/base/netns.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"
#include "userspace/kubelet/runtime/files.h"
#include "userspace/netlink/netlink_socket.h"
#include "userspace/netlink/owned_routes.h"

namespace fairlead::kubelet {
namespace {

constexpr char kPodDevice[] = "eth0";
// Link-local addresses that no one has: the pod's routes need a next hop, and
// the permanent neighbour entry says where it is.
constexpr char kGateway4[] = "169.254.1.1";
constexpr char kGateway6[] = "fe80::1";
// The same for every node's end: each is alone with its pod.
constexpr char kNodeMac[] = "02:fa:1e:ad:00:01";

// FNV-1a: small, and the same in every build, as state on disk needs.
uint64_t Hash(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text)
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

std::string PodMac(std::string_view uid) {
  const uint64_t h = Hash(uid);
  return absl::StrFormat("02:%02x:%02x:%02x:%02x:%02x", h >> 32 & 0xff,
                         h >> 24 & 0xff, h >> 16 & 0xff, h >> 8 & 0xff,
                         h & 0xff);
}

IpPrefix HostPrefix(const IpAddress& address) {
  return IpPrefix(address, address.is_v4() ? 32 : 128);
}

absl::Status SetSysctl(const std::string& name, const std::string& value) {
  absl::Status status = WriteInto("/proc/sys/net/" + name, value);
  // A kernel without IPv6 has none of its switches.
  if (absl::IsNotFound(status) && name.starts_with("ipv6/"))
    return absl::OkStatus();
  return status;
}

IpAddress Gateway(IpFamily family) {
  return *IpAddress::Parse(family == IpFamily::kIpv4 ? kGateway4 : kGateway6);
}

// Inside the pod's namespace.
absl::Status SetUpPodEnd(const PodNetwork& network) {
  FL_ASSIGN_OR_RETURN(auto socket, netlink::NetlinkSocket::Open());
  FL_ASSIGN_OR_RETURN(auto routes,
                      netlink::OwnedRoutes::Open(kRouteProtocol));
  FL_RETURN_IF_ERROR(socket.SetMac(kPodDevice, PodMac(network.uid)));
  if (network.mtu != 0)
    FL_RETURN_IF_ERROR(socket.SetMtu(kPodDevice, network.mtu));
  FL_RETURN_IF_ERROR(
      SetSysctl(StrCat("ipv6/conf/", kPodDevice, "/accept_dad"), "0"));
  FL_RETURN_IF_ERROR(
      SetSysctl(StrCat("ipv6/conf/", kPodDevice, "/accept_ra"), "0"));
  FL_RETURN_IF_ERROR(socket.SetUp("lo"));
  FL_RETURN_IF_ERROR(socket.SetUp(kPodDevice));
  FL_ASSIGN_OR_RETURN(const int index, socket.LinkIndex(kPodDevice));
  for (const IpAddress& address : network.addresses) {
    FL_RETURN_IF_ERROR(socket.AddAddress(kPodDevice, address,
                                         HostPrefix(address).bits()));
    const IpAddress gateway = Gateway(address.family());
    FL_RETURN_IF_ERROR(routes.SetNeighbour(index, gateway, kNodeMac));
    FL_RETURN_IF_ERROR(
        routes.Replace({.destination = HostPrefix(gateway),
                        .link_index = index}));
    FL_RETURN_IF_ERROR(routes.Replace(
        {.destination = IpPrefix(IpAddress::Unspecified(address.family()), 0),
         .link_index = index,
         .gateway = gateway}));
  }
  return absl::OkStatus();
}

// In the node's namespace. Up, with routes, only when the pod's end is ready.
absl::Status SetUpNodeEnd(const PodNetwork& network, const std::string& veth,
                          netlink::NetlinkSocket* socket) {
  FL_ASSIGN_OR_RETURN(auto routes,
                      netlink::OwnedRoutes::Open(kRouteProtocol));
  FL_RETURN_IF_ERROR(socket->SetMac(veth, kNodeMac));
  if (network.mtu != 0)
    FL_RETURN_IF_ERROR(socket->SetMtu(veth, network.mtu));
  // Replies of a translated flow may come in where its requests did not go
  // out; the route to the pod is exact, so nothing is lost by not asking.
  FL_RETURN_IF_ERROR(
      SetSysctl(StrCat("ipv4/conf/", veth, "/rp_filter"), "0"));
  FL_RETURN_IF_ERROR(
      SetSysctl(StrCat("ipv6/conf/", veth, "/accept_dad"), "0"));
  FL_RETURN_IF_ERROR(SetSysctl(StrCat("ipv6/conf/", veth, "/accept_ra"), "0"));
  FL_RETURN_IF_ERROR(socket->SetUp(veth));
  FL_ASSIGN_OR_RETURN(const int index, socket->LinkIndex(veth));
  for (const IpAddress& address : network.addresses) {
    FL_RETURN_IF_ERROR(
        routes.SetNeighbour(index, address, PodMac(network.uid)));
    netlink::OwnedRoute route{.destination = HostPrefix(address),
                              .link_index = index};
    for (const IpAddress& node : network.node_addresses) {
      if (node.family() == address.family()) route.source = node;
    }
    FL_RETURN_IF_ERROR(routes.Replace(route));
  }
  return absl::OkStatus();
}

}  // namespace

std::string VethName(std::string_view pod_uid) {
  return StrCat(kVethPrefix, absl::StrFormat(
                                 "%010x", Hash(pod_uid) & 0xffffffffff));
}

absl::Status SetUpPodNetwork(const PodNetwork& network) {
  const std::string veth = VethName(network.uid);
  FL_ASSIGN_OR_RETURN(auto socket, netlink::NetlinkSocket::Open());
  FL_RETURN_IF_ERROR(socket.DeleteLink(veth));
  const UniqueFd netns(open(network.netns.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns.valid()) return ErrnoStatus(errno, "open", network.netns);
  FL_RETURN_IF_ERROR(socket.CreateVeth(veth, kPodDevice, netns.get()));
  absl::Status status =
      RunInNetns(network.netns, [&] { return SetUpPodEnd(network); });
  if (status.ok()) status = SetUpNodeEnd(network, veth, &socket);
  if (!status.ok()) (void)socket.DeleteLink(veth);
  return WithContext(status, StrCat("network of pod ", network.uid));
}

absl::Status TearDownPodNetwork(std::string_view uid) {
  FL_ASSIGN_OR_RETURN(auto socket, netlink::NetlinkSocket::Open());
  return socket.DeleteLink(VethName(uid));
}

absl::StatusOr<std::vector<std::string>> ListPodVeths() {
  FL_ASSIGN_OR_RETURN(auto socket, netlink::NetlinkSocket::Open());
  FL_ASSIGN_OR_RETURN(const auto links, socket.ListLinks());
  std::vector<std::string> names;
  for (const netlink::Link& link : links) {
    if (link.kind == "veth" && link.name.starts_with(kVethPrefix))
      names.push_back(link.name);
  }
  return names;
}

absl::Status PrepareNode() {
  FL_ASSIGN_OR_RETURN(auto socket, netlink::NetlinkSocket::Open());
  FL_RETURN_IF_ERROR(socket.SetUp("lo"));
  FL_RETURN_IF_ERROR(SetSysctl("ipv4/ip_forward", "1"));
  return SetSysctl("ipv6/conf/all/forwarding", "1");
}

uint32_t MtuOf(const std::string& device) {
  auto socket = netlink::NetlinkSocket::Open();
  if (!socket.ok()) return 0;
  const auto links = socket->ListLinks();
  if (!links.ok()) return 0;
  for (const netlink::Link& link : *links) {
    if (link.name == device) return link.mtu;
  }
  return 0;
}

}  // namespace fairlead::kubelet
