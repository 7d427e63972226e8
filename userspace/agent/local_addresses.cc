// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/local_addresses.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "userspace/base/unique_fd.h"

namespace fairlead::agent {
namespace {

bool IsLocal(const std::set<netlink::LinkAddress>& local,
             const IpAddress& address) {
  return std::any_of(local.begin(), local.end(),
                     [&](const auto& a) { return a.address == address; });
}

}  // namespace

std::optional<IpAddress> PrimaryAddress(IpFamily family) {
  bool v4 = family == IpFamily::kIpv4;
  UniqueFd fd(socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return std::nullopt;
  // Connecting a datagram socket only asks for a route. The destinations are
  // of the ranges for documentation: nobody's.
  sockaddr_storage storage = {};
  socklen_t size = 0;
  if (v4) {
    auto* to = reinterpret_cast<sockaddr_in*>(&storage);
    to->sin_family = AF_INET;
    to->sin_port = htons(9);
    to->sin_addr.s_addr = htonl(0xcb007101);  // 203.0.113.1
    size = sizeof *to;
  } else {
    auto* to = reinterpret_cast<sockaddr_in6*>(&storage);
    to->sin6_family = AF_INET6;
    to->sin6_port = htons(9);
    inet_pton(AF_INET6, "2001:db8:ffff::1", &to->sin6_addr);
    size = sizeof *to;
  }
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  if (connect(fd.get(), address, size) < 0) return std::nullopt;
  size = sizeof storage;
  if (getsockname(fd.get(), address, &size) < 0) return std::nullopt;
  if (v4) {
    return IpAddress::V4(
        ntohl(reinterpret_cast<sockaddr_in*>(&storage)->sin_addr.s_addr));
  }
  IpAddress::Bytes bytes;
  std::memcpy(bytes.data(),
              &reinterpret_cast<sockaddr_in6*>(&storage)->sin6_addr, 16);
  return IpAddress(bytes);
}

std::optional<IpAddress> NodeIp(IpFamily family, const AgentConfig& config,
                                const std::vector<IpAddress>& node,
                                std::optional<IpAddress> primary,
                                const std::set<netlink::LinkAddress>& local) {
  for (const IpAddress& address : config.node_ips) {
    if (address.family() == family) return address;
  }
  for (const IpAddress& address : node) {
    if (address.family() == family && IsLocal(local, address)) return address;
  }
  if (primary.has_value() && primary->family() == family &&
      IsLocal(local, *primary)) {
    return primary;
  }
  for (const netlink::LinkAddress& a : local) {
    if (a.address.family() == family && !a.link_scope && !a.host_scope) {
      return a.address;
    }
  }
  return std::nullopt;
}

std::vector<model::NodeAddress> NodeAddresses(
    const AgentConfig& config, const std::set<netlink::LinkAddress>& local,
    const std::vector<IpAddress>& node_ips) {
  // One address may be on several devices.
  std::map<IpAddress, bool> addresses;
  for (const netlink::LinkAddress& a : local) {
    if (a.link_scope) continue;
    bool takes = config.nodeport_primary &&
                 std::find(node_ips.begin(), node_ips.end(), a.address) !=
                     node_ips.end();
    takes |= config.nodeport_non_loopback && !a.address.is_loopback();
    for (const IpPrefix& prefix : config.nodeport_cidrs) {
      takes = takes || prefix.Contains(a.address);
    }
    addresses[a.address] |= takes;
  }
  std::vector<model::NodeAddress> result;
  for (const auto& [address, takes] : addresses) {
    result.push_back({address, takes});
  }
  return result;
}

}  // namespace fairlead::agent
