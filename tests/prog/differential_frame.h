// SPDX-License-Identifier: Apache-2.0
// Packets of the reference as frames, and the frames that must come of them.
// Values and pure functions.
#ifndef FAIRLEAD_TESTS_PROG_DIFFERENTIAL_FRAME_H_
#define FAIRLEAD_TESTS_PROG_DIFFERENTIAL_FRAME_H_

#include <cstdint>
#include <string>

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

// kOther: what is in the IP packet (the first two), kNotIp: or instead of it.
enum class Stranger { kEcho, kGre, kArp, kVersion };

// What is before the IP header. Of several tags the outermost one is in the
// packet's metadata, not in the frame.
enum class Link { kEthernet, kNone, kOneTag, kTwoTags };

struct Wire {
  reference::Packet packet;
  Damage damage = Damage::kNone;
  Stranger stranger = Stranger::kEcho;
  int payload = 12;      // bytes
  int ip_options = 0;    // words; IPv6: that many extension headers
  bool checksum = true;  // false: UDP over IPv4 without one; SCTP
  Link link = Link::kEthernet;
  uint16_t fragment_offset = 0;  // bytes
  bool more_fragments = false;
  IpAddress router;  // kIcmpError: whose
};

packet::Bytes BuildFrame(const Wire& wire);
// The answer to a packet that is refused: a reset, or ICMP unreachable.
packet::Bytes BuildRefusal(const Wire& wire);

// Empty if equal. Of a checksum's two zeros either will do.
std::string FrameDiff(const packet::Bytes& expected,
                      const packet::Bytes& actual);

// The transport addresses of a frame that BuildFrame() made, or a program of
// that one. `ip_options` as in the Wire; later fragments have no ports.
struct FrameAddresses {
  L4Address src;
  L4Address dst;
};
FrameAddresses ReadAddresses(const packet::Bytes& frame, const Wire& wire);

std::string Describe(const Wire& wire);

}  // namespace fairlead::differential

#endif  // FAIRLEAD_TESTS_PROG_DIFFERENTIAL_FRAME_H_
