// SPDX-License-Identifier: Apache-2.0
#include "userspace/netlink/netlink_socket.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/veth.h>
#include <sys/socket.h>

#include <cstdio>
#include <cstring>
#include <utility>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/netlink/message.h"

namespace fairlead::netlink {

struct NetlinkSocket::Impl {
  UniqueFd fd;
  uint32_t sequence = 0;
  std::vector<char> input = std::vector<char>(64 * 1024);

  absl::Status Send(Message& message) {
    message.header()->nlmsg_seq = ++sequence;
    const std::vector<char>& bytes = message.Finish();
    if (send(fd.get(), bytes.data(), bytes.size(), 0) < 0) {
      return ErrnoStatus(errno, "send", "NETLINK_ROUTE");
    }
    return absl::OkStatus();
  }

  // Calls `fn` with each answer until the last. Returns the kernel's errno
  // (0: done).
  absl::StatusOr<int> Receive(
      const std::function<void(const nlmsghdr*)>& fn) {
    for (;;) {
      ssize_t size = recv(fd.get(), input.data(), input.size(), 0);
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return ErrnoStatus(errno, "receive", "NETLINK_ROUTE");
      int left = static_cast<int>(size);
      for (auto* m = reinterpret_cast<nlmsghdr*>(input.data());
           NLMSG_OK(m, static_cast<unsigned>(left));
           m = NLMSG_NEXT(m, left)) {
        if (m->nlmsg_seq != sequence) continue;  // of an abandoned request
        if (m->nlmsg_type == NLMSG_ERROR || m->nlmsg_type == NLMSG_DONE) {
          int error = 0;
          if (m->nlmsg_len >= NLMSG_LENGTH(sizeof error)) {
            std::memcpy(&error, NLMSG_DATA(m), sizeof error);
          }
          return -error;
        }
        fn(m);
      }
    }
  }

  // The kernel's errno.
  absl::StatusOr<int> Do(Message message) {
    message.header()->nlmsg_flags |= NLM_F_ACK;
    FL_RETURN_IF_ERROR(Send(message));
    return Receive([](const nlmsghdr*) {});
  }

  absl::Status Do(Message message, std::string_view operation,
                  std::string_view object, int ignore = 0) {
    FL_ASSIGN_OR_RETURN(int error, Do(std::move(message)));
    if (error == ignore) return absl::OkStatus();
    return ErrnoStatus(error, operation, object);
  }

  absl::Status Dump(Message message,
                    const std::function<void(const nlmsghdr*)>& fn,
                    std::string_view what) {
    message.header()->nlmsg_flags |= NLM_F_DUMP;
    FL_RETURN_IF_ERROR(Send(message));
    FL_ASSIGN_OR_RETURN(int error, Receive(fn));
    return ErrnoStatus(error, "list", what);
  }
};

namespace {

constexpr uint16_t kCreate = NLM_F_CREATE | NLM_F_EXCL;

absl::Status CheckName(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ) {
    return absl::InvalidArgumentError(StrCat(
        "device name \"", name, "\": want 1 to ", IFNAMSIZ - 1, " bytes"));
  }
  return absl::OkStatus();
}

Message SetLink(int index, const ifinfomsg& change = {}) {
  ifinfomsg fixed = change;
  fixed.ifi_index = index;
  return Message(RTM_NEWLINK, 0, fixed);
}

Message NewLink(const std::string& name) {
  Message message(RTM_NEWLINK, kCreate, ifinfomsg{});
  message.AddText(IFLA_IFNAME, name);
  return message;
}

unsigned char FamilyOf(const IpAddress& address) {
  return address.is_v4() ? AF_INET : AF_INET6;
}

Message AddressMessage(uint16_t type, uint16_t flags, int index,
                       const IpAddress& address, int bits) {
  ifaddrmsg fixed = {};
  fixed.ifa_family = FamilyOf(address);
  fixed.ifa_prefixlen = static_cast<unsigned char>(bits);
  fixed.ifa_index = static_cast<unsigned>(index);
  fixed.ifa_flags = address.is_v4() ? 0 : IFA_F_NODAD;
  Message message(type, flags, fixed);
  message.AddAddress(IFA_LOCAL, address);
  message.AddAddress(IFA_ADDRESS, address);
  return message;
}

Message RouteMessage(uint16_t type, uint16_t flags, const Route& route,
                     int index) {
  rtmsg fixed = {};
  fixed.rtm_family = FamilyOf(route.destination.address());
  fixed.rtm_dst_len = static_cast<unsigned char>(route.destination.bits());
  fixed.rtm_table = RT_TABLE_MAIN;
  fixed.rtm_protocol = RTPROT_STATIC;
  fixed.rtm_scope = route.gateway.has_value() || fixed.rtm_family == AF_INET6
                        ? RT_SCOPE_UNIVERSE
                        : RT_SCOPE_LINK;
  fixed.rtm_type = RTN_UNICAST;
  if (route.gateway_onlink) fixed.rtm_flags |= RTNH_F_ONLINK;
  if (type == RTM_DELROUTE) {
    // Only what identifies it: anything else would have to match.
    fixed.rtm_protocol = RTPROT_UNSPEC;
    fixed.rtm_scope = RT_SCOPE_NOWHERE;
    fixed.rtm_type = 0;
    fixed.rtm_flags = 0;
  }
  Message message(type, flags, fixed);
  if (route.destination.bits() > 0) {
    message.AddAddress(RTA_DST, route.destination.address());
  }
  if (index > 0) message.AddU32(RTA_OIF, static_cast<uint32_t>(index));
  if (route.gateway.has_value()) {
    message.AddAddress(RTA_GATEWAY, *route.gateway);
  }
  if (route.source.has_value() && type == RTM_NEWROUTE) {
    message.AddAddress(RTA_PREFSRC, *route.source);
  }
  return message;
}

}  // namespace

