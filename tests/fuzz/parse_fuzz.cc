// SPDX-License-Identifier: Apache-2.0
// The packet parser against a second, plainer one: same kind, same tuple, and
// nothing read outside of the frame (AddressSanitizer). What is read in a shorter
// way, as nearly every packet, comes to the same in all.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "bpf/lib/parse.h"

namespace {

struct Reference {
  fl_packet_kind kind = FL_PACKET_OTHER;
  fl_flow_key tuple = {};
  size_t l3_off = 0;
};

constexpr uint8_t kTcp = 6, kUdp = 17, kSctp = 132;

bool HasPorts(uint8_t proto) {
  return proto == kTcp || proto == kUdp || proto == kSctp;
}

// Reads with an index that is checked at each byte.
class Reader {
 public:
  Reader(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  Reference Parse() {
    int ethertype = U16(12);
    at_ = 14;
    for (int tags = 0; tags < FL_VLAN_MAX; tags++) {
      if ((ethertype != 0x8100 && ethertype != 0x88a8) || !Have(4)) break;
      ethertype = U16(at_ + 2);
      at_ += 4;
    }
    Reference out;
    out.l3_off = at_;
    if (ethertype != 0x0800 && ethertype != 0x86dd) return out;
    v6_ = ethertype == 0x86dd;
    out.kind = Network();
    out.tuple = tuple_;
    if (out.kind != FL_PACKET_FLOW) return out;
    if (HasPorts(tuple_.proto)) {
      // SCTP: a chunk's header, too.
      out.kind = Ports(tuple_.proto == kTcp    ? 20
                       : tuple_.proto == kSctp ? 16
                                               : 8);
    } else if (tuple_.proto == (v6_ ? 58 : 1)) {
      out.kind = Error();
    } else {
      out.kind = FL_PACKET_OTHER;
    }
    out.tuple = tuple_;
    return out;
  }

 private:
  bool Have(size_t n) const { return at_ + n <= size_ && at_ <= FL_CURSOR_MAX; }
  int U8(size_t i) const { return i < size_ ? data_[i] : -1; }
  int U16(size_t i) const {
    return i + 1 < size_ ? data_[i] << 8 | data_[i + 1] : -1;
  }

  fl_packet_kind Network() { return v6_ ? V6() : V4(); }

  fl_packet_kind V4() {
    if (!Have(20)) return FL_PACKET_TRUNCATED;
    size_t words = data_[at_] & 15;
    if (data_[at_] >> 4 != 4 || words < 5) return FL_PACKET_OTHER;
    tuple_.src = {{0, 0, htobe32(0xffff), 0}};
    tuple_.dst = tuple_.src;
    memcpy(&tuple_.src.w[3], data_ + at_ + 12, 4);
    memcpy(&tuple_.dst.w[3], data_ + at_ + 16, 4);
    tuple_.proto = data_[at_ + 9];
    bool later = U16(at_ + 6) & 0x1fff;
    at_ += words * 4;
    return later ? FL_PACKET_FRAGMENT : FL_PACKET_FLOW;
  }

  fl_packet_kind V6() {
    if (!Have(40)) return FL_PACKET_TRUNCATED;
    if (data_[at_] >> 4 != 6) return FL_PACKET_OTHER;
    memcpy(&tuple_.src, data_ + at_ + 8, 16);
    memcpy(&tuple_.dst, data_ + at_ + 24, 16);
    tuple_.proto = data_[at_ + 6];
    at_ += 40;
    for (int headers = 0; headers < FL_IPV6_EXT_MAX; headers++) {
      int type = tuple_.proto;
      if (type != 0 && type != 43 && type != 44 && type != 60) {
        return FL_PACKET_FLOW;
      }
      if (!Have(8)) return FL_PACKET_TRUNCATED;
      tuple_.proto = data_[at_];
      if (type == 44 && (U16(at_ + 2) & ~7)) return FL_PACKET_FRAGMENT;
      at_ += type == 44 ? 8 : 8 + data_[at_ + 1] * 8;
    }
    return FL_PACKET_OTHER;
  }

  fl_packet_kind Ports(size_t header) {
    if (!Have(8)) return FL_PACKET_TRUNCATED;
    memcpy(&tuple_.sport, data_ + at_, 2);
    memcpy(&tuple_.dport, data_ + at_ + 2, 2);
    size_t start = at_;
    at_ += 8;
    if (header > 8 && !Have(header - 8)) return FL_PACKET_TRUNCATED;
    at_ = start + header;
    return FL_PACKET_FLOW;
  }

  fl_packet_kind Error() {
    fl_addr outer = tuple_.dst;
    if (!Have(8)) return FL_PACKET_TRUNCATED;
    int type = data_[at_];
    bool error = v6_ ? type >= 1 && type <= 4
                     : type == 3 || type == 11 || type == 12;
    if (!error) return FL_PACKET_OTHER;
    at_ += 8;
    fl_packet_kind kind = Network();
    if (kind == FL_PACKET_TRUNCATED) return kind;
    if (kind != FL_PACKET_FLOW || !HasPorts(tuple_.proto)) {
      return FL_PACKET_OTHER;
    }
    if (Ports(8) == FL_PACKET_TRUNCATED) return FL_PACKET_TRUNCATED;
    if (memcmp(&outer, &tuple_.src, sizeof(outer)) != 0) return FL_PACKET_OTHER;
    std::swap(tuple_.src, tuple_.dst);
    std::swap(tuple_.sport, tuple_.dport);
    return FL_PACKET_ICMP_ERROR;
  }

  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
  bool v6_ = false;
  fl_flow_key tuple_ = {};
};

void Check(bool ok, const char* what) {
  if (ok) return;
  fprintf(stderr, "differs: %s\n", what);
  abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size < 14) return 0;
  // The kernel aligns the network header (NET_IP_ALIGN).
  std::unique_ptr<uint8_t[]> buffer(new uint8_t[size + 2]);
  uint8_t* data = buffer.get() + 2;
  memcpy(data, input, size);

  fl_cursor cursor = {data, data + size, 14, static_cast<__u32>(size)};
  __be16 ethertype;
  memcpy(&ethertype, data + 12, sizeof(ethertype));
  fl_packet packet;
  fl_parse(&cursor, fl_skip_vlan(&cursor, ethertype), &packet);

  cursor = {data, data + size, 14, static_cast<__u32>(size)};
  fl_packet plain;
  if (fl_parse_plain(&cursor, fl_skip_vlan(&cursor, ethertype),
                     packet.tuple.hook, &plain)) {
    Check(memcmp(&plain, &packet, sizeof(plain)) == 0, "plain");
  }

  Reference want = Reader(data, size).Parse();
  Check(packet.kind == want.kind, "kind");
  Check(packet.l3_off == want.l3_off, "l3_off");
  if (packet.kind == FL_PACKET_FLOW || packet.kind == FL_PACKET_ICMP_ERROR) {
    Check(memcmp(&packet.tuple, &want.tuple, sizeof(want.tuple)) == 0, "tuple");
    Check(packet.l4_off + 8u <= size, "l4_off is in the frame");
  }
  if (packet.kind == FL_PACKET_FLOW && !packet.malformed && packet.l3_len) {
    Check(packet.l3_off + packet.l3_len <= size, "l3_len is in the frame");
  }
  if (packet.kind == FL_PACKET_ICMP_ERROR) {
    Check(packet.inner_l4_off + 8u <= size, "inner_l4_off is in the frame");
  }
  return 0;
}
