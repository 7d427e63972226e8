// SPDX-License-Identifier: Apache-2.0
#include "userspace/base/ip_address.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace fairlead {
namespace {

TEST(IpAddressTest, RoundTripsItsText) {
  for (const char* text : {"0.0.0.0", "192.0.2.1", "255.255.255.255", "::",
                           "::1", "2001:db8::1", "fd00:10:96::a"}) {
    auto address = IpAddress::Parse(text);
    ASSERT_TRUE(address.ok()) << text;
    EXPECT_EQ(address->ToString(), text);
  }
}

TEST(IpAddressTest, RefusesWhatIsNoAddress) {
  for (std::string_view text :
       {"", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "010.0.0.1", "1.2.3.4 ",
        ":::", "fe80::1%eth0", "2001:db8::1/64", "localhost"}) {
    EXPECT_FALSE(IpAddress::Parse(text).ok()) << text;
  }
  EXPECT_FALSE(IpAddress::Parse(std::string_view("1.2.3.4\0x", 9)).ok());
}

// Dotted addresses are read by our own code: it takes what inet_pton takes.
TEST(IpAddressTest, TakesDottedAddressesAsTheSystemDoes) {
  std::minstd_rand random(7);
  const std::string_view signs = "0123456789..2501 a-:";
  int taken = 0;
  for (int i = 0; i < 200000; ++i) {
    std::string text;
    for (int part = 0; part < 4; ++part) {
      text += (part > 0 ? "." : "") + std::to_string(random() % 300);
    }
    for (unsigned n = random() % 3; n > 0; --n) {
      const size_t at = random() % text.size();
      if (random() % 2 == 0) {
        text.erase(at, 1);
      } else {
        text.insert(at, 1, signs[random() % signs.size()]);
      }
    }
    in_addr system;
    const bool ours = IpAddress::Parse(text).ok() && text.find(':') == text.npos;
    ASSERT_EQ(ours, inet_pton(AF_INET, text.c_str(), &system) == 1) << text;
    if (!ours) continue;
    ++taken;
    ASSERT_EQ(IpAddress::Parse(text)->v4_host_order(), ntohl(system.s_addr));
  }
  EXPECT_GT(taken, 10000);
}

TEST(IpAddressTest, KnowsItsFamily) {
  EXPECT_TRUE(IpAddress::Parse("192.0.2.1")->is_v4());
  EXPECT_FALSE(IpAddress::Parse("2001:db8::1")->is_v4());
  EXPECT_TRUE(IpAddress::Parse("127.8.0.1")->is_loopback());
  EXPECT_TRUE(IpAddress::Parse("::1")->is_loopback());
  EXPECT_TRUE(IpAddress::Unspecified(IpFamily::kIpv4).is_unspecified());
  EXPECT_EQ(IpAddress::V4(0xc0000201).ToString(), "192.0.2.1");
}

TEST(IpPrefixTest, ContainsItsRangeOnly) {
  auto v4 = IpPrefix::Parse("10.244.0.0/17");
  ASSERT_TRUE(v4.ok());
  EXPECT_TRUE(v4->Contains(*IpAddress::Parse("10.244.127.255")));
  EXPECT_FALSE(v4->Contains(*IpAddress::Parse("10.244.128.0")));
  EXPECT_FALSE(v4->Contains(*IpAddress::Parse("2001:db8::1")));
  auto all6 = IpPrefix::Parse("::/0");
  ASSERT_TRUE(all6.ok());
  EXPECT_TRUE(all6->Contains(*IpAddress::Parse("2001:db8::1")));
  EXPECT_FALSE(all6->Contains(*IpAddress::Parse("192.0.2.1")));
}

TEST(IpPrefixTest, RefusesHostBitsUnlessMasked) {
  EXPECT_FALSE(IpPrefix::Parse("10.0.0.1/8").ok());
  EXPECT_EQ(IpPrefix::Parse("10.0.0.1/8", true)->ToString(), "10.0.0.0/8");
  for (std::string_view text : {"10.0.0.0", "10.0.0.0/", "10.0.0.0/33",
                                "10.0.0.0/-1", "10.0.0.0/ 8", "::/129"}) {
    EXPECT_FALSE(IpPrefix::Parse(text).ok()) << text;
  }
}

TEST(IpPrefixTest, CountsItsAddresses) {
  EXPECT_EQ(IpPrefix::Parse("10.96.0.0/16")->At(258).ToString(), "10.96.1.2");
  EXPECT_EQ(IpPrefix::Parse("fd00:10:96::/108")->At(65537).ToString(),
            "fd00:10:96::1:1");
}

TEST(L4AddressTest, PrintsBothFamilies) {
  EXPECT_EQ((L4Address{*IpAddress::Parse("192.0.2.1"), 80}.ToString()),
            "192.0.2.1:80/TCP");
  EXPECT_EQ((L4Address{*IpAddress::Parse("2001:db8::1"), 53, Protocol::kUdp}
                 .ToString()),
            "[2001:db8::1]:53/UDP");
}

}  // namespace
}  // namespace fairlead
