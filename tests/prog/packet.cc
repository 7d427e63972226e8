// SPDX-License-Identifier: Apache-2.0
#include "tests/prog/packet.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace fairlead::packet {
namespace {

constexpr uint8_t kTcpNumber = 6;
constexpr uint8_t kUdpNumber = 17;
constexpr uint8_t kSctpNumber = 132;

void Put16(Bytes& bytes, uint32_t value) {
  bytes.push_back(value >> 8 & 0xff);
  bytes.push_back(value & 0xff);
}

void Put32(Bytes& bytes, uint32_t value) {
  Put16(bytes, value >> 16);
  Put16(bytes, value);
}

void Set16(Bytes& bytes, size_t at, uint16_t value) {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 0xff;
}

void Append(Bytes& bytes, const Bytes& more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

Bytes Address(int family, const std::string& text) {
  Bytes bytes(family == AF_INET ? 4 : 16);
  if (inet_pton(family, text.c_str(), bytes.data()) != 1) {
    fprintf(stderr, "not an address: %s\n", text.c_str());
    abort();
  }
  return bytes;
}

uint16_t Checksum(const Bytes& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i++) {
    sum += i % 2 ? bytes[i] : bytes[i] << 8;
  }
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum;
}

// Of an SCTP packet, whose own field counts as zero; as the field has it.
uint32_t SctpChecksum(Bytes packet) {
  std::fill(packet.begin() + 8, packet.begin() + 12, 0);
  return __builtin_bswap32(Crc32c(packet));
}

// Pseudo header plus `segment`, to be summed up.
Bytes WithPseudo(const Bytes& addresses, uint8_t protocol,
                 const Bytes& segment) {
  Bytes all = addresses;
  Put32(all, segment.size());
  Put32(all, protocol);
  Append(all, segment);
  return all;
}

// What a layer needs to know of those around it.
struct Around {
  Bytes addresses;  // of the IP header above: source and destination
  bool ipv6 = false;
  uint8_t next = 0;        // the protocol number of the layer below
  uint16_t ethertype = 0;  // ... as an EtherType
  Bytes below;
};

Bytes Nops(int words) { return Bytes(words * 4, 1); }

Bytes BuildLayer(const Eth& eth, const Around& around) {
  Bytes out(eth.dst.begin(), eth.dst.end());
  out.insert(out.end(), eth.src.begin(), eth.src.end());
  Put16(out, eth.type.value_or(around.ethertype));
  Append(out, around.below);
  return out;
}

Bytes BuildLayer(const Vlan& vlan, const Around& around) {
  Bytes out;
  Put16(out, vlan.id);
  Put16(out, around.ethertype);
  Append(out, around.below);
  return out;
}

Bytes BuildLayer(const Ip4& ip, const Around& around) {
  size_t length = 20 + ip.options * 4;
  Bytes out;
  out.push_back(ip.version.value_or(4) << 4 |
                ip.header_words.value_or(length / 4));
  out.push_back(0);
  Put16(out, ip.total_length.value_or(length + around.below.size()));
  Put16(out, ip.id);
  Put16(out, ip.fragment);
  out.push_back(ip.ttl);
  out.push_back(ip.protocol.value_or(around.next));
  Put16(out, 0);
  Append(out, Address(AF_INET, ip.src));
  Append(out, Address(AF_INET, ip.dst));
  Append(out, Nops(ip.options));
  Set16(out, 10, Checksum(out));
  Append(out, around.below);
  return out;
}

Bytes BuildLayer(const Ip6& ip, const Around& around) {
  Bytes out = {static_cast<uint8_t>(ip.version.value_or(6) << 4), 0, 0, 0};
  Put16(out, ip.payload_length.value_or(around.below.size()));
  out.push_back(ip.next_header.value_or(around.next));
  out.push_back(ip.hop_limit);
  Append(out, Address(AF_INET6, ip.src));
  Append(out, Address(AF_INET6, ip.dst));
  Append(out, around.below);
  return out;
}

Bytes BuildLayer(const Ext6& ext, const Around& around) {
  Bytes out = {around.next, ext.units};
  out.resize(8 + ext.units * 8);
  // A PadN option over all of it.
  out[2] = 1;
  out[3] = out.size() - 4;
  if (ext.type == 43) out[3] = 0;  // no segments left
  Append(out, around.below);
  return out;
}

Bytes BuildLayer(const Frag6& frag, const Around& around) {
  Bytes out = {frag.next_header.value_or(around.next), 0};
  Put16(out, (frag.offset & ~7) | (frag.more ? 1 : 0));
  Put32(out, frag.id);
  Append(out, around.below);
  return out;
}

Bytes BuildLayer(const Tcp& tcp, const Around& around) {
  Bytes out;
  Put16(out, tcp.sport);
  Put16(out, tcp.dport);
  Put32(out, tcp.seq);
  Put32(out, tcp.ack);
  out.push_back(tcp.header_words.value_or(5 + tcp.options) << 4);
  out.push_back(tcp.flags);
  Put16(out, tcp.window);
  Put32(out, 0);
  Append(out, Nops(tcp.options));
  Append(out, around.below);
  Set16(out, 16, Checksum(WithPseudo(around.addresses, kTcpNumber, out)));
  return out;
}

Bytes BuildLayer(const Udp& udp, const Around& around) {
  Bytes out;
  Put16(out, udp.sport);
  Put16(out, udp.dport);
  Put16(out, udp.length.value_or(8 + around.below.size()));
  Put16(out, 0);
  Append(out, around.below);
  if (!udp.checksum) return out;
  uint16_t sum = Checksum(WithPseudo(around.addresses, kUdpNumber, out));
  Set16(out, 6, sum ? sum : 0xffff);
  return out;
}

Bytes BuildLayer(const Sctp& sctp, const Around& around) {
  Bytes out;
  Put16(out, sctp.sport);
  Put16(out, sctp.dport);
  Put32(out, sctp.tag);
  Put32(out, 0);
  out.push_back(sctp.chunk);
  out.push_back(sctp.chunk_flags);
  Put16(out, 4 + around.below.size());
  Append(out, around.below);
  if (!sctp.checksum) return out;
  uint32_t checksum = SctpChecksum(out);
  Set16(out, 8, checksum >> 16);
  Set16(out, 10, checksum & 0xffff);
  return out;
}

Bytes BuildLayer(const Icmp& icmp, const Around& around) {
  Bytes out = {icmp.type, icmp.code, 0, 0};
  Put32(out, icmp.rest);
  Append(out, around.below);
  Set16(out, 2,
        around.ipv6
            ? Checksum(WithPseudo(around.addresses, IPPROTO_ICMPV6, out))
            : Checksum(out));
  return out;
}

Bytes BuildLayer(const Payload& payload, const Around& around) {
  Bytes out(payload.text.begin(), payload.text.end());
  Append(out, around.below);
  return out;
}

// The number by which the layer above announces this one.
uint8_t Number(const Layer& layer, bool ipv6) {
  if (auto* ext = std::get_if<Ext6>(&layer)) return ext->type;
  if (std::holds_alternative<Frag6>(layer)) return IPPROTO_FRAGMENT;
  if (std::holds_alternative<Tcp>(layer)) return kTcpNumber;
  if (std::holds_alternative<Udp>(layer)) return kUdpNumber;
  if (std::holds_alternative<Sctp>(layer)) return kSctpNumber;
  if (std::holds_alternative<Icmp>(layer)) {
    return ipv6 ? uint8_t{IPPROTO_ICMPV6} : uint8_t{IPPROTO_ICMP};
  }
  if (std::holds_alternative<Ip4>(layer)) return IPPROTO_IPIP;
  if (std::holds_alternative<Ip6>(layer)) return IPPROTO_IPV6;
  return IPPROTO_NONE;
}

Around AroundOf(const std::vector<Layer>& layers, size_t at, Bytes below) {
  Around around;
  around.below = std::move(below);
  for (size_t i = 0; i < at; i++) {
    if (auto* ip4 = std::get_if<Ip4>(&layers[i])) {
      around.ipv6 = false;
      around.addresses = Address(AF_INET, ip4->src);
      Append(around.addresses, Address(AF_INET, ip4->dst));
    } else if (auto* ip6 = std::get_if<Ip6>(&layers[i])) {
      around.ipv6 = true;
      around.addresses = Address(AF_INET6, ip6->src);
      Append(around.addresses, Address(AF_INET6, ip6->dst));
    }
  }
  if (at + 1 < layers.size()) {
    bool ipv6 = around.ipv6 || std::holds_alternative<Ip6>(layers[at]);
    around.next = Number(layers[at + 1], ipv6);
    if (std::holds_alternative<Ip4>(layers[at + 1])) around.ethertype = 0x0800;
    if (std::holds_alternative<Ip6>(layers[at + 1])) around.ethertype = 0x86dd;
    if (auto* vlan = std::get_if<Vlan>(&layers[at + 1])) {
      around.ethertype = vlan->type;
    }
  }
  return around;
}

// ---- describing ----

std::string Hex(uint32_t value, int digits) {
  char text[16];
  snprintf(text, sizeof(text), "0x%0*x", digits, value);
  return text;
}

std::string MacText(const uint8_t* at) {
  char text[32];
  snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", at[0], at[1],
           at[2], at[3], at[4], at[5]);
  return text;
}

