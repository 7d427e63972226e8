// SPDX-License-Identifier: Apache-2.0
#include "tests/prog/differential_frame.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace fairlead::differential {
namespace {

using packet::Bytes;
using Layers = std::vector<packet::Layer>;
using Shape = reference::Packet::Shape;

constexpr uint32_t kSequence = 1000;
constexpr uint32_t kAcknowledged = 77;
constexpr size_t kQuote = 128;

bool IsV4(const Wire& wire) { return wire.packet.src.address.is_v4(); }
bool IsFragment(const Wire& wire) {
  return wire.packet.shape == Shape::kFirstFragment ||
         wire.packet.shape == Shape::kLaterFragment;
}
bool IsError(Shape shape) {
  return shape == Shape::kIcmpError || shape == Shape::kIcmpErrorCut ||
         shape == Shape::kIcmpErrorOther;
}
uint8_t Number(const Wire& wire) {
  return static_cast<uint8_t>(wire.packet.src.protocol);
}

int LinkLength(const Wire& wire) {
  constexpr int kLengths[] = {14, 0, 18, 22};
  return kLengths[static_cast<int>(wire.link)];
}

// Also of no link header: Packet needs one to start with, which Frame() cuts.
Layers LinkLayers(const Wire& wire, packet::Eth eth = {}) {
  Layers out = {eth};
  if (wire.link == Link::kTwoTags) {
    out.emplace_back(packet::Vlan{.id = 7, .type = 0x88a8});
  }
  if (wire.link >= Link::kOneTag) out.emplace_back(packet::Vlan{});
  return out;
}

Bytes Frame(const Wire& wire, Layers layers, int limit = -1) {
  Bytes out = packet::Packet(std::move(layers)).Build(limit);
  if (wire.link == Link::kNone) out.erase(out.begin(), out.begin() + 14);
  return out;
}

int ExtensionsLength(const Wire& wire) {
  int length = 0;
  for (const Extension& e : wire.extensions) length += 8 + e.units * 8;
  return length;
}

int IpHeaderLength(const Wire& wire) {
  if (IsV4(wire)) return 20 + wire.ip_options * 4;
  return 40 + ExtensionsLength(wire) + (IsFragment(wire) ? 8 : 0);
}

Layers Ipv4(const Wire& wire) {
  const reference::Packet& p = wire.packet;
  packet::Ip4 ip = {.src = p.src.address.ToString(),
                    .dst = p.dst.address.ToString(),
                    .options = wire.ip_options};
  if (IsFragment(wire)) {
    ip.id = static_cast<uint16_t>(p.fragment_id);
    ip.fragment = static_cast<uint16_t>(wire.fragment_offset / 8 |
                                        (wire.more_fragments ? 0x2000 : 0));
  }
  if (p.shape == Shape::kLaterFragment) ip.protocol = Number(wire);
  if (wire.damage == Damage::kLongerThanFrame) ip.total_length = 1400;
  if (wire.damage == Damage::kShorterThanHeaders) {
    ip.total_length = static_cast<uint16_t>(IpHeaderLength(wire) + 4);
  }
  if (p.shape == Shape::kNotIp) ip.version = 5;
  if (p.shape == Shape::kOther && wire.stranger == Stranger::kGre) {
    ip.protocol = 47;
  }
  Layers out = LinkLayers(wire);
  out.emplace_back(ip);
  return out;
}

Layers Ipv6(const Wire& wire) {
  const reference::Packet& p = wire.packet;
  packet::Ip6 ip = {.src = p.src.address.ToString(),
                    .dst = p.dst.address.ToString()};
  if (wire.damage == Damage::kLongerThanFrame) ip.payload_length = 1400;
  if (wire.damage == Damage::kShorterThanHeaders) {
    ip.payload_length = static_cast<uint16_t>(ExtensionsLength(wire) + 4);
  }
  if (p.shape == Shape::kNotIp) ip.version = 5;
  if (p.shape == Shape::kOther && wire.stranger == Stranger::kGre) {
    ip.next_header = 47;
  }
  Layers out = LinkLayers(wire);
  out.emplace_back(ip);
  for (const Extension& e : wire.extensions) {
    out.emplace_back(packet::Ext6{.type = e.type, .units = e.units});
  }
  if (!IsFragment(wire)) return out;
  packet::Frag6 fragment = {.offset = wire.fragment_offset,
                            .more = wire.more_fragments,
                            .id = p.fragment_id};
  if (p.shape == Shape::kLaterFragment) fragment.next_header = Number(wire);
  out.emplace_back(fragment);
  return out;
}

// RFC 9260: the chunk that does what the flags say.
uint8_t Chunk(const reference::Packet& p) {
  if (p.syn) return p.ack ? 2 : 1;  // INIT
  if (p.rst) return 6;              // ABORT
  return p.fin ? 7 : 0;             // SHUTDOWN, DATA
}

packet::Layer Transport(const Wire& wire) {
  const reference::Packet& p = wire.packet;
  if (p.IsSctp()) {
    return packet::Sctp{.sport = p.src.port,
                        .dport = p.dst.port,
                        .chunk = Chunk(p),
                        .checksum = wire.checksum};
  }
  if (!p.IsTcp()) {
    return packet::Udp{.sport = p.src.port,
                       .dport = p.dst.port,
                       .checksum = wire.checksum};
  }
  packet::Tcp tcp = {.sport = p.src.port, .dport = p.dst.port};
  tcp.seq = kSequence;
  tcp.ack = p.ack ? kAcknowledged : 0;
  tcp.flags = static_cast<uint8_t>(
      (p.syn ? packet::kSyn : 0) | (p.ack ? packet::kAck : 0) |
      (p.fin ? packet::kFin : 0) | (p.rst ? packet::kRst : 0));
  if (wire.damage == Damage::kTcpHeaderWords) tcp.header_words = 4;
  return tcp;
}

int Limit(const Wire& wire) {
  // Packet builds an Ethernet header in any case.
  const int link = wire.link == Link::kNone ? 14 : LinkLength(wire);
  const int headers = link + IpHeaderLength(wire);
  if (wire.damage == Damage::kCutInPorts) return headers + 4;
  if (wire.damage == Damage::kCutInTransport) return headers + 12;
  return -1;
}

Layers Back(const Wire& wire) {
  const reference::Packet& p = wire.packet;
  packet::Eth eth = {.dst = packet::kPeerMac, .src = packet::kNodeMac};
  const std::string src = p.dst.address.ToString();
  const std::string dst = p.src.address.ToString();
  Layers out = LinkLayers(wire, eth);
  if (IsV4(wire)) {
    out.emplace_back(packet::Ip4{.src = src, .dst = dst, .id = 0});
  } else {
    out.emplace_back(packet::Ip6{.src = src, .dst = dst});
  }
  return out;
}

// What an ICMP error quotes of the packet that it is about, from the IP header.
std::string QuoteOf(const Wire& wire) {
  Wire inner;
  inner.packet = {.src = wire.packet.dst, .dst = wire.packet.src};
  if (wire.quote == Quote::kOthersPacket) {
    inner.packet.src.address = wire.router;
  }
  inner.packet.ack = true;
  // A quote is too short to have SCTP's.
  inner.checksum = !wire.packet.IsSctp();
  inner.extensions = wire.extensions;
  const bool v4 = IsV4(wire);
  Layers layers = v4 ? Ipv4(inner) : Ipv6(inner);
  if (wire.quote == Quote::kEcho) {
    const uint8_t echo = v4 ? 8 : 128;
    layers.emplace_back(packet::Icmp{.type = echo});
  } else {
    layers.push_back(Transport(inner));
  }
  layers.emplace_back(packet::Payload{"quoted"});
  Bytes quote = packet::Packet(std::move(layers)).Build(-1);
  const int end = 14 + IpHeaderLength(inner) + wire.quoted;
  if (wire.quoted >= 0) quote.resize(static_cast<size_t>(end));
  return std::string(quote.begin() + 14, quote.end());
}

// "Fragmentation needed", "packet too big", unless the wire says another.
Bytes BuildError(const Wire& wire) {
  Wire outer;
  outer.link = wire.link;
  outer.packet.src.address = wire.router;
  outer.packet.dst.address = wire.packet.dst.address;
  const bool v4 = IsV4(wire);
  Layers layers = v4 ? Ipv4(outer) : Ipv6(outer);
  const uint8_t too_big = v4 ? 3 : 2, code = v4 ? 4 : 0;
  packet::Icmp icmp = {.type = too_big, .code = code, .rest = 1280};
  if (wire.icmp_type != 0) {
    icmp = {.type = wire.icmp_type, .code = wire.icmp_code, .rest = 0};
  }
  layers.emplace_back(icmp);
  layers.emplace_back(packet::Payload{QuoteOf(wire)});
  return Frame(wire, std::move(layers));
}

IpAddress ReadAddress(const Bytes& frame, size_t at, bool v4) {
  if (frame.size() < at + (v4 ? 4 : 16)) return {};
  IpAddress::Bytes bytes = {};
  if (v4) {
    bytes[10] = bytes[11] = 0xff;
    std::copy_n(&frame[at], 4, &bytes[12]);
  } else {
    std::copy_n(&frame[at], 16, bytes.begin());
  }
  return IpAddress(bytes);
}

}  // namespace

