// SPDX-License-Identifier: Apache-2.0
#include "tests/prog/packet.h"

#include <gtest/gtest.h>

namespace fairlead::packet {
namespace {

TEST(Packet, BuildsAKnownFrame) {
  // The checksums were worked out by hand.
  Bytes frame = (Eth{} / Ip4{.src = "192.0.2.1", .dst = "192.0.2.2"} /
                 Icmp{.type = 8, .rest = 0x00010001})
                    .Build();
  ASSERT_EQ(frame.size(), 14u + 20 + 8);
  EXPECT_EQ(frame[12] << 8 | frame[13], 0x0800);
  EXPECT_EQ(frame[24] << 8 | frame[25], 0xa4a9);
  EXPECT_EQ(frame[36] << 8 | frame[37], 0xf7fd);
}

TEST(Packet, WholeSentencesHaveNoErrors) {
  Packet quote = Ip6{} / Tcp{} / Payload{"abc"};
  for (const Packet& packet :
       {Eth{} / Ip4{} / Tcp{} / Payload{"odd"},
        Eth{} / Ip4{.options = 2} / Udp{} / Payload{"even"},
        Eth{} / Ip6{} / Ext6{} / Frag6{.offset = 0} / Ext6{.type = 60} / Udp{},
        Eth{} / Ip6{} / Icmp{.type = 2, .rest = 1280} / quote}) {
    Description description = Describe(packet.Build());
    EXPECT_TRUE(description.errors.empty()) << ToString(description);
  }
}

// Any flipped bit of a whole TCP packet is an error or a difference.
TEST(Packet, EveryBitCounts) {
  Bytes frame = (Eth{} / Ip4{} / Tcp{} / Payload{"x"}).Build();
  for (size_t bit = 14 * 8; bit < frame.size() * 8; bit++) {
    Bytes other = frame;
    other[bit / 8] ^= 1 << bit % 8;
    EXPECT_FALSE(Describe(other).errors.empty()) << bit;
    EXPECT_NE(Diff(frame, other), "") << bit;
  }
}

TEST(Packet, DiffNamesLayerAndField) {
  std::string diff = Diff((Eth{} / Ip4{} / Tcp{.dport = 80}).Build(),
                          (Eth{} / Ip4{} / Tcp{.dport = 81}).Build());
  EXPECT_NE(diff.find("Tcp.dport: want 80, got 81"), std::string::npos) << diff;
}

}  // namespace
}  // namespace fairlead::packet
