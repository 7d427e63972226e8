// SPDX-License-Identifier: Apache-2.0
// fl_node as values: which ranges are used, and that what is written says the
// same as a plain list of prefixes does.
#include "userspace/datapath/node_facts.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "userspace/reconcile/plan.h"

namespace fairlead::datapath {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<IpPrefix> Ranges(const std::vector<std::string>& texts) {
  std::vector<IpPrefix> ranges;
  for (const std::string& text : texts) {
    ranges.push_back(*IpPrefix::Parse(text));
  }
  return ranges;
}

std::vector<std::string> Texts(const std::vector<IpPrefix>& ranges) {
  std::vector<std::string> texts;
  for (const IpPrefix& range : ranges) texts.push_back(range.ToString());
  return texts;
}

TEST(ServiceRanges, ARangeWithinAnotherIsNotTold) {
  const ServiceRanges chosen = ChooseServiceRanges(
      Ranges({"fd00:10:96::/112", "10.96.0.0/16", "10.96.0.0/12",
              "10.97.0.0/24", "10.112.0.0/16", "10.96.0.0/16",
              "fd00:10::/32"}));
  EXPECT_THAT(Texts(chosen.used),
              ElementsAre("10.96.0.0/12", "10.112.0.0/16", "fd00:10::/32"));
  EXPECT_THAT(chosen.left_out, IsEmpty());
}

TEST(ServiceRanges, ThoseBeyondTheEighthOfAFamilyAreLeftOut) {
  std::vector<IpPrefix> many = Ranges({"fd00:10:96::/112"});
  for (int i = 9; i >= 0; --i) {
    many.push_back(IpPrefix(IpAddress::V4(0x0a000000u + (i << 16)), 16));
  }
  const ServiceRanges chosen = ChooseServiceRanges(many);
  EXPECT_EQ(chosen.used.size(), 9u);
  EXPECT_THAT(Texts(chosen.left_out),
              ElementsAre("10.8.0.0/16", "10.9.0.0/16"));
}

TEST(ServiceRanges, WhatIsPutIsRead) {
  fl_node node = {};
  PutNodePods(Ranges({"10.1.0.0/24"}), &node);
  const fl_prefix pods = node.pods4;
  const std::vector<IpPrefix> ranges = Ranges(
      {"0.0.0.0/0", "10.96.0.1/32", "192.168.0.0/17", "::/0", "fd00::/8",
       "fd00:10:96::1/128"});
  PutServiceRanges(ranges, &node);
  EXPECT_EQ(ServiceRangesOf(node), ranges);
  PutServiceRanges(Ranges({"10.96.0.0/16"}), &node);
  EXPECT_THAT(Texts(ServiceRangesOf(node)), ElementsAre("10.96.0.0/16"));
  EXPECT_EQ(node.pods4.addr.w[3], pods.addr.w[3]);
  PutServiceRanges({}, &node);
  EXPECT_THAT(ServiceRangesOf(node), IsEmpty());
}

bool InCover(const fl_node& node, const fl_addr& address, bool v4) {
  if (v4) {
    return ((address.w[3] ^ node.cover4.addr) & node.cover4.mask) == 0;
  }
  return ((address.w[0] ^ node.cover6_addr[0]) & node.cover6_mask[0]) == 0 &&
         ((address.w[1] ^ node.cover6_addr[1]) & node.cover6_mask[1]) == 0;
}

// Programs look no further at who isn't in the cover.
TEST(ServiceRanges, TheCoverHoldsAllOfThemAndLittleElse) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    const bool v4 = random() % 2 == 0;
    std::vector<IpPrefix> ranges;
    for (unsigned n = 1 + random() % FL_SERVICE_RANGES; n > 0; --n) {
      IpAddress::Bytes bytes;
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
      ranges.push_back(v4 ? IpPrefix(IpAddress::V4(random()), random() % 33)
                          : IpPrefix(IpAddress(bytes), random() % 129));
    }
    fl_node node = {};
    PutServiceRanges(ranges, &node);
    for (const IpPrefix& range : ranges) {
      const IpAddress last = range.At(range.bits() < (v4 ? 32 : 128));
      ASSERT_TRUE(InCover(node, reconcile::ToAbi(range.address()), v4));
      ASSERT_TRUE(InCover(node, reconcile::ToAbi(last), v4))
          << range.ToString();
    }
  }
  fl_node node = {};
  PutServiceRanges(Ranges({"10.96.0.0/16", "10.97.0.0/16", "fd00:10:96::/112",
                           "fd00:10:97::/112"}),
                   &node);
  auto in = [&](const char* text) {
    const IpAddress address = *IpAddress::Parse(text);
    return InCover(node, reconcile::ToAbi(address), address.is_v4());
  };
  EXPECT_FALSE(in("10.98.0.0"));
  EXPECT_FALSE(in("10.244.0.1"));
  EXPECT_FALSE(in("fd00:10:244::1"));
  EXPECT_TRUE(in("10.97.255.255"));
  EXPECT_TRUE(in("fd00:10:97::1"));
  // Nothing at all: not even a look at the list.
  PutServiceRanges({}, &node);
  EXPECT_FALSE(in("10.96.0.1"));
  EXPECT_FALSE(in("fd00:10:96::1"));
}

}  // namespace
}  // namespace fairlead::datapath