NetlinkSocket::NetlinkSocket(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)) {}
NetlinkSocket::NetlinkSocket(NetlinkSocket&&) noexcept = default;
NetlinkSocket& NetlinkSocket::operator=(NetlinkSocket&&) noexcept = default;
NetlinkSocket::~NetlinkSocket() = default;

absl::StatusOr<NetlinkSocket> NetlinkSocket::Open() {
  auto impl = std::make_unique<Impl>();
  FL_ASSIGN_OR_RETURN(impl->fd, OpenRoute(0));
  return NetlinkSocket(std::move(impl));
}

absl::Status NetlinkSocket::CreateVeth(const std::string& name,
                                       const std::string& peer,
                                       int peer_netns_fd) {
  FL_RETURN_IF_ERROR(CheckName(name));
  FL_RETURN_IF_ERROR(CheckName(peer));
  Message message = NewLink(name);
  size_t info = message.Begin(IFLA_LINKINFO);
  message.AddText(IFLA_INFO_KIND, "veth");
  size_t inner = message.Begin(IFLA_INFO_DATA);
  size_t peer_mark = message.Begin(VETH_INFO_PEER);
  ifinfomsg peer_fixed = {};
  message.Append(&peer_fixed, sizeof peer_fixed);
  message.AddText(IFLA_IFNAME, peer);
  if (peer_netns_fd >= 0) {
    message.AddU32(IFLA_NET_NS_FD, static_cast<uint32_t>(peer_netns_fd));
  }
  message.End(peer_mark);
  message.End(inner);
  message.End(info);
  return impl_->Do(std::move(message), "create veth",
                   StrCat(name, " (peer ", peer, ")"));
}

absl::Status NetlinkSocket::CreateBridge(const std::string& name) {
  FL_RETURN_IF_ERROR(CheckName(name));
  Message message = NewLink(name);
  size_t info = message.Begin(IFLA_LINKINFO);
  message.AddText(IFLA_INFO_KIND, "bridge");
  message.End(info);
  return impl_->Do(std::move(message), "create bridge", name);
}

absl::Status NetlinkSocket::CreateDummy(const std::string& name) {
  FL_RETURN_IF_ERROR(CheckName(name));
  Message message = NewLink(name);
  size_t info = message.Begin(IFLA_LINKINFO);
  message.AddText(IFLA_INFO_KIND, "dummy");
  message.End(info);
  return impl_->Do(std::move(message), "create dummy", name);
}

absl::Status NetlinkSocket::DeleteLink(const std::string& name) {
  FL_RETURN_IF_ERROR(CheckName(name));
  Message message(RTM_DELLINK, 0, ifinfomsg{});
  message.AddText(IFLA_IFNAME, name);
  return impl_->Do(std::move(message), "delete device", name, ENODEV);
}

absl::Status NetlinkSocket::SetUp(const std::string& name) {
  FL_ASSIGN_OR_RETURN(int index, LinkIndex(name));
  ifinfomsg change = {};
  change.ifi_flags = IFF_UP;
  change.ifi_change = IFF_UP;
  return impl_->Do(SetLink(index, change), "set up", name);
}

absl::Status NetlinkSocket::SetMtu(const std::string& name, uint32_t mtu) {
  FL_ASSIGN_OR_RETURN(int index, LinkIndex(name));
  Message message = SetLink(index);
  message.AddU32(IFLA_MTU, mtu);
  return impl_->Do(std::move(message), "set the MTU of", name);
}

