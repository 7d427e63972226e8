// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/network/ip_pool.h"

#include <algorithm>

#include "userspace/base/strings.h"

namespace fairlead::kubelet {
namespace {

// The distance of `address` from the start of a prefix of at most 2^32.
uint64_t OffsetIn(const IpPrefix& prefix, const IpAddress& address) {
  uint64_t offset = 0;
  for (int i = 8; i < 16; ++i) {
    offset = offset << 8 | static_cast<uint64_t>(address.bytes()[i] ^
                                                 prefix.address().bytes()[i]);
  }
  return offset;
}

}  // namespace

// The first address names the network, the second is left to a gateway of
// whoever wants one there, IPv4's last is the broadcast address.
IpPool::IpPool(const IpPrefix& prefix) : prefix_(prefix) {
  const bool v4 = prefix.family() == IpFamily::kIpv4;
  const int host_bits = std::min((v4 ? 32 : 128) - prefix.bits(), 32);
  const uint64_t size = uint64_t{1} << host_bits;
  first_ = size > 4 ? 2 : 0;
  last_ = size > 4 && v4 ? size - 2 : size - 1;
  next_ = first_;
}

absl::StatusOr<IpAddress> IpPool::Allocate() {
  if (used_.size() > last_ - first_) {
    return absl::ResourceExhaustedError(
        StrCat("no free address in pod CIDR ", prefix_.ToString()));
  }
  while (true) {
    const IpAddress address = prefix_.At(next_);
    next_ = next_ == last_ ? first_ : next_ + 1;
    if (used_.insert(address).second) return address;
  }
}

absl::Status IpPool::Take(const IpAddress& address) {
  if (!prefix_.Contains(address)) {
    return absl::InvalidArgumentError(
        StrCat(address.ToString(), " is not in ", prefix_.ToString()));
  }
  if (!used_.insert(address).second)
    return absl::AlreadyExistsError(address.ToString());
  const uint64_t offset = OffsetIn(prefix_, address);
  if (offset >= next_ && offset < last_) next_ = offset + 1;
  return absl::OkStatus();
}

void IpPool::Release(const IpAddress& address) { used_.erase(address); }

}  // namespace fairlead::kubelet
