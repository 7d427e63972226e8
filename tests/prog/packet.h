// SPDX-License-Identifier: Apache-2.0
// Packet sentences: frames composed of layers with `/`, for tests of programs.
//
//   Packet syn = Eth{} / Ip4{.dst = "198.51.100.1"} / Tcp{.dport = 80};
//
// Addresses default to the documentation ranges. Lengths, protocol numbers and
// checksums are computed, unless a field says otherwise; that is how a
// malformed packet is written. Everything is a value; no threads, no state.
#ifndef FAIRLEAD_TESTS_PROG_PACKET_H_
#define FAIRLEAD_TESTS_PROG_PACKET_H_

#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace fairlead::packet {

using Bytes = std::vector<uint8_t>;
using Mac = std::array<uint8_t, 6>;

inline constexpr Mac kNodeMac = {0x02, 0, 0, 0, 0, 0x01};
inline constexpr Mac kPeerMac = {0x02, 0, 0, 0, 0, 0x02};

inline constexpr uint8_t kFin = 0x01;
inline constexpr uint8_t kSyn = 0x02;
inline constexpr uint8_t kRst = 0x04;
inline constexpr uint8_t kPsh = 0x08;
inline constexpr uint8_t kAck = 0x10;

struct Eth {
  Mac dst = kNodeMac;
  Mac src = kPeerMac;
  std::optional<uint16_t> type;
};

// A tag that is still in the frame: between Eth and IP.
struct Vlan {
  uint16_t id = 100;
  uint16_t type = 0x8100;  // how the layer above announces it
};

struct Ip4 {
  std::string src = "192.0.2.10";
  std::string dst = "198.51.100.1";
  uint8_t ttl = 64;
  uint16_t id = 0x1234;
  uint16_t fragment = 0x4000;  // flags and offset, as in the header
  int options = 0;             // 4-byte words of NOPs
  std::optional<uint8_t> version = {};
  std::optional<uint8_t> header_words = {};
  std::optional<uint16_t> total_length = {};
  std::optional<uint8_t> protocol = {};
};

struct Ip6 {
  std::string src = "2001:db8:1::10";
  std::string dst = "2001:db8:2::1";
  uint8_t hop_limit = 64;
  std::optional<uint8_t> version = {};
  std::optional<uint16_t> payload_length = {};
  std::optional<uint8_t> next_header = {};
};

// An IPv6 extension header: hop-by-hop (0), routing (43), destination (60).
struct Ext6 {
  uint8_t type = 0;
  uint8_t units = 0;  // of 8 bytes, beyond the first
};

struct Frag6 {
  uint16_t offset = 0;  // in bytes, a multiple of 8
  bool more = true;
  uint32_t id = 0x1234;
  std::optional<uint8_t> next_header = {};
};

struct Tcp {
  uint16_t sport = 40000;
  uint16_t dport = 80;
  uint32_t seq = 1000;
  uint32_t ack = 0;
  uint8_t flags = kSyn;
  uint16_t window = 0xfaf0;
  int options = 0;  // 4-byte words of NOPs
  std::optional<uint8_t> header_words = {};
};

struct Udp {
  uint16_t sport = 40000;
  uint16_t dport = 80;
  bool checksum = true;  // false: 0, "none"
  std::optional<uint16_t> length = {};
};

struct Sctp {
  uint16_t sport = 40000;
  uint16_t dport = 80;
  uint32_t tag = 0x01020304;
  uint8_t chunk = 1;  // INIT; 0: DATA, 6: ABORT; the payload is its content
  uint8_t chunk_flags = 0;
  bool checksum = true;  // false: 0
};

// ICMP below Ip4, ICMPv6 below Ip6.
struct Icmp {
  uint8_t type = 0;
  uint8_t code = 0;
  uint32_t rest = 0;  // the second word: identifier and sequence, or MTU
};

struct Payload {
  std::string text;
};

using Layer =
    std::variant<Eth, Vlan, Ip4, Ip6, Ext6, Frag6, Tcp, Udp, Sctp, Icmp,
                 Payload>;

template <typename T>
concept IsLayer = std::constructible_from<Layer, T> &&
                  !std::same_as<std::remove_cvref_t<T>, Layer>;

class Packet {
 public:
  Packet() = default;
  explicit Packet(std::vector<Layer> layers) : layers_(std::move(layers)) {}

  // The frame. `limit` cuts it short (-1: not).
  Bytes Build(int limit = -1) const;

  friend Packet operator/(Packet packet, Layer layer) {
    packet.layers_.push_back(std::move(layer));
    return packet;
  }
  // A packet in a packet: what an ICMP error quotes.
  friend Packet operator/(Packet packet, const Packet& inner);

 private:
  std::vector<Layer> layers_;
};

template <IsLayer A, IsLayer B>
Packet operator/(A a, B b) {
  return Packet({Layer(std::move(a)), Layer(std::move(b))});
}
template <IsLayer A>
Packet operator/(Packet a, A b) {
  return std::move(a) / Layer(std::move(b));
}

// The first `bytes` bytes of a packet, as an opaque payload.
Payload Cut(const Packet& packet, int bytes);

// RFC 9260, appendix A, bit by bit.
uint32_t Crc32c(const Bytes& bytes);

// A frame in words, one line a layer, and what is wrong with it.
struct Description {
  struct Row {
    std::string layer;
    std::vector<std::pair<std::string, std::string>> fields;
  };
  std::vector<Row> rows;
  // Checksums, lengths. Empty: nothing that a receiver would complain about.
  std::vector<std::string> errors;
};
Description Describe(const Bytes& frame);
std::string ToString(const Description& description);

// Empty if equal; else a line for each field that differs, layer by layer.
std::string Diff(const Bytes& expected, const Bytes& actual);

}  // namespace fairlead::packet

#endif  // FAIRLEAD_TESTS_PROG_PACKET_H_
