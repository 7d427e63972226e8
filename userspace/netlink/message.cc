// SPDX-License-Identifier: Apache-2.0
#include "userspace/netlink/message.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <sys/socket.h>

#include <cstring>

#include "userspace/base/status.h"

namespace fairlead::netlink {
namespace {

uint32_t U32(std::string_view value) {
  uint32_t number = 0;
  if (value.size() >= sizeof number) {
    std::memcpy(&number, value.data(), sizeof number);
  }
  return number;
}

std::string CText(std::string_view value) {
  return std::string(value.substr(0, value.find('\0')));
}

std::optional<IpAddress> ToAddress(int family, std::string_view value) {
  IpAddress::Bytes bytes{};
  if (family == AF_INET && value.size() == 4) {
    bytes[10] = bytes[11] = 0xff;
    std::memcpy(&bytes[12], value.data(), 4);
  } else if (family == AF_INET6 && value.size() == 16) {
    std::memcpy(bytes.data(), value.data(), 16);
  } else {
    return std::nullopt;
  }
  return IpAddress(bytes);
}

// The attributes behind a message's fixed part.
template <typename Header>
std::string_view Attributes(const nlmsghdr* message) {
  size_t fixed = NLMSG_SPACE(sizeof(Header));
  if (message->nlmsg_len < fixed) return {};
  return std::string_view(reinterpret_cast<const char*>(message) + fixed,
                          message->nlmsg_len - fixed);
}

}  // namespace

void Message::Append(const void* bytes, size_t size) {
  size_t at = buffer_.size();
  buffer_.resize(at + NLMSG_ALIGN(size));
  std::memcpy(buffer_.data() + at, bytes, size);
}

void Message::Add(uint16_t type, const void* bytes, size_t size) {
  rtattr attribute = {};
  attribute.rta_len = static_cast<uint16_t>(RTA_LENGTH(size));
  attribute.rta_type = type;
  Append(&attribute, sizeof attribute);
  if (size > 0) Append(bytes, size);
}

void Message::AddText(uint16_t type, std::string_view text) {
  std::string terminated(text);
  Add(type, terminated.c_str(), terminated.size() + 1);
}

void Message::AddAddress(uint16_t type, const IpAddress& address) {
  const IpAddress::Bytes& bytes = address.bytes();
  if (address.is_v4()) {
    Add(type, &bytes[12], 4);
  } else {
    Add(type, bytes.data(), 16);
  }
}

size_t Message::Begin(uint16_t type) {
  size_t mark = buffer_.size();
  Add(type, nullptr, 0);
  return mark;
}

void Message::End(size_t mark) {
  auto* attribute = reinterpret_cast<rtattr*>(buffer_.data() + mark);
  attribute->rta_len = static_cast<uint16_t>(buffer_.size() - mark);
}

const std::vector<char>& Message::Finish() {
  header()->nlmsg_len = static_cast<uint32_t>(buffer_.size());
  return buffer_;
}

absl::StatusOr<UniqueFd> OpenRoute(uint32_t groups) {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd.valid()) return ErrnoStatus(errno, "socket", "NETLINK_ROUTE");
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) <
      0) {
    return ErrnoStatus(errno, "bind", "NETLINK_ROUTE");
  }
  return fd;
}

void ForEachAttribute(const void* attributes, size_t size,
                      const std::function<void(uint16_t type,
                                               std::string_view value)>& fn) {
  const char* at = static_cast<const char*>(attributes);
  while (size >= sizeof(rtattr)) {
    rtattr attribute;
    std::memcpy(&attribute, at, sizeof attribute);
    if (attribute.rta_len < sizeof attribute || attribute.rta_len > size) {
      return;
    }
    fn(attribute.rta_type & NLA_TYPE_MASK,
       std::string_view(at + RTA_LENGTH(0), attribute.rta_len - RTA_LENGTH(0)));
    size_t step = RTA_ALIGN(attribute.rta_len);
    if (step > size) return;
    at += step;
    size -= step;
  }
}

std::optional<Link> ParseLink(const nlmsghdr* message) {
  if (message->nlmsg_len < NLMSG_LENGTH(sizeof(ifinfomsg))) return {};
  const auto* fixed = static_cast<const ifinfomsg*>(NLMSG_DATA(message));
  if (fixed->ifi_family != AF_UNSPEC) return std::nullopt;
  Link link;
  link.index = fixed->ifi_index;
  link.up = (fixed->ifi_flags & IFF_UP) != 0;
  link.loopback = (fixed->ifi_flags & IFF_LOOPBACK) != 0;
  std::string_view attributes = Attributes<ifinfomsg>(message);
  ForEachAttribute(
      attributes.data(), attributes.size(),
      [&](uint16_t type, std::string_view value) {
        if (type == IFLA_IFNAME) link.name = CText(value);
        if (type == IFLA_MTU) link.mtu = U32(value);
        if (type == IFLA_MASTER) link.master = static_cast<int>(U32(value));
        if (type != IFLA_LINKINFO) return;
        ForEachAttribute(value.data(), value.size(),
                         [&](uint16_t inner, std::string_view text) {
                           if (inner == IFLA_INFO_KIND) link.kind = CText(text);
                         });
      });
  return link;
}

std::optional<LinkAddress> ParseAddress(const nlmsghdr* message) {
  if (message->nlmsg_len < NLMSG_LENGTH(sizeof(ifaddrmsg))) return {};
  const auto* fixed = static_cast<const ifaddrmsg*>(NLMSG_DATA(message));
  LinkAddress found;
  found.link_index = static_cast<int>(fixed->ifa_index);
  found.prefix_bits = fixed->ifa_prefixlen;
  found.link_scope = fixed->ifa_scope == RT_SCOPE_LINK;
  found.host_scope = fixed->ifa_scope == RT_SCOPE_HOST;
  std::optional<IpAddress> address, local;
  std::string_view attributes = Attributes<ifaddrmsg>(message);
  ForEachAttribute(attributes.data(), attributes.size(),
                   [&](uint16_t type, std::string_view value) {
                     if (type == IFA_ADDRESS) {
                       address = ToAddress(fixed->ifa_family, value);
                     } else if (type == IFA_LOCAL) {
                       local = ToAddress(fixed->ifa_family, value);
                     }
                   });
  // On a point-to-point device IFA_ADDRESS is the peer's.
  if (local.has_value()) address = local;
  if (!address.has_value()) return std::nullopt;
  found.address = *address;
  return found;
}

}  // namespace fairlead::netlink
