// SPDX-License-Identifier: Apache-2.0
// The flow table from user space: the same algorithm as the programs'
// (bpf/abi/flow_table.h) on the same memory.
//
// Pages are mapped window by window: a walk through a large table doesn't make
// it this process' memory.
//
// Threads: const methods from any thread; the programs work on meanwhile. A
// walk sees an entry that stays exactly once, and others or not; what it is
// shown was whole at some moment. Owns its descriptor.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_FLOW_TABLE_H_
#define FAIRLEAD_USERSPACE_DATAPATH_FLOW_TABLE_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/abi/types.h"
#include "userspace/base/unique_fd.h"
#include "userspace/datapath/pin_layout.h"

namespace fairlead::datapath {

// The array's length for a table of at least `flows` entries.
uint32_t FlowBuckets(uint32_t flows);

// Where a table of `buckets` has its keys. The secret is random.
[[nodiscard]] absl::StatusOr<fl_flow_hashing> NewFlowHashing(uint32_t buckets);
// The same, with the secret that is pinned beside the table; made and pinned
// if there is none yet.
[[nodiscard]] absl::StatusOr<fl_flow_hashing> PinnedFlowHashing(
    const PinLayout& layout, uint32_t buckets);

// Does the entry stand for what it stood for? (Its rank, which changes with
// packets, doesn't tell.)
inline bool SameFlowMark(uint64_t a, uint64_t b) {
  return ((a ^ b) & ~uint64_t{0xffff0000}) == 0;
}

// From one entry of a flow to another (bpf/lib/flow.h): "A", the client's
// direction, which makes it exist, has the endpoint; "D", the answers at egress,
// has the frontend.
fl_flow_key ForwardKey(const fl_flow_key& answer, const fl_flow& flow);
fl_flow_key AnswerKey(const fl_flow_key& forward, const fl_flow& flow);

class FlowTable {
 public:
  // An entry, as it was when it was found.
  struct Found {
    uint32_t index = 0;  // bucket * FL_FLOW_WAYS + way
    uint64_t mark = 0;
    fl_flow flow = {};
  };
  [[nodiscard]] static absl::StatusOr<FlowTable> Open(const PinLayout& layout);

  FlowTable() = default;
  // Of the map `fd` (kept), whose programs use `hashing`.
  FlowTable(UniqueFd fd, const fl_flow_hashing& hashing)
      : fd_(std::move(fd)), hashing_(hashing) {}

  // For who visits all of it in no order: a call costs no mapping of its own.
  // As many bytes as the map has, while this table lives.
  [[nodiscard]] absl::Status MapWhole();

  uint32_t buckets() const { return hashing_.mask + 1; }
  uint32_t capacity() const { return buckets() * FL_FLOW_WAYS; }

  [[nodiscard]] absl::StatusOr<std::optional<fl_flow>> Lookup(
      const fl_flow_key& key) const;
  [[nodiscard]] absl::StatusOr<std::optional<Found>> Find(
      const fl_flow_key& key) const;
  // Inserts or overwrites, as a program does: what is in its way goes.
  [[nodiscard]] absl::Status Update(const fl_flow_key& key,
                                    const fl_flow& flow);
  // AlreadyExists: the key has an entry, or a program makes one right now.
  [[nodiscard]] absl::Status Insert(const fl_flow_key& key,
                                    const fl_flow& flow);
  // Overwrites what was found at `key`. AlreadyExists: it has been made anew, or
  // is gone.
  [[nodiscard]] absl::Status Replace(const Found& found,
                                     const fl_flow_key& key,
                                     const fl_flow& flow);
  // OK if it isn't there.
  [[nodiscard]] absl::Status Delete(const fl_flow_key& key);

  // Until `fn` returns false.
  [[nodiscard]] absl::Status ForEach(
      absl::FunctionRef<bool(const fl_flow_key&, const fl_flow&)> fn) const;
  [[nodiscard]] absl::StatusOr<uint64_t> Count() const;
  // REQUIRES: no program runs.
  [[nodiscard]] absl::Status Clear();

 private:
  class Window;
  absl::Status Write(const fl_flow_key& key, const fl_flow& flow,
                     bool overwrite);
  absl::Status Walk(absl::FunctionRef<bool(fl_flow_bucket&)> fn) const;

  struct Unmap {
    size_t bytes;
    void operator()(fl_flow_bucket* at) const;
  };

  UniqueFd fd_;
  fl_flow_hashing hashing_ = {};
  std::unique_ptr<fl_flow_bucket, Unmap> whole_;
};

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_FLOW_TABLE_H_