class Describer {
 public:
  explicit Describer(const Bytes& frame) : bytes_(frame) {}

  Description Run() {
    if (!Have(14)) {
      Rest("short frame");
      return std::move(out_);
    }
    Row("Eth");
    Field("dst", MacText(&bytes_[0]));
    Field("src", MacText(&bytes_[6]));
    uint16_t type = U16(12);
    Field("type", Hex(type, 4));
    at_ = 14;
    while ((type == 0x8100 || type == 0x88a8) && Have(4)) {
      Row("Vlan");
      Number("id", U16(at_));
      type = U16(at_ + 2);
      Field("type", Hex(type, 4));
      at_ += 4;
    }
    if (type == 0x0800) {
      Ipv4(/*quoted=*/false);
    } else if (type == 0x86dd) {
      Ipv6(/*quoted=*/false);
    } else {
      Rest("Payload");
    }
    return std::move(out_);
  }

 private:
  bool Have(size_t n) const { return at_ + n <= bytes_.size(); }
  uint16_t U16(size_t at) const { return bytes_[at] << 8 | bytes_[at + 1]; }
  uint32_t U32(size_t at) const {
    return static_cast<uint32_t>(U16(at)) << 16 | U16(at + 2);
  }
  void Row(const std::string& layer) { out_.rows.push_back({layer, {}}); }
  void Field(const std::string& name, const std::string& value) {
    out_.rows.back().fields.emplace_back(name, value);
  }
  void Number(const std::string& name, uint64_t value) {
    Field(name, std::to_string(value));
  }
  void Error(const std::string& text) { out_.errors.push_back(text); }
  Bytes Slice(size_t from, size_t to) const {
    return Bytes(bytes_.begin() + from, bytes_.begin() + to);
  }