Bytes BuildFrame(const Wire& wire) {
  const reference::Packet& p = wire.packet;
  Layers layers;
  if (IsError(p.shape)) return BuildError(wire);
  if (p.shape == Shape::kNotIp && wire.stranger == Stranger::kArp) {
    layers = LinkLayers(wire, {.type = 0x0806});
  } else {
    layers = IsV4(wire) ? Ipv4(wire) : Ipv6(wire);
    if (p.shape == Shape::kOther && wire.stranger == Stranger::kEcho) {
      const uint8_t echo = IsV4(wire) ? 8 : 128;
      layers.emplace_back(packet::Icmp{.type = echo});
    } else if (p.shape != Shape::kLaterFragment) {
      layers.push_back(Transport(wire));
    }
  }
  layers.emplace_back(
      packet::Payload{std::string(static_cast<size_t>(wire.payload), 'x')});
  return Frame(wire, std::move(layers), Limit(wire));
}

Bytes BuildRefusal(const Wire& wire) {
  const reference::Packet& p = wire.packet;
  Layers layers = Back(wire);
  if (p.IsTcp() && p.shape != Shape::kOther) {
    packet::Tcp reset = {.sport = p.dst.port, .dport = p.src.port};
    reset.window = 0;
    if (p.ack) {
      reset.seq = kAcknowledged;
      reset.flags = packet::kRst;
    } else {
      reset.seq = 0;
      reset.ack = kSequence + p.syn + p.fin +
                  static_cast<uint32_t>(wire.payload);
      reset.flags = packet::kRst | packet::kAck;
    }
    layers.emplace_back(reset);
  } else {
    const Bytes datagram = BuildFrame(wire);
    const int link = LinkLength(wire);
    const size_t quoted =
        std::min(datagram.size() - static_cast<size_t>(link), kQuote);
    const auto at = datagram.begin() + link;
    const uint8_t type = IsV4(wire) ? 3 : 1, code = IsV4(wire) ? 3 : 4;
    layers.emplace_back(packet::Icmp{.type = type, .code = code});
    layers.emplace_back(packet::Payload{
        std::string(at, at + static_cast<std::ptrdiff_t>(quoted))});
  }
  return Frame(wire, std::move(layers));
}