absl::Status NetlinkSocket::SetMaster(const std::string& name,
                                      const std::string& master) {
  FL_ASSIGN_OR_RETURN(int index, LinkIndex(name));
  int master_index = 0;
  if (!master.empty()) {
    FL_ASSIGN_OR_RETURN(master_index, LinkIndex(master));
  }
  Message message = SetLink(index);
  message.AddU32(IFLA_MASTER, static_cast<uint32_t>(master_index));
  return impl_->Do(std::move(message), "set the master of", name);
}

absl::Status NetlinkSocket::SetNetns(const std::string& name, int netns_fd) {
  FL_ASSIGN_OR_RETURN(int index, LinkIndex(name));
  Message message = SetLink(index);
  message.AddU32(IFLA_NET_NS_FD, static_cast<uint32_t>(netns_fd));
  return impl_->Do(std::move(message), "move to another namespace", name);
}

absl::Status NetlinkSocket::SetMac(const std::string& name,
                                   const std::string& mac) {
  unsigned b[6];
  char rest = 0;
  if (std::sscanf(mac.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1],
                  &b[2], &b[3], &b[4], &b[5], &rest) != 6) {
    return absl::InvalidArgumentError(StrCat("MAC address \"", mac, "\""));
  }
  unsigned char bytes[6];
  for (int i = 0; i < 6; ++i) bytes[i] = static_cast<unsigned char>(b[i]);
  FL_ASSIGN_OR_RETURN(int index, LinkIndex(name));
  Message message = SetLink(index);
  message.Add(IFLA_ADDRESS, bytes, sizeof bytes);
  return impl_->Do(std::move(message), "set the MAC address of", name);
}

absl::Status NetlinkSocket::AddAddress(const std::string& name,
                                       const IpAddress& address, int bits) {
  FL_ASSIGN_OR_RETURN(int index, LinkIndex(name));
  return impl_->Do(
      AddressMessage(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, address,
                     bits),
      "add address", StrCat(address.ToString(), "/", bits, " to ", name),
      EEXIST);
}

absl::Status NetlinkSocket::DeleteAddress(const std::string& name,
                                          const IpAddress& address, int bits) {
  FL_ASSIGN_OR_RETURN(int index, LinkIndex(name));
  return impl_->Do(AddressMessage(RTM_DELADDR, 0, index, address, bits),
                   "delete address",
                   StrCat(address.ToString(), "/", bits, " of ", name),
                   EADDRNOTAVAIL);
}

absl::Status NetlinkSocket::AddRoute(const Route& route) {
  FL_ASSIGN_OR_RETURN(int index, LinkIndex(route.link));
  return impl_->Do(RouteMessage(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE,
                                route, index),
                   "add route",
                   StrCat(route.destination.ToString(), " dev ", route.link));
}

absl::Status NetlinkSocket::DeleteRoute(const Route& route) {
  int index = 0;
  if (!route.link.empty()) {
    absl::StatusOr<int> found = LinkIndex(route.link);
    // A device's routes go with it.
    if (absl::IsNotFound(found.status())) return absl::OkStatus();
    FL_ASSIGN_OR_RETURN(index, found);
  }
  return impl_->Do(RouteMessage(RTM_DELROUTE, 0, route, index), "delete route",
                   route.destination.ToString(), ESRCH);
}

absl::StatusOr<int> NetlinkSocket::LinkIndex(const std::string& name) {
  FL_RETURN_IF_ERROR(CheckName(name));
  Message message(RTM_GETLINK, 0, ifinfomsg{});
  message.AddText(IFLA_IFNAME, name);
  int index = 0;
  message.header()->nlmsg_flags |= NLM_F_ACK;
  FL_RETURN_IF_ERROR(impl_->Send(message));
  FL_ASSIGN_OR_RETURN(int error, impl_->Receive([&](const nlmsghdr* m) {
    if (auto link = ParseLink(m)) index = link->index;
  }));
  if (error == ENODEV) {
    return absl::NotFoundError(StrCat("device ", name, ": there is none"));
  }
  if (error != 0) return ErrnoStatus(error, "look up device", name);
  return index;
}

absl::StatusOr<std::vector<Link>> NetlinkSocket::ListLinks() {
  std::vector<Link> links;
  FL_RETURN_IF_ERROR(impl_->Dump(
      Message(RTM_GETLINK, 0, ifinfomsg{}),
      [&](const nlmsghdr* m) {
        if (auto link = ParseLink(m)) links.push_back(*std::move(link));
      },
      "devices"));
  return links;
}

absl::StatusOr<std::vector<LinkAddress>> NetlinkSocket::ListAddresses() {
  std::vector<LinkAddress> addresses;
  FL_RETURN_IF_ERROR(impl_->Dump(
      Message(RTM_GETADDR, 0, ifaddrmsg{}),
      [&](const nlmsghdr* m) {
        if (auto address = ParseAddress(m)) addresses.push_back(*address);
      },
      "addresses"));
  return addresses;
}

}  // namespace fairlead::netlink
