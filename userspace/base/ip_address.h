// SPDX-License-Identifier: Apache-2.0
// Addresses, prefixes, ports and protocols as values.
//
// All are plain values, comparable and hashable, safe to use from any thread.
// An IpAddress is held as 16 bytes in network order; IPv4 is mapped
// (::ffff:a.b.c.d), which is also how the kernel maps hold it (bpf/abi).
#ifndef FAIRLEAD_USERSPACE_BASE_IP_ADDRESS_H_
#define FAIRLEAD_USERSPACE_BASE_IP_ADDRESS_H_

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fairlead {

enum class IpFamily : uint8_t { kIpv4 = 4, kIpv6 = 6 };

// "IPv4" / "IPv6", the words of the Kubernetes API.
std::string_view IpFamilyName(IpFamily family);

class IpAddress {
 public:
  using Bytes = std::array<uint8_t, 16>;

  // The unspecified IPv6 address.
  constexpr IpAddress() = default;
  explicit constexpr IpAddress(const Bytes& bytes) : bytes_(bytes) {}
  // `host_order` as in 0x0a000001 for 10.0.0.1.
  static IpAddress V4(uint32_t host_order);
  // 0.0.0.0 or ::
  static IpAddress Unspecified(IpFamily family);
  // Dotted IPv4 or textual IPv6; no zone, no port. Strict: "010.0.0.1" fails.
  [[nodiscard]] static absl::StatusOr<IpAddress> Parse(std::string_view text);

  bool is_v4() const;
  IpFamily family() const {
    return is_v4() ? IpFamily::kIpv4 : IpFamily::kIpv6;
  }
  bool is_unspecified() const;
  bool is_loopback() const;
  const Bytes& bytes() const { return bytes_; }
  uint32_t v4_host_order() const;  // REQUIRES: is_v4()
  // Canonical text (RFC 5952 for IPv6, dotted for IPv4).
  std::string ToString() const;

  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const IpAddress& a) {
    return H::combine(std::move(h), a.bytes_);
  }

 private:
  Bytes bytes_{};
};

// An address range such as 10.244.0.0/16. The host bits are zero.
class IpPrefix {
 public:
  IpPrefix() = default;
  // `bits` counts in the address' own family (0..32 or 0..128).
  IpPrefix(const IpAddress& address, int bits);
  // "10.0.0.0/8", "fd00::/64". Host bits set: error, unless `mask_host_bits`.
  [[nodiscard]] static absl::StatusOr<IpPrefix> Parse(
      std::string_view text, bool mask_host_bits = false);

  const IpAddress& address() const { return address_; }
  int bits() const { return bits_; }
  IpFamily family() const { return address_.family(); }
  bool Contains(const IpAddress& address) const;
  // The address `offset` after the first. REQUIRES: it is in the prefix.
  IpAddress At(uint64_t offset) const;
  std::string ToString() const;

  friend auto operator<=>(const IpPrefix&, const IpPrefix&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const IpPrefix& p) {
    return H::combine(std::move(h), p.address_, p.bits_);
  }

 private:
  IpAddress address_;
  int bits_ = 0;
};

enum class Protocol : uint8_t { kTcp = 6, kUdp = 17, kSctp = 132 };

// "TCP", "UDP", "SCTP".
std::string_view ProtocolName(Protocol protocol);
[[nodiscard]] std::optional<Protocol> ParseProtocol(std::string_view name);

// A transport port in host order; kernel structs hold it in network order.
using Port = uint16_t;

// {address, port, protocol}: what identifies a frontend or an endpoint.
struct L4Address {
  IpAddress address;
  Port port = 0;
  Protocol protocol = Protocol::kTcp;

  // "10.96.0.1:80/TCP", "[fd00::1]:80/TCP"
  std::string ToString() const;

  friend auto operator<=>(const L4Address&, const L4Address&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const L4Address& a) {
    return H::combine(std::move(h), a.address, a.port, a.protocol);
  }
};

}  // namespace fairlead

#endif  // FAIRLEAD_USERSPACE_BASE_IP_ADDRESS_H_
