// SPDX-License-Identifier: Apache-2.0
#include "userspace/reconcile/slot_allocator.h"

#include <cassert>
#include <iterator>

namespace fairlead::reconcile {

SlotAllocator::SlotAllocator(uint32_t capacity) : capacity_(capacity) {
  if (capacity > 0) free_[0] = capacity;
}

std::optional<uint32_t> SlotAllocator::Allocate(uint32_t count) {
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->second < count) continue;
    const uint32_t base = it->first;
    const uint32_t rest = it->second - count;
    auto next = free_.erase(it);
    if (rest > 0) free_.emplace_hint(next, base + count, rest);
    used_ += count;
    return base;
  }
  return std::nullopt;
}

bool SlotAllocator::Reserve(uint32_t base, uint32_t count) {
  auto it = free_.upper_bound(base);
  if (it == free_.begin()) return false;
  --it;
  const uint64_t end = uint64_t{base} + count;
  const uint64_t free_end = uint64_t{it->first} + it->second;
  if (end > free_end) return false;
  const uint32_t free_base = it->first;
  free_.erase(it);
  if (base > free_base) free_[free_base] = base - free_base;
  if (end < free_end) {
    free_[static_cast<uint32_t>(end)] = static_cast<uint32_t>(free_end - end);
  }
  used_ += count;
  return true;
}

void SlotAllocator::Free(uint32_t base, uint32_t count) {
  assert(count <= used_);
  used_ -= count;
  auto next = free_.upper_bound(base);
  if (next != free_.begin()) {
    auto before = std::prev(next);
    assert(before->first + before->second <= base);
    if (before->first + before->second == base) {
      base = before->first;
      count += before->second;
      free_.erase(before);
    }
  }
  if (next != free_.end()) {
    assert(base + count <= next->first);
    if (base + count == next->first) {
      count += next->second;
      free_.erase(next);
    }
  }
  free_[base] = count;
}

}  // namespace fairlead::reconcile