  void Rest(const std::string& name) {
    Row(name);
    std::string text;
    for (size_t i = at_; i < bytes_.size(); i++) {
      char hex[4];
      snprintf(hex, sizeof(hex), "%02x", bytes_[i]);
      text += hex;
    }
    Field("bytes", text);
    at_ = bytes_.size();
  }

  void Addresses(int family, size_t src, size_t size) {
    char text[INET6_ADDRSTRLEN];
    Field("src", inet_ntop(family, &bytes_[src], text, sizeof(text)));
    Field("dst", inet_ntop(family, &bytes_[src + size], text, sizeof(text)));
    addresses_ = Slice(src, src + 2 * size);
  }

  void Ipv4(bool quoted) {
    if (!Have(20)) return Rest("short Ip4");
    size_t start = at_, header = (bytes_[start] & 15) * 4;
    Row(quoted ? "quoted Ip4" : "Ip4");
    Addresses(AF_INET, start + 12, 4);
    Number("version", bytes_[start] >> 4);
    Number("header", header);
    Number("tos", bytes_[start + 1]);
    Number("total_length", U16(start + 2));
    Field("id", Hex(U16(start + 4), 4));
    Field("fragment", Hex(U16(start + 6), 4));
    Number("ttl", bytes_[start + 8]);
    Number("protocol", bytes_[start + 9]);
    Field("checksum", Hex(U16(start + 10), 4));
    if (header < 20 || !Have(header)) {
      Error("IPv4 header length");
      return Rest("bad Ip4");
    }
    if (Checksum(Slice(start, start + header))) {
      Error(quoted ? "quoted IPv4 checksum" : "IPv4 checksum");
    }
    size_t end = start + U16(start + 2);
    if (!quoted && end > bytes_.size()) Error("IPv4 total length");
    whole_ = end <= bytes_.size() && !(U16(start + 6) & 0x3fff);
    ipv6_ = false;
    at_ = start + header;
    Transport(bytes_[start + 9], U16(start + 6) & 0x1fff, end, quoted);
  }

