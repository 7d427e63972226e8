// SPDX-License-Identifier: Apache-2.0
#include "tests/prog/hostile_check.h"

#include <linux/pkt_cls.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

namespace fairlead::prog {
namespace {

using packet::Bytes;

constexpr uint8_t kTcp = 6, kUdp = 17, kSctp = 132;

// Where things are in an IP packet.
struct Anatomy {
  size_t l3 = 0;
  size_t l4 = 0;
  size_t size = 0;  // from l3 on, without padding
  bool ipv6 = false;
  bool later_fragment = false;
  uint8_t proto = 0;

  bool icmp() const { return proto == (ipv6 ? 58 : 1); }
  size_t address(bool dst) const {
    return l3 + (ipv6 ? (dst ? 24 : 8) : (dst ? 16 : 12));
  }
  size_t address_size() const { return ipv6 ? 16 : 4; }
};

uint32_t U16(const Bytes& b, size_t at) {
  return at + 1 < b.size() ? b[at] << 8 | b[at + 1] : 0;
}

// Past extension headers; false: they end behind the frame.
bool SkipExtensions(const Bytes& b, Anatomy* a) {
  constexpr int kMany = 16;
  for (int i = 0; i < kMany; ++i) {
    const uint8_t type = a->proto;
    if (type != 0 && type != 43 && type != 60 && type != 44) return true;
    if (a->l4 + 8 > b.size()) return false;
    a->proto = b[a->l4];
    if (type == 44) {
      a->later_fragment = U16(b, a->l4 + 2) >> 3 != 0;
      a->l4 += 8;
      if (a->later_fragment) return true;
    } else {
      a->l4 += (b[a->l4 + 1] + 1) * 8u;
    }
  }
  return true;
}

// `type`: as the kernel has read it, from where an Ethernet header has it.
std::optional<Anatomy> Dissect(const Bytes& b, bool bare, uint32_t type) {
  Anatomy a;
  a.l3 = bare ? 0 : 14;
  for (int tags = 0; !bare && tags < 2 && (type == 0x8100 || type == 0x88a8);
       ++tags) {
    type = U16(b, a.l3 + 2);
    a.l3 += 4;
  }
  if (type != 0x0800 && type != 0x86dd) return std::nullopt;
  a.ipv6 = type == 0x86dd;
  if (b.size() < a.l3 + (a.ipv6 ? 40 : 20)) return std::nullopt;
  if (b[a.l3] >> 4 != (a.ipv6 ? 6 : 4)) return std::nullopt;
  a.size = b.size() - a.l3;
  if (a.ipv6) {
    a.proto = b[a.l3 + 6];
    a.l4 = a.l3 + 40;
    const size_t said = U16(b, a.l3 + 4);
    if (said != 0) a.size = std::min(a.size, said + 40);
    if (!SkipExtensions(b, &a)) return std::nullopt;
    return a;
  }
  a.proto = b[a.l3 + 9];
  a.l4 = a.l3 + (b[a.l3] & 0xf) * 4u;
  a.size = std::min<size_t>(a.size, U16(b, a.l3 + 2));
  a.later_fragment = (U16(b, a.l3 + 6) & 0x1fff) != 0;
  return a;
}

// The ones' complement sum modulo 0xffff (zero has two forms).
uint32_t Sum(const Bytes& b, size_t from, size_t to) {
  uint64_t sum = 0;
  to = std::min(to, b.size());
  for (size_t i = from; i < to; ++i) {
    sum += (i - from) % 2 ? b[i] : b[i] << 8;
  }
  return static_cast<uint32_t>(sum % 0xffff);
}

size_t ChecksumAt(const Anatomy& a) {
  if (a.icmp()) return a.l4 + 2;
  return a.l4 + (a.proto == kTcp ? 16 : a.proto == kUdp ? 6 : 8);
}

// By how much is the packet's own checksum wrong? 0: it isn't.
uint32_t SctpError(const Bytes& b, const Anatomy& a) {
  const size_t end = std::min(b.size(), a.l3 + a.size);
  if (end < a.l4 + 12) return 0;
  Bytes packet(b.begin() + static_cast<std::ptrdiff_t>(a.l4),
               b.begin() + static_cast<std::ptrdiff_t>(end));
  uint32_t field = 0;
  std::memcpy(&field, &packet[8], 4);
  std::fill(packet.begin() + 8, packet.begin() + 12, 0);
  return field == 0 ? 0 : field ^ packet::Crc32c(packet);
}

uint32_t TransportError(const Bytes& b, const Anatomy& a) {
  if (a.proto == kSctp) return SctpError(b, a);
  uint32_t sum = Sum(b, a.l4, b.size());
  if (!a.icmp() || a.ipv6) {
    sum += Sum(b, a.address(false), a.address(true) + a.address_size());
  }
  return sum % 0xffff;
}

std::string CheckSums(const Anatomy& a, const Bytes& before,
                      const Bytes& after) {
  if (!a.ipv6 && Sum(before, a.l3, a.l4) != Sum(after, a.l3, a.l4)) {
    return "the IP header's checksum is wrong by another difference";
  }
  if (a.later_fragment) return "";
  if (a.proto == kUdp && U16(before, ChecksumAt(a)) == 0) {
    return U16(after, ChecksumAt(a)) == 0 ? "" : "a checksum out of nowhere";
  }
  if (a.proto == kUdp && U16(after, ChecksumAt(a)) == 0) {
    return "a checksum has become none";
  }
  if (TransportError(before, a) != TransportError(after, a)) {
    return "the transport checksum is wrong by another difference";
  }
  return "";
}

// `after` with what may be translated put back.
Bytes PutBack(const Anatomy& a, bool dst, const Bytes& before, Bytes after) {
  auto copy = [&](size_t at, size_t size) {
    for (size_t i = at; i < at + size && i < after.size(); ++i) {
      after[i] = before[i];
    }
  };
  copy(a.address(dst), a.address_size());
  if (!a.ipv6) copy(a.l3 + 10, 2);
  if (a.later_fragment) return after;
  copy(ChecksumAt(a), a.proto == kSctp ? 4 : 2);
  if (!a.icmp()) {
    copy(a.l4 + (dst ? 2 : 0), 2);
    return after;
  }
  // The packet that an error is about: the other side of its addresses and
  // ports, its checksums. What that leaves is what it was.
  Anatomy inner = a;
  inner.l3 = a.l4 + 8;
  if (inner.l3 + 20 > before.size()) return after;
  inner.proto = before[inner.l3 + (a.ipv6 ? 6 : 9)];
  inner.l4 = inner.l3 + (a.ipv6 ? 40 : (before[inner.l3] & 0xf) * 4u);
  if (a.ipv6 && !SkipExtensions(before, &inner)) return after;
  copy(inner.address(!dst), a.address_size());
  if (!a.ipv6) copy(inner.l3 + 10, 2);
  copy(inner.l4 + (dst ? 0 : 2), 2);
  copy(ChecksumAt(inner), 2);
  return after;
}

fl_addr AddressAt(const Bytes& b, size_t at, bool ipv6) {
  fl_addr address = {};
  if (ipv6) {
    std::memcpy(&address, &b[at], 16);
  } else {
    address.w[2] = __builtin_bswap32(0xffff);
    std::memcpy(&address.w[3], &b[at], 4);
  }
  return address;
}

std::string CheckTranslated(const Verdict& verdict, bool ingress,
                            const std::vector<fl_addr>& backends,
                            const Bytes& before, const Bytes& after) {
  const bool bare =
      verdict.hook == Hook::kIngressL3 || verdict.hook == Hook::kEgressL3;
  const std::optional<Anatomy> a = Dissect(before, bare, U16(before, 12));
  if (!a.has_value()) return "translated, and no IP packet";
  if (before.size() != after.size()) return "the length has changed";
  const std::string sums = CheckSums(*a, before, after);
  if (!sums.empty()) return sums;
  if (PutBack(*a, ingress, before, after) != before) {
    return "more has changed than is translated";
  }
  if (verdict.counters[0].rfind("FORWARD_", 0) != 0) return "";
  const fl_addr to = AddressAt(after, a->address(true), a->ipv6);
  const bool backend =
      std::any_of(backends.begin(), backends.end(),
                  [&to](const fl_addr& one) { return SameAddress(one, to); });
  return backend ? "" : "forwarded to who is no backend";
}

// The answer is a whole packet, from who was addressed to who has sent.
std::string CheckAnswer(const Verdict& verdict, const Bytes& before,
                        const Bytes& after) {
  const bool bare =
      verdict.hook == Hook::kIngressL3 || verdict.hook == Hook::kEgressL3;
  const std::optional<Anatomy> a = Dissect(before, bare, U16(before, 12));
  const std::optional<Anatomy> b = Dissect(after, bare, U16(before, 12));
  if (!a.has_value() || !b.has_value()) return "an answer that is no packet";
  for (bool dst : {false, true}) {
    if (!SameAddress(AddressAt(after, b->address(dst), b->ipv6),
                     AddressAt(before, a->address(!dst), a->ipv6))) {
      return "the answer goes elsewhere";
    }
  }
  if (!b->ipv6 && Sum(after, b->l3, b->l4) != 0) {
    return "the answer's IP header checksum";
  }
  uint32_t sum = TransportError(after, *b);
  if (b->ipv6 || !b->icmp()) {  // the rest of the pseudo header
    sum += static_cast<uint32_t>(after.size() - b->l4) + b->proto;
  }
  return sum % 0xffff == 0 ? "" : "the answer's checksum";
}

// Of these no hook of the packet path's knows.
bool Known(bool ingress, const std::string& counter) {
  static const std::set<std::string> ingress_only = {
      "FORWARD_NEW",    "FORWARD_HIT",    "REJECT_NO_PORT",
      "REJECT_NO_FLOW", "DROP_TUPLE_CLASH"};
  if (counter.rfind("SOCKET_", 0) == 0 || counter == "DROP_NO_ENDPOINT") {
    return false;
  }
  if (counter == "SOURCE_TRANSLATED") return !ingress;
  return ingress || !ingress_only.contains(counter);
}

}  // namespace

bool SameAddress(const fl_addr& a, const fl_addr& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

std::string Hex(const Bytes& bytes) {
  std::string text;
  for (uint8_t byte : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

fl_addr PacketDestination(const Bytes& frame) {
  const std::optional<Anatomy> a = Dissect(frame, false, U16(frame, 12));
  return a.has_value() ? AddressAt(frame, a->address(true), a->ipv6)
                       : fl_addr{};
}

std::string Problem(const Verdict& verdict,
                    const std::vector<fl_addr>& backends, const Bytes& before,
                    const Bytes& after) {
  if (verdict.counters.size() != 1) {
    return "counted " + std::to_string(verdict.counters.size()) + " times";
  }
  const std::string& counter = verdict.counters[0];
  const bool ingress =
      verdict.hook == Hook::kIngress || verdict.hook == Hook::kIngressL3;
  if (!Known(ingress, counter)) return "no verdict of this hook: " + counter;
  const bool answered = counter.rfind("REJECT_", 0) == 0;
  const bool dropped = counter.rfind("DROP_", 0) == 0;
  const int action = answered  ? TC_ACT_REDIRECT
                     : dropped ? TC_ACT_SHOT
                               : TC_ACT_UNSPEC;
  if (verdict.action != action) {
    return counter + " and action " + std::to_string(verdict.action);
  }
  if (dropped) return "";
  if (counter == "NOT_OURS") {
    return before == after ? "" : "not ours, and changed";
  }
  const std::string problem =
      answered ? CheckAnswer(verdict, before, after)
               : CheckTranslated(verdict, ingress, backends, before, after);
  return problem.empty() ? "" : counter + ": " + problem;
}

}  // namespace fairlead::prog
