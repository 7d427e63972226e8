// SPDX-License-Identifier: Apache-2.0
#include "userspace/reconcile/slot_allocator.h"

#include <map>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace fairlead::reconcile {
namespace {

TEST(SlotAllocatorTest, FirstFit) {
  SlotAllocator slots(10);
  EXPECT_EQ(slots.Allocate(4), 0u);
  EXPECT_EQ(slots.Allocate(4), 4u);
  EXPECT_EQ(slots.Allocate(4), std::nullopt);
  EXPECT_EQ(slots.Allocate(2), 8u);
  EXPECT_EQ(slots.used(), 10u);
  slots.Free(0, 4);
  EXPECT_EQ(slots.Allocate(3), 0u);
  EXPECT_EQ(slots.Allocate(2), std::nullopt);
  EXPECT_EQ(slots.Allocate(1), 3u);
}

TEST(SlotAllocatorTest, NeighboursGrowTogether) {
  SlotAllocator slots(9);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(slots.Allocate(3).has_value());
  slots.Free(0, 3);
  slots.Free(6, 3);
  EXPECT_EQ(slots.fragments(), 2u);
  slots.Free(3, 3);
  EXPECT_EQ(slots.fragments(), 1u);
  EXPECT_EQ(slots.Allocate(9), 0u);
}

TEST(SlotAllocatorTest, ReserveTakesOnlyWhatIsFree) {
  SlotAllocator slots(10);
  EXPECT_TRUE(slots.Reserve(3, 4));
  EXPECT_FALSE(slots.Reserve(6, 2));
  EXPECT_FALSE(slots.Reserve(0, 4));
  EXPECT_FALSE(slots.Reserve(8, 3));
  EXPECT_FALSE(slots.Reserve(0xffffffff, 2));
  EXPECT_TRUE(slots.Reserve(0, 3));
  EXPECT_TRUE(slots.Reserve(7, 3));
  EXPECT_EQ(slots.used(), 10u);
  EXPECT_EQ(slots.fragments(), 0u);
}

TEST(SlotAllocatorTest, NothingOverlapsAndNothingIsLost) {
  std::mt19937 random(7);
  constexpr uint32_t kCapacity = 500;
  SlotAllocator slots(kCapacity);
  std::vector<bool> taken(kCapacity);
  std::map<uint32_t, uint32_t> ranges;
  for (int step = 0; step < 20000; ++step) {
    if (random() % 2 == 0 && !ranges.empty()) {
      auto it = std::next(ranges.begin(), random() % ranges.size());
      slots.Free(it->first, it->second);
      for (uint32_t i = 0; i < it->second; ++i) taken[it->first + i] = false;
      ranges.erase(it);
      continue;
    }
    const uint32_t count = 1 + random() % 30;
    const std::optional<uint32_t> base = slots.Allocate(count);
    uint32_t run = 0, longest = 0;
    for (bool t : taken) longest = std::max(longest, run = t ? 0 : run + 1);
    ASSERT_EQ(base.has_value(), longest >= count);
    if (!base) continue;
    for (uint32_t i = 0; i < count; ++i) {
      ASSERT_FALSE(taken[*base + i]);
      taken[*base + i] = true;
    }
    ranges[*base] = count;
  }
}

}  // namespace
}  // namespace fairlead::reconcile