  void Ipv6(bool quoted) {
    if (!Have(40)) return Rest("short Ip6");
    size_t start = at_;
    uint8_t next = bytes_[start + 6];
    Row(quoted ? "quoted Ip6" : "Ip6");
    Addresses(AF_INET6, start + 8, 16);
    Field("word", Hex(U32(start), 8));
    Number("payload_length", U16(start + 4));
    Number("next_header", next);
    Number("hop_limit", bytes_[start + 7]);
    size_t end = start + 40 + U16(start + 4);
    if (!quoted && end > bytes_.size()) Error("IPv6 payload length");
    whole_ = end <= bytes_.size();
    ipv6_ = true;
    at_ = start + 40;
    bool later = false;
    while (next == 0 || next == 43 || next == 44 || next == 60) {
      if (!Have(8)) return Rest("short extension header");
      size_t length = next == 44 ? 8 : 8 + bytes_[at_ + 1] * 8;
      if (!Have(length)) return Rest("short extension header");
      Row("extension header");
      Number("type", next);
      Number("length", length);
      Field("word", Hex(U32(at_), 8));
      if (next == 44) {
        whole_ = false;
        later = later || (U16(at_ + 2) & ~7);
      }
      next = bytes_[at_];
      at_ += length;
    }
    Transport(next, later, end, quoted);
  }

  void Transport(uint8_t protocol, bool later_fragment, size_t end,
                 bool quoted) {
    std::string prefix = quoted ? "quoted " : "";
    if (later_fragment) return Rest("fragment");
    if (protocol == kTcpNumber && Have(20)) {
      TcpRow(prefix, end);
    } else if (protocol == kUdpNumber && Have(8)) {
      UdpRow(prefix, end);
    } else if (protocol == kSctpNumber && Have(12)) {
      SctpRow(prefix, end);
    } else if ((protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) &&
               Have(8)) {
      IcmpRow(end);
      return;
    }
    if (at_ < bytes_.size()) Rest("Payload");
  }

  void CheckTransport(const std::string& what, uint8_t protocol, size_t start,
                      size_t end) {
    if (!whole_ || end < start) return;
    if (Checksum(WithPseudo(addresses_, protocol, Slice(start, end)))) {
      Error(what + " checksum");
    }
  }

  void TcpRow(const std::string& prefix, size_t end) {
    size_t start = at_, header = (bytes_[start + 12] >> 4) * 4;
    Row(prefix + "Tcp");
    Number("sport", U16(start));
    Number("dport", U16(start + 2));
    Number("seq", U32(start + 4));
    Number("ack", U32(start + 8));
    Number("header", header);
    Field("flags", Hex(bytes_[start + 13], 2));
    Number("window", U16(start + 14));
    Field("checksum", Hex(U16(start + 16), 4));
    if (header < 20) Error("TCP header length");
    CheckTransport(prefix + "TCP", kTcpNumber, start, end);
    at_ = std::min(start + std::max<size_t>(header, 20), bytes_.size());
  }

  void UdpRow(const std::string& prefix, size_t end) {
    size_t start = at_;
    Row(prefix + "Udp");
    Number("sport", U16(start));
    Number("dport", U16(start + 2));
    Number("length", U16(start + 4));
    Field("checksum", Hex(U16(start + 6), 4));
    if (U16(start + 6)) {
      CheckTransport(prefix + "UDP", kUdpNumber, start, end);
    }
    at_ = start + 8;
  }

