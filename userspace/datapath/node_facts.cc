// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/node_facts.h"

#include <arpa/inet.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "userspace/reconcile/plan.h"

namespace fairlead::datapath {
namespace {

int MaskBits(const fl_addr& mask) {
  int bits = 0;
  for (uint32_t word : mask.w) bits += std::popcount(word);
  return bits;
}

// The first `bits` of 128.
fl_prefix Upper(const fl_addr& address, int bits) {
  fl_prefix result = {};
  unsigned char mask[16] = {};
  for (int i = 0; i < bits; ++i) mask[i / 8] |= 0x80 >> (i % 8);
  std::memcpy(&result.mask, mask, sizeof mask);
  for (int i = 0; i < 4; ++i) {
    result.addr.w[i] = address.w[i] & result.mask.w[i];
  }
  return result;
}

// What both have in common.
fl_prefix Cover(const fl_prefix& a, const fl_prefix& b) {
  int bits = std::min(MaskBits(a.mask), MaskBits(b.mask));
  for (int i = 0; i < 4; ++i) {
    const uint32_t diff = ntohl(a.addr.w[i] ^ b.addr.w[i]);
    if (diff != 0) bits = std::min(bits, 32 * i + std::countl_zero(diff));
  }
  return Upper(a.addr, bits);
}

// Only the unspecified address is in it, where nothing ever is sent.
fl_prefix Nothing() {
  fl_prefix nothing = {};
  std::memset(&nothing.mask, 0xff, sizeof nothing.mask);
  return nothing;
}

}  // namespace

fl_prefix ToPrefix(const IpPrefix& range) {
  return Upper(reconcile::ToAbi(range.address()),
               range.bits() + (range.family() == IpFamily::kIpv4 ? 96 : 0));
}

void PutNodePods(const std::vector<IpPrefix>& ranges, fl_node* node) {
  node->pods4 = {};
  node->pods6 = {};
  for (const IpPrefix& range : ranges) {
    (range.family() == IpFamily::kIpv4 ? node->pods4 : node->pods6) =
        ToPrefix(range);
  }
}

ServiceRanges ChooseServiceRanges(std::vector<IpPrefix> ranges) {
  // The widest first of those that begin alike: it holds the others.
  std::sort(ranges.begin(), ranges.end(),
            [](const IpPrefix& a, const IpPrefix& b) {
              if (a.family() != b.family()) return a.family() < b.family();
              if (a.address() != b.address()) return a.address() < b.address();
              return a.bits() < b.bits();
            });
  ServiceRanges chosen;
  const IpPrefix* last = nullptr;
  int count[2] = {};
  for (const IpPrefix& range : ranges) {
    const bool same = last != nullptr && last->family() == range.family();
    if (same && last->Contains(range.address())) continue;
    last = &range;
    const bool fits =
        ++count[range.family() == IpFamily::kIpv6] <= FL_SERVICE_RANGES;
    (fits ? chosen.used : chosen.left_out).push_back(range);
  }
  return chosen;
}

void PutServiceRanges(const std::vector<IpPrefix>& ranges, fl_node* node) {
  fl_prefix cover4 = Nothing(), cover6 = Nothing();
  node->services4_count = 0;
  node->services6_count = 0;
  for (fl_range4& range : node->services4) range = {};
  for (fl_prefix& range : node->services6) range = {};
  for (const IpPrefix& range : ranges) {
    const bool v4 = range.family() == IpFamily::kIpv4;
    uint32_t& count = v4 ? node->services4_count : node->services6_count;
    if (count == FL_SERVICE_RANGES) continue;
    const fl_prefix prefix = ToPrefix(range);
    fl_prefix& cover = v4 ? cover4 : cover6;
    cover = count == 0 ? prefix : Cover(cover, prefix);
    if (v4) {
      node->services4[count] = {prefix.addr.w[3], prefix.mask.w[3]};
    } else {
      node->services6[count] = prefix;
    }
    ++count;
  }
  node->cover4 = {cover4.addr.w[3], cover4.mask.w[3]};
  for (int i = 0; i < 2; ++i) {
    node->cover6_addr[i] = cover6.addr.w[i];
    node->cover6_mask[i] = cover6.mask.w[i];
  }
}

std::vector<IpPrefix> ServiceRangesOf(const fl_node& node) {
  std::vector<IpPrefix> ranges;
  const uint32_t most = FL_SERVICE_RANGES;
  for (uint32_t i = 0; i < std::min(node.services4_count, most); ++i) {
    fl_addr address = reconcile::ToAbi(IpAddress::V4(0));
    address.w[3] = node.services4[i].addr;
    ranges.emplace_back(reconcile::FromAbi(address),
                        std::popcount(node.services4[i].mask));
  }
  for (uint32_t i = 0; i < std::min(node.services6_count, most); ++i) {
    ranges.emplace_back(reconcile::FromAbi(node.services6[i].addr),
                        MaskBits(node.services6[i].mask));
  }
  return ranges;
}

}  // namespace fairlead::datapath
