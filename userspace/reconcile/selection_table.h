// SPDX-License-Identifier: Apache-2.0
// The slot ranges in use, what is in them, and who refers to them.
//
// A range that nobody refers to any more is reused after a grace period: a
// program that has read the service entry may still be reading the slots.
//
// Pure bookkeeping; threads: one at a time. `backends` outlives this.
#ifndef FAIRLEAD_USERSPACE_RECONCILE_SELECTION_TABLE_H_
#define FAIRLEAD_USERSPACE_RECONCILE_SELECTION_TABLE_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "bpf/abi/types.h"
#include "userspace/reconcile/backend_table.h"
#include "userspace/reconcile/slot_allocator.h"

namespace fairlead::reconcile {

class SelectionTable {
 public:
  SelectionTable(uint32_t capacity, BackendTable* backends)
      : slots_(capacity), backends_(backends) {}

  // A range that an earlier process left, with its backends; its reference
  // belongs to the caller. Until AdoptRestored() its backends count as used.
  // False if it isn't free space (then it is no range of ours). REQUIRES:
  // !Has(range).
  bool Restore(const fl_selection& range, std::vector<uint32_t> ids);

  // A new range for `ids`, not written yet, with one reference.
  // kResourceExhausted. REQUIRES: `ids` isn't empty.
  absl::StatusOr<fl_selection> Allocate(std::vector<uint32_t> ids);

  // Does the table know this range?
  bool Has(const fl_selection& range) const;
  // Empty for a range that it doesn't know.
  absl::Span<const uint32_t> Ids(const fl_selection& range) const;
  void Ref(const fl_selection& range);  // REQUIRES: Has(range)
  // The last one starts the grace period, which ends at `due`.
  void Unref(const fl_selection& range, absl::Duration due);
  // Somebody has taken over the users of a restored range.
  void AdoptRestored(const fl_selection& range);

  // Gives free the ranges whose grace period is over.
  void FreeDue(absl::Duration now);
  std::optional<absl::Duration> NextDue() const;

  const SlotAllocator& slots() const { return slots_; }

 private:
  struct Selection {
    std::vector<uint32_t> ids;
    uint32_t refs = 0;
    bool restored = false;
  };
  struct Waiting {
    absl::Duration due;
    fl_selection range;
  };

  SlotAllocator slots_;
  BackendTable* backends_;
  absl::flat_hash_map<uint32_t, Selection> by_base_;
  std::deque<Waiting> grace_;  // by time
};

}  // namespace fairlead::reconcile

#endif  // FAIRLEAD_USERSPACE_RECONCILE_SELECTION_TABLE_H_