  void SctpRow(const std::string& prefix, size_t end) {
    size_t start = at_;
    Row(prefix + "Sctp");
    Number("sport", U16(start));
    Number("dport", U16(start + 2));
    Field("tag", Hex(U32(start + 4), 8));
    Field("checksum", Hex(U32(start + 8), 8));
    if (U32(start + 8) && whole_ && prefix.empty() && end >= start + 12 &&
        SctpChecksum(Slice(start, end)) != U32(start + 8)) {
      Error("SCTP checksum");
    }
    at_ = start + 12;
  }

  void IcmpRow(size_t end) {
    size_t start = at_;
    uint8_t type = bytes_[start];
    Row(ipv6_ ? "Icmp6" : "Icmp");
    Number("type", type);
    Number("code", bytes_[start + 1]);
    Field("checksum", Hex(U16(start + 2), 4));
    Field("rest", Hex(U32(start + 4), 8));
    if (whole_ && end >= start) {
      if (ipv6_) {
        CheckTransport("ICMPv6", IPPROTO_ICMPV6, start, end);
      } else if (Checksum(Slice(start, end))) {
        Error("ICMP checksum");
      }
    }
    at_ = start + 8;
    bool error = ipv6_ ? type < 128 : type == 3 || type == 11 || type == 12;
    if (!error) return Rest("Payload");
    if (ipv6_) {
      Ipv6(/*quoted=*/true);
    } else {
      Ipv4(/*quoted=*/true);
    }
  }

  const Bytes& bytes_;
  size_t at_ = 0;
  bool ipv6_ = false;
  bool whole_ = false;  // not a fragment, not cut short
  Bytes addresses_;
  Description out_;
};

std::string RowText(const Description::Row& row) {
  std::string text = row.layer;
  for (const auto& [name, value] : row.fields) text += " " + name + "=" + value;
  return text;
}

}  // namespace

Bytes Packet::Build(int limit) const {
  Bytes below;
  for (size_t i = layers_.size(); i-- > 0;) {
    Around around = AroundOf(layers_, i, std::move(below));
    below = std::visit(
        [&](const auto& layer) { return BuildLayer(layer, around); },
        layers_[i]);
  }
  if (limit >= 0 && static_cast<size_t>(limit) < below.size()) {
    below.resize(limit);
  }
  return below;
}

Packet operator/(Packet packet, const Packet& inner) {
  return std::move(packet) / Layer(Cut(inner, -1));
}

uint32_t Crc32c(const Bytes& bytes) {
  uint32_t crc = ~0u;
  for (uint8_t byte : bytes) {
    crc ^= byte;
    for (int i = 0; i < 8; i++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

Payload Cut(const Packet& packet, int bytes) {
  Bytes built = packet.Build(bytes);
  return Payload{std::string(built.begin(), built.end())};
}

Description Describe(const Bytes& frame) { return Describer(frame).Run(); }

std::string ToString(const Description& description) {
  std::string text;
  for (const auto& row : description.rows) text += RowText(row) + "\n";
  for (const auto& error : description.errors) text += "! " + error + "\n";
  return text;
}

std::string Diff(const Bytes& expected, const Bytes& actual) {
  if (expected == actual) return "";
  Description want = Describe(expected), got = Describe(actual);
  std::string text;
  for (size_t i = 0; i < std::max(want.rows.size(), got.rows.size()); i++) {
    if (i >= want.rows.size()) {
      text += "+ " + RowText(got.rows[i]) + "\n";
    } else if (i >= got.rows.size()) {
      text += "- " + RowText(want.rows[i]) + "\n";
    } else if (want.rows[i].layer != got.rows[i].layer) {
      text += "- " + RowText(want.rows[i]) + "\n+ " + RowText(got.rows[i]) +
              "\n";
    } else {
      for (size_t f = 0; f < want.rows[i].fields.size(); f++) {
        const auto& a = want.rows[i].fields[f];
        const auto& b = got.rows[i].fields[f];
        if (a == b) continue;
        text += want.rows[i].layer + "." + a.first + ": want " + a.second +
                ", got " + b.second + "\n";
      }
    }
  }
  if (text.empty()) text = "bytes differ where no field does\n";
  return text + "want:\n" + ToString(want) + "got:\n" + ToString(got);
}

}  // namespace fairlead::packet
