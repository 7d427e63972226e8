// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/trial_frame.h"

#include <array>
#include <cstring>

namespace fairlead::datapath {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kEthernet = 14;
constexpr size_t kIp4 = 20;
constexpr size_t kIp6 = 40;

// Where things are in the frame.
struct FrameLayout {
  size_t source;
  size_t destination;
  size_t address_length;
  size_t transport;
};
constexpr FrameLayout kLayout4 = {kEthernet + 12, kEthernet + 16, 4,
                                  kEthernet + kIp4};
constexpr FrameLayout kLayout6 = {kEthernet + 8, kEthernet + 24, 16,
                                  kEthernet + kIp6};

void Put16(Bytes* out, size_t at, uint16_t value) {
  (*out)[at] = static_cast<uint8_t>(value >> 8);
  (*out)[at + 1] = static_cast<uint8_t>(value);
}

uint16_t Get16(absl::Span<const uint8_t> bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

uint32_t Sum(absl::Span<const uint8_t> bytes) {  // of an even length
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) sum += Get16(bytes, i);
  return sum;
}

uint16_t Fold(uint32_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

// Port pair and what follows; the checksum is filled in later.
Bytes Transport(Port source, Port destination, Protocol protocol,
                bool opening) {
  Bytes out;
  switch (protocol) {
    case Protocol::kTcp:
      out.resize(20);
      out[7] = 1;     // sequence number
      out[12] = 0x50;  // 5 words
      out[13] = opening ? 0x02 : 0x10;
      Put16(&out, 14, 0xffff);
      break;
    case Protocol::kUdp:
      out.resize(8);
      Put16(&out, 4, 8);
      break;
    case Protocol::kSctp:
      out.resize(opening ? 32 : 16);
      out[12] = opening ? 1 : 11;  // the chunk's type
      Put16(&out, 14, static_cast<uint16_t>(out.size() - 12));
      break;
  }
  Put16(&out, 0, source);
  Put16(&out, 2, destination);
  return out;
}

void PutChecksum(Protocol protocol, uint32_t address_sum, Bytes* transport) {
  if (protocol == Protocol::kSctp) return;
  const uint32_t sum = address_sum + static_cast<uint32_t>(protocol) +
                       static_cast<uint32_t>(transport->size()) +
                       Sum(*transport);
  const uint16_t folded = Fold(sum);
  Put16(transport, protocol == Protocol::kTcp ? 16 : 6,
        folded == 0 ? 0xffff : folded);
}

Bytes Headers4(Protocol protocol, size_t payload) {
  Bytes out(kEthernet + kIp4);
  Put16(&out, 12, 0x0800);
  out[kEthernet] = 0x45;
  Put16(&out, kEthernet + 2, static_cast<uint16_t>(kIp4 + payload));
  Put16(&out, kEthernet + 6, 0x4000);  // don't fragment
  out[kEthernet + 8] = 64;
  out[kEthernet + 9] = static_cast<uint8_t>(protocol);
  return out;
}

Bytes Headers6(Protocol protocol, size_t payload) {
  Bytes out(kEthernet + kIp6);
  Put16(&out, 12, 0x86dd);
  out[kEthernet] = 0x60;
  Put16(&out, kEthernet + 4, static_cast<uint16_t>(payload));
  out[kEthernet + 6] = static_cast<uint8_t>(protocol);
  out[kEthernet + 7] = 64;
  return out;
}

const FrameLayout& LayoutOf(absl::Span<const uint8_t> frame) {
  return Get16(frame, 12) == 0x0800 ? kLayout4 : kLayout6;
}

void PutAddress(const IpAddress& address, size_t at, size_t length,
                Bytes* out) {
  std::memcpy(out->data() + at, address.bytes().data() + 16 - length, length);
}

IpAddress AddressAt(absl::Span<const uint8_t> frame, size_t at,
                    size_t length) {
  IpAddress::Bytes bytes = IpAddress::Unspecified(IpFamily::kIpv4).bytes();
  std::memcpy(bytes.data() + 16 - length, frame.data() + at, length);
  return IpAddress(bytes);
}

}  // namespace

std::vector<uint8_t> BuildFrame(const L4Address& source,
                                const L4Address& destination, bool opening) {
  const Protocol protocol = destination.protocol;
  Bytes transport =
      Transport(source.port, destination.port, protocol, opening);
  const bool v4 = destination.address.is_v4();
  Bytes out = v4 ? Headers4(protocol, transport.size())
                 : Headers6(protocol, transport.size());
  const FrameLayout& layout = v4 ? kLayout4 : kLayout6;
  PutAddress(source.address, layout.source, layout.address_length, &out);
  PutAddress(destination.address, layout.destination, layout.address_length,
             &out);
  absl::Span<const uint8_t> headers(out);
  if (v4) {
    Put16(&out, kEthernet + 10, Fold(Sum(headers.subspan(kEthernet))));
  }
  PutChecksum(protocol,
              Sum(headers.subspan(layout.source, 2 * layout.address_length)),
              &transport);
  out.insert(out.end(), transport.begin(), transport.end());
  return out;
}

L4Address FrameSource(absl::Span<const uint8_t> frame, Protocol protocol) {
  const FrameLayout& layout = LayoutOf(frame);
  return {AddressAt(frame, layout.source, layout.address_length),
          Get16(frame, layout.transport), protocol};
}

L4Address FrameDestination(absl::Span<const uint8_t> frame,
                           Protocol protocol) {
  const FrameLayout& layout = LayoutOf(frame);
  return {AddressAt(frame, layout.destination, layout.address_length),
          Get16(frame, layout.transport + 2), protocol};
}

}  // namespace fairlead::datapath
