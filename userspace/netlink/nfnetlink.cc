// SPDX-License-Identifier: Apache-2.0
#include "userspace/netlink/nfnetlink.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "userspace/base/status.h"

namespace fairlead::netlink {
namespace {

constexpr char kWhat[] = "netfilter";
// A dump comes in messages of up to 32 KiB.
constexpr size_t kBuffer = 64 * 1024;

int ErrorOf(const nlmsghdr& message) {
  int error = 0;
  if (message.nlmsg_len >= NLMSG_LENGTH(sizeof error)) {
    std::memcpy(&error, NLMSG_DATA(&message), sizeof error);
  }
  return -error;
}

bool EndsRequest(const nlmsghdr& message) {
  return message.nlmsg_type == NLMSG_ERROR || message.nlmsg_type == NLMSG_DONE;
}

}  // namespace

absl::StatusOr<NfnetlinkSocket> NfnetlinkSocket::Open() {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!fd.valid()) return ErrnoStatus(errno, "socket", "NETLINK_NETFILTER");
  return NfnetlinkSocket(std::move(fd));
}

Message NfnetlinkSocket::Request(uint8_t subsystem, uint8_t type,
                                 uint16_t flags, uint8_t family) {
  nfgenmsg header = {};
  header.nfgen_family = family;
  header.version = NFNETLINK_V0;
  return Message(static_cast<uint16_t>(subsystem << 8 | type), flags, header);
}

absl::StatusOr<int> NfnetlinkSocket::Ask(
    std::vector<Message> messages,
    absl::FunctionRef<void(uint8_t, std::string_view)> fn) {
  std::vector<char> output;
  uint32_t awaited = 0;
  const uint32_t first = sequence_ + 1;
  for (Message& message : messages) {
    message.header()->nlmsg_seq = ++sequence_;
    if (message.header()->nlmsg_flags & (NLM_F_ACK | NLM_F_DUMP)) ++awaited;
    const std::vector<char>& bytes = message.Finish();
    output.insert(output.end(), bytes.begin(), bytes.end());
  }
  if (send(fd_.get(), output.data(), output.size(), 0) < 0) {
    return ErrnoStatus(errno, "ask", kWhat);
  }
  std::vector<char> input(kBuffer);
  int refusal = 0;
  while (awaited > 0) {
    const ssize_t size = recv(fd_.get(), input.data(), input.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return ErrnoStatus(errno, "receive from", kWhat);
    int left = static_cast<int>(size);
    for (auto* m = reinterpret_cast<nlmsghdr*>(input.data());
         NLMSG_OK(m, static_cast<unsigned>(left)); m = NLMSG_NEXT(m, left)) {
      // Of an earlier request that was given up.
      if (m->nlmsg_seq - first >= messages.size()) continue;
      if (EndsRequest(*m)) {
        if (refusal == 0) refusal = ErrorOf(*m);
        // A batch that is refused as a whole gets one answer.
        if (refusal != 0) return refusal;
        --awaited;
      } else if (m->nlmsg_len >= NLMSG_SPACE(sizeof(nfgenmsg))) {
        const auto* header = static_cast<const nfgenmsg*>(NLMSG_DATA(m));
        const size_t fixed = NLMSG_SPACE(sizeof(nfgenmsg));
        fn(header->nfgen_family,
           std::string_view(reinterpret_cast<const char*>(m) + fixed,
                            m->nlmsg_len - fixed));
      }
    }
  }
  return 0;
}

}  // namespace fairlead::netlink
