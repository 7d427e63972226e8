// SPDX-License-Identifier: Apache-2.0
// NETLINK_NETFILTER: one request, its answers. Internal to this room.
//
// A socket works in the network namespace of the thread that opened it. Needs
// CAP_NET_ADMIN there.
#ifndef FAIRLEAD_USERSPACE_NETLINK_NFNETLINK_H_
#define FAIRLEAD_USERSPACE_NETLINK_NFNETLINK_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/unique_fd.h"
#include "userspace/netlink/message.h"

namespace fairlead::netlink {

class NfnetlinkSocket {
 public:
  [[nodiscard]] static absl::StatusOr<NfnetlinkSocket> Open();

  // `family` is an NFPROTO_*, or NFPROTO_UNSPEC.
  static Message Request(uint8_t subsystem, uint8_t type, uint16_t flags,
                         uint8_t family);

  // Sends these as one, and gives each answer's family and attributes to `fn`.
  // The kernel's errno; 0: done. With several messages, the first refusal.
  [[nodiscard]] absl::StatusOr<int> Ask(
      std::vector<Message> messages,
      absl::FunctionRef<void(uint8_t family, std::string_view attributes)> fn);

 private:
  explicit NfnetlinkSocket(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  uint32_t sequence_ = 0;
};

}  // namespace fairlead::netlink

#endif  // FAIRLEAD_USERSPACE_NETLINK_NFNETLINK_H_
