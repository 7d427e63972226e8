// SPDX-License-Identifier: Apache-2.0
// rtnetlink messages: building, sending, reading. Internal to this room.
#ifndef FAIRLEAD_USERSPACE_NETLINK_MESSAGE_H_
#define FAIRLEAD_USERSPACE_NETLINK_MESSAGE_H_

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/unique_fd.h"
#include "userspace/netlink/netlink_socket.h"

namespace fairlead::netlink {

class Message {
 public:
  // `header` is the fixed part (ifinfomsg, ...).
  template <typename Header>
  Message(uint16_t type, uint16_t flags, const Header& header)
      : buffer_(NLMSG_HDRLEN) {
    nlmsghdr* h = this->header();
    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | flags;
    Append(&header, sizeof header);
  }

  void Add(uint16_t type, const void* bytes, size_t size);
  void AddU32(uint16_t type, uint32_t value) {
    Add(type, &value, sizeof value);
  }
  void AddText(uint16_t type, std::string_view text);
  // The 4 or 16 bytes of an address.
  void AddAddress(uint16_t type, const IpAddress& address);
  // Returns a mark for End().
  size_t Begin(uint16_t type);
  void End(size_t mark);
  // Plain bytes (the fixed part of a nested message), padded.
  void Append(const void* bytes, size_t size);

  nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(buffer_.data()); }
  // Fills in the length.
  const std::vector<char>& Finish();

 private:
  std::vector<char> buffer_;
};

// A NETLINK_ROUTE socket; `groups` is a bit mask of RTMGRP_*.
[[nodiscard]] absl::StatusOr<UniqueFd> OpenRoute(uint32_t groups);

// Calls `fn` for each attribute in [attributes, attributes + size).
void ForEachAttribute(const void* attributes, size_t size,
                      const std::function<void(uint16_t type,
                                               std::string_view value)>& fn);

// nullopt for messages of other families (bridge ports) or broken ones.
std::optional<Link> ParseLink(const nlmsghdr* message);
std::optional<LinkAddress> ParseAddress(const nlmsghdr* message);

}  // namespace fairlead::netlink

#endif  // FAIRLEAD_USERSPACE_NETLINK_MESSAGE_H_