std::string FrameDiff(const Bytes& expected, const Bytes& actual) {
  if (expected == actual) return "";
  if (expected.size() == actual.size()) {
    Bytes a = expected, b = actual;
    for (size_t i = 0; i + 1 < a.size(); ++i) {
      const bool zeros = (a[i] == 0 && a[i + 1] == 0 && b[i] == 0xff &&
                          b[i + 1] == 0xff) ||
                         (b[i] == 0 && b[i + 1] == 0 && a[i] == 0xff &&
                          a[i + 1] == 0xff);
      if (zeros) a[i] = b[i] = a[i + 1] = b[i + 1] = 0;
    }
    if (a == b && packet::Describe(actual).errors.empty()) return "";
  }
  return packet::Diff(expected, actual);
}

FrameAddresses ReadAddresses(const Bytes& frame, const Wire& wire) {
  const bool v4 = IsV4(wire);
  const auto link = static_cast<size_t>(LinkLength(wire));
  const size_t size = v4 ? 4 : 16, at = link + (v4 ? 12 : 8);
  FrameAddresses out = {wire.packet.src, wire.packet.dst};
  out.src.address = ReadAddress(frame, at, v4);
  out.dst.address = ReadAddress(frame, at + size, v4);
  const size_t ports = link + static_cast<size_t>(IpHeaderLength(wire));
  if (wire.packet.shape == Shape::kLaterFragment ||
      frame.size() < ports + 4) {
    return out;
  }
  auto port = [&frame](size_t i) {
    return static_cast<Port>(frame[i] << 8 | frame[i + 1]);
  };
  out.src.port = port(ports);
  out.dst.port = port(ports + 2);
  return out;
}

std::string Describe(const Wire& wire) {
  const reference::Packet& p = wire.packet;
  constexpr const char* kShapes[] = {"",     " first-fragment",
                                     " later-fragment", " cut",
                                     " malformed", " other",
                                     " not-IP", " icmp-error",
                                     " icmp-error-cut", " icmp-error-other"};
  std::string text = p.src.ToString() + " -> " + p.dst.ToString();
  if (p.IsConnection()) {
    text += std::string(" ") + (p.syn ? "S" : "") + (p.ack ? "A" : "") +
            (p.fin ? "F" : "") + (p.rst ? "R" : "");
  }
  text += kShapes[static_cast<int>(p.shape)];
  if (IsFragment(wire)) text += " id " + std::to_string(p.fragment_id);
  if (wire.damage != Damage::kNone) {
    text += " damage " + std::to_string(static_cast<int>(wire.damage));
  }
  if (wire.link != Link::kEthernet) {
    text += " link " + std::to_string(static_cast<int>(wire.link));
  }
  if (IsError(p.shape)) {
    text += " type " + std::to_string(wire.icmp_type) + " quote " +
            std::to_string(static_cast<int>(wire.quote)) + "/" +
            std::to_string(wire.quoted);
  }
  for (const Extension& e : wire.extensions) {
    text += " ext " + std::to_string(e.type) + "+" + std::to_string(e.units);
  }
  return text + " payload " + std::to_string(wire.payload) + " options " +
         std::to_string(wire.ip_options);
}

}  // namespace fairlead::differential
