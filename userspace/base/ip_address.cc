// SPDX-License-Identifier: Apache-2.0
#include "userspace/base/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "absl/strings/numbers.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead {
namespace {

constexpr std::array<uint8_t, 12> kV4Mapped = {0, 0, 0, 0, 0,    0,
                                               0, 0, 0, 0, 0xff, 0xff};

int OffsetBits(const IpAddress& a) { return a.is_v4() ? 96 : 0; }

IpAddress::Bytes MaskBytes(IpAddress::Bytes bytes, int bits) {
  for (int i = 0; i < 16; ++i) {
    int keep = std::clamp(bits - 8 * i, 0, 8);
    bytes[i] &= static_cast<uint8_t>(0xff00 >> keep);
  }
  return bytes;
}

// Four numbers up to 255 without leading zeros, as inet_pton takes them. Lists
// hold hundreds of thousands of these, and no string is made.
std::optional<uint32_t> ParseDotted(std::string_view text) {
  uint32_t address = 0;
  size_t at = 0;
  for (int i = 0; i < 4; ++i) {
    if (i > 0 && (at >= text.size() || text[at++] != '.')) return std::nullopt;
    const size_t begin = at;
    uint32_t number = 0;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9' &&
           at - begin < 3) {
      number = number * 10 + static_cast<uint32_t>(text[at++] - '0');
    }
    const bool padded = at - begin > 1 && text[begin] == '0';
    if (at == begin || padded || number > 255) return std::nullopt;
    address = address << 8 | number;
  }
  if (at != text.size()) return std::nullopt;
  return address;
}

}  // namespace

std::string_view IpFamilyName(IpFamily family) {
  return family == IpFamily::kIpv4 ? "IPv4" : "IPv6";
}

IpAddress IpAddress::V4(uint32_t host_order) {
  Bytes bytes{};
  std::copy(kV4Mapped.begin(), kV4Mapped.end(), bytes.begin());
  for (int i = 0; i < 4; ++i) bytes[12 + i] = host_order >> (24 - 8 * i);
  return IpAddress(bytes);
}

IpAddress IpAddress::Unspecified(IpFamily family) {
  return family == IpFamily::kIpv4 ? V4(0) : IpAddress();
}

absl::StatusOr<IpAddress> IpAddress::Parse(std::string_view text) {
  if (std::optional<uint32_t> v4 = ParseDotted(text)) return V4(*v4);
  std::string z(text);
  in6_addr v6;
  if (text.find('\0') != text.npos) z.clear();
  if (inet_pton(AF_INET6, z.c_str(), &v6) == 1) {
    Bytes bytes;
    std::memcpy(bytes.data(), &v6, sizeof v6);
    return IpAddress(bytes);
  }
  return absl::InvalidArgumentError(
      StrCat("\"", text, "\" is not an IP address"));
}

bool IpAddress::is_v4() const {
  return std::equal(kV4Mapped.begin(), kV4Mapped.end(), bytes_.begin());
}

bool IpAddress::is_unspecified() const {
  return *this == IpAddress() || *this == V4(0);
}

bool IpAddress::is_loopback() const {
  if (is_v4()) return bytes_[12] == 127;
  IpAddress one;
  one.bytes_[15] = 1;
  return *this == one;
}

uint32_t IpAddress::v4_host_order() const {
  return uint32_t{bytes_[12]} << 24 | uint32_t{bytes_[13]} << 16 |
         uint32_t{bytes_[14]} << 8 | bytes_[15];
}

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN];
  if (is_v4()) {
    inet_ntop(AF_INET, bytes_.data() + 12, text, sizeof text);
  } else {
    inet_ntop(AF_INET6, bytes_.data(), text, sizeof text);
  }
  return text;
}

IpPrefix::IpPrefix(const IpAddress& address, int bits)
    : address_(MaskBytes(address.bytes(), bits + OffsetBits(address))),
      bits_(bits) {}

absl::StatusOr<IpPrefix> IpPrefix::Parse(std::string_view text,
                                         bool mask_host_bits) {
  size_t slash = text.find('/');
  int bits;
  if (slash == text.npos || slash + 1 >= text.size() ||
      text.find_first_not_of("0123456789", slash + 1) != text.npos ||
      !absl::SimpleAtoi(Absl(text.substr(slash + 1)), &bits)) {
    return absl::InvalidArgumentError(
        StrCat("\"", text, "\" is not a CIDR such as 10.0.0.0/8"));
  }
  FL_ASSIGN_OR_RETURN(IpAddress address,
                      IpAddress::Parse(text.substr(0, slash)));
  if (bits > (address.is_v4() ? 32 : 128)) {
    return absl::InvalidArgumentError(
        StrCat("\"", text, "\": the prefix length is out of range"));
  }
  IpPrefix prefix(address, bits);
  if (prefix.address() != address && !mask_host_bits) {
    return absl::InvalidArgumentError(
        StrCat("\"", text, "\" has host bits set"));
  }
  return prefix;
}

bool IpPrefix::Contains(const IpAddress& address) const {
  return address.family() == family() && IpPrefix(address, bits_) == *this;
}

IpAddress IpPrefix::At(uint64_t offset) const {
  IpAddress::Bytes bytes = address_.bytes();
  for (int i = 15; i >= 0 && offset != 0; --i) {
    offset += bytes[i];
    bytes[i] = static_cast<uint8_t>(offset);
    offset >>= 8;
  }
  return IpAddress(bytes);
}

std::string IpPrefix::ToString() const {
  return StrCat(address_.ToString(), "/", bits_);
}

std::string_view ProtocolName(Protocol protocol) {
  switch (protocol) {
    case Protocol::kTcp: return "TCP";
    case Protocol::kUdp: return "UDP";
    case Protocol::kSctp: return "SCTP";
  }
  return "UNKNOWN";
}

std::optional<Protocol> ParseProtocol(std::string_view name) {
  if (name == "TCP") return Protocol::kTcp;
  if (name == "UDP") return Protocol::kUdp;
  if (name == "SCTP") return Protocol::kSctp;
  return std::nullopt;
}

std::string L4Address::ToString() const {
  std::string host = address.ToString();
  if (!address.is_v4()) host = StrCat("[", host, "]");
  return StrCat(host, ":", port, "/", ProtocolName(protocol));
}

}  // namespace fairlead
