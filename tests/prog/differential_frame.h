// SPDX-License-Identifier: Apache-2.0
// Packets of the reference as frames, and the frames that must come of them.
// Values and pure functions.
#ifndef FAIRLEAD_TESTS_PROG_DIFFERENTIAL_FRAME_H_
#define FAIRLEAD_TESTS_PROG_DIFFERENTIAL_FRAME_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tests/prog/packet.h"
#include "tests/reference/flows.h"

namespace fairlead::differential {

// What a malformed or cut packet (Packet::Shape) has wrong with it.
enum class Damage {
  kNone,
  kCutInPorts,       // kCut
  kCutInTransport,   // kMalformed; TCP, SCTP: behind the ports
  kTcpHeaderWords,   // kMalformed; TCP: a header of 16 bytes
  kLongerThanFrame,  // kMalformed: the IP datagram says so
  kShorterThanHeaders,  // kMalformed
};

// kOther: what is in the IP packet (the first two, and the last one, which has
// too many extension headers), kNotIp: or instead of it.
enum class Stranger { kEcho, kGre, kArp, kVersion, kHeaders };

// Of an ICMP error. kAsIs: kIcmpError; the rest says why it is about nothing
// that is known.
enum class Quote { kAsIs, kWithoutPorts, kEcho, kOthersPacket };

// An IPv6 extension header: hop-by-hop (0), routing (43), destination (60).
struct Extension {
  uint8_t type = 60;
  uint8_t units = 0;  // of 8 bytes, beyond the first
};
// More of them than are walked make a packet nobody's.
inline constexpr size_t kMaxExtensions = 6;

// What is before the IP header. Of several tags the outermost one is in the
// packet's metadata, not in the frame.
enum class Link { kEthernet, kNone, kOneTag, kTwoTags };

struct Wire {
  reference::Packet packet;
  Damage damage = Damage::kNone;
  Stranger stranger = Stranger::kEcho;
  int payload = 12;      // bytes
  int ip_options = 0;    // words; IPv4
  std::vector<Extension> extensions;  // IPv6
  bool checksum = true;  // false: UDP over IPv4 without one; SCTP
  Link link = Link::kEthernet;
  uint16_t fragment_offset = 0;  // bytes
  bool more_fragments = false;
  // ICMP errors:
  IpAddress router;  // whose
  uint8_t icmp_type = 0, icmp_code = 0;  // 0: "packet too big"
  Quote quote = Quote::kAsIs;
  int quoted = -1;  // bytes of the transport header and on; -1: all
};

packet::Bytes BuildFrame(const Wire& wire);
// The answer to a packet that is refused: a reset, or ICMP unreachable.
packet::Bytes BuildRefusal(const Wire& wire);

// Empty if equal. Of a checksum's two zeros either will do.
std::string FrameDiff(const packet::Bytes& expected,
                      const packet::Bytes& actual);

// The transport addresses of a frame that BuildFrame() made, or a program of
// that one. Headers are as in the Wire; later fragments have no ports.
struct FrameAddresses {
  L4Address src;
  L4Address dst;
};
FrameAddresses ReadAddresses(const packet::Bytes& frame, const Wire& wire);

std::string Describe(const Wire& wire);

}  // namespace fairlead::differential

#endif  // FAIRLEAD_TESTS_PROG_DIFFERENTIAL_FRAME_H_
