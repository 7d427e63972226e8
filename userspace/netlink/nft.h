// SPDX-License-Identifier: Apache-2.0
// Packet filter rules, as `nft -f` takes them: all of a text or nothing of it.
//
// Threads: any; rules are those of the calling thread's network namespace.
#ifndef FAIRLEAD_USERSPACE_NETLINK_NFT_H_
#define FAIRLEAD_USERSPACE_NETLINK_NFT_H_

#include <string>

#include "absl/status/status.h"

namespace fairlead::netlink {

// kInvalidArgument with nft's own text when the kernel or nft refuses it.
[[nodiscard]] absl::Status RunNft(const std::string& commands);
// Whether there is such a table; false also where the kernel has no nftables.
bool HasNftTable(const std::string& family, const std::string& name);

}  // namespace fairlead::netlink

#endif  // FAIRLEAD_USERSPACE_NETLINK_NFT_H_
