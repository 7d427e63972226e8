// SPDX-License-Identifier: Apache-2.0
// The kernel's service tables as the reconciler sees them: what can be read
// back at start, and one method for each way of changing them.
//
// Implemented by datapath (the pinned BPF maps) and by tests (in memory).
// Dumb on purpose: no method looks at more than its arguments, none decides
// anything, and each takes effect when it returns, so that the order of calls
// is the order in which a packet sees them. Values are those of bpf/abi.
//
// Threads: one at a time. The implementation outlives the reconciler.
#ifndef FAIRLEAD_USERSPACE_RECONCILE_MAP_SET_H_
#define FAIRLEAD_USERSPACE_RECONCILE_MAP_SET_H_

#include <cstddef>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "bpf/abi/types.h"

namespace fairlead::reconcile {

// Which of the two "not ours" bit sets (bpf/abi/filter.h).
enum class Filter : uint8_t { kFrontends, kBackends };

class MapSet {
 public:
  // How many entries each map has room for.
  struct Capacity {
    uint32_t services = 0;
    uint32_t slots = 0;
    uint32_t backends = 0;  // ids 0..backends-1, of which 0 is never used
    uint32_t source_ranges = 0;
    uint32_t node_addresses = 0;
  };

  virtual ~MapSet() = default;

  virtual Capacity capacity() const = 0;

  // ---- What is there: read once, at start. ----

  virtual absl::Status ForEachService(
      absl::FunctionRef<void(const fl_service_key&, const fl_service&)> fn)
      const = 0;
  // Slots [base, base + out.size()). kOutOfRange beyond the map.
  virtual absl::Status ReadSlots(uint32_t base,
                                 absl::Span<uint32_t> out) const = 0;
  // Every id whose generation isn't 0, rising; those that are FREE too, as
  // their generation must go on rising.
  virtual absl::Status ForEachBackend(
      absl::FunctionRef<void(uint32_t id, const fl_backend&)> fn) const = 0;
  virtual absl::Status ForEachSourceRange(
      absl::FunctionRef<void(const fl_source_range_key&)> fn) const = 0;
  virtual absl::Status ForEachNodeAddress(
      absl::FunctionRef<void(const fl_addr&, const fl_node_addr&)> fn)
      const = 0;
  // All FL_FILTER_WORDS words.
  virtual absl::Status ReadFilter(Filter filter,
                                  absl::Span<uint64_t> words) const = 0;

  // ---- One change each. ----
  // Put = insert or overwrite. Deleting what isn't there is OK. A full map is
  // kResourceExhausted.

  virtual absl::Status SetFilterBit(Filter filter, uint32_t bit) = 0;
  // All of the entry; its state last, as a reader may look at any moment.
  virtual absl::Status PutBackend(uint32_t id, const fl_backend& backend) = 0;
  // One byte, the entry's other fields stay (enum fl_backend_state).
  virtual absl::Status SetBackendState(uint32_t id, uint8_t state) = 0;
  virtual absl::Status PutSlots(uint32_t base,
                                absl::Span<const uint32_t> backend_ids) = 0;
  virtual absl::Status PutService(const fl_service_key& key,
                                  const fl_service& value) = 0;
  virtual absl::Status DeleteService(const fl_service_key& key) = 0;
  virtual absl::Status PutSourceRange(const fl_source_range_key& key) = 0;
  virtual absl::Status DeleteSourceRange(const fl_source_range_key& key) = 0;
  virtual absl::Status PutNodeAddress(const fl_addr& address,
                                      const fl_node_addr& value) = 0;
  virtual absl::Status DeleteNodeAddress(const fl_addr& address) = 0;
};

}  // namespace fairlead::reconcile

#endif  // FAIRLEAD_USERSPACE_RECONCILE_MAP_SET_H_
