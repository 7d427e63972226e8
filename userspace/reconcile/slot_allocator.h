// SPDX-License-Identifier: Apache-2.0
// Which slots of an array are taken. First fit over a list of free ranges
// that is kept coalesced. Pure; threads: one at a time.
#ifndef FAIRLEAD_USERSPACE_RECONCILE_SLOT_ALLOCATOR_H_
#define FAIRLEAD_USERSPACE_RECONCILE_SLOT_ALLOCATOR_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

namespace fairlead::reconcile {

class SlotAllocator {
 public:
  explicit SlotAllocator(uint32_t capacity);

  // The base of `count` free slots, now taken; nullopt if there is no free
  // range of that size. REQUIRES: count > 0.
  std::optional<uint32_t> Allocate(uint32_t count);
  // Takes this very range. False (and nothing changed) unless all of it is
  // free and inside of the array. REQUIRES: count > 0.
  bool Reserve(uint32_t base, uint32_t count);
  // REQUIRES: exactly what Allocate() or Reserve() took.
  void Free(uint32_t base, uint32_t count);

  uint32_t used() const { return used_; }
  uint32_t capacity() const { return capacity_; }
  // Free ranges; more of them for the same space is fragmentation.
  size_t fragments() const { return free_.size(); }

 private:
  uint32_t capacity_;
  uint32_t used_ = 0;
  std::map<uint32_t, uint32_t> free_;  // base -> count, none adjacent
};

}  // namespace fairlead::reconcile

#endif  // FAIRLEAD_USERSPACE_RECONCILE_SLOT_ALLOCATOR_H_
