// SPDX-License-Identifier: Apache-2.0
// Backend ids: which address has which, what the kernel's entry says, and who
// still needs it. One entry per {address, port, protocol}, shared by all
// Services that have the endpoint.
//
// An entry is kept by three counts: selections that list it (holders), ports
// that want it to take new flows (users), and ports that only want it to keep
// its flows (keepers). It is freed a grace period after all three became 0.
//
// Pure bookkeeping: writes nothing; whoever does says so with Written().
// Threads: one at a time.
#ifndef FAIRLEAD_USERSPACE_RECONCILE_BACKEND_TABLE_H_
#define FAIRLEAD_USERSPACE_RECONCILE_BACKEND_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bpf/abi/types.h"
#include "userspace/base/ip_address.h"

namespace fairlead::reconcile {

class BackendTable {
 public:
  explicit BackendTable(uint32_t capacity);
  BackendTable(const BackendTable&) = delete;
  BackendTable& operator=(const BackendTable&) = delete;

  // What an earlier process left; ids rising, before anything else.
  void Restore(uint32_t id, const fl_backend& kernel);

  std::optional<uint32_t> Find(const L4Address& address) const;
  // Is this the address' id? Without a look-up.
  bool Is(uint32_t id, const L4Address& address) const {
    return id < id_limit() && records_[id].listed &&
           records_[id].address() == address;
  }
  // The address' id; a new one has a generation that its id never had, and
  // isn't in the kernel yet. kResourceExhausted: none left.
  absl::StatusOr<uint32_t> Acquire(const L4Address& address);

  void AddHolder(uint32_t id) { ++Touch(id).holders; }
  void RemoveHolder(uint32_t id) { --Touch(id).holders; }
  void AddUser(uint32_t id) { ++Touch(id).users; }
  void RemoveUser(uint32_t id) { --Touch(id).users; }
  void AddKeeper(uint32_t id) { ++Touch(id).keepers; }
  void RemoveKeeper(uint32_t id) { --Touch(id).keepers; }

  // As the kernel has it, but for an id that was never written: its state is
  // FREE, the rest is what must be written. REQUIRES: the id was given out.
  fl_backend entry(uint32_t id) const;
  bool InKernel(uint32_t id) const {
    return records_[id].state != FL_BACKEND_FREE;
  }
  fl_backend_state Wanted(uint32_t id) const;
  void Written(uint32_t id, uint8_t state) { records_[id].state = state; }

  // The ids whose counts changed since the last call, each once.
  std::vector<uint32_t> TakeTouched();
  void TouchAll();
  // Starts the grace period of an id that nobody needs (an id that isn't in
  // the kernel is free at once), or ends that of one that is needed again.
  void Settle(uint32_t id, absl::Duration due);
  // Ids whose grace period is over. Free() or Settle() them.
  std::vector<uint32_t> TakeDue(absl::Duration now);
  std::optional<absl::Duration> NextDue() const;
  // The id may be given out again. REQUIRES: the kernel's entry is FREE.
  void Free(uint32_t id);
  // Free() if it was given out in vain.
  void FreeIfUnwritten(uint32_t id);

  // Upper bound of the ids given out so far, exclusive.
  uint32_t id_limit() const { return static_cast<uint32_t>(records_.size()); }
  size_t size() const { return by_address_.size(); }
  size_t waiting() const { return waiting_; }

 private:
  // There are hundreds of thousands.
  struct Record {
    fl_addr addr = {};
    __be16 port = 0;
    uint8_t proto = 0;
    uint8_t state = FL_BACKEND_FREE;
    uint32_t generation = 0;
    uint32_t holders = 0;
    uint32_t users = 0;
    uint32_t keepers = 0;
    bool given : 1 = false;   // the id has an address
    bool listed : 1 = false;  // ... which by_address_ leads from
    bool touched : 1 = false;
    bool waiting : 1 = false;
    uint32_t wait : 28 = 0;  // which entry of `grace_` is its own

    L4Address address() const;
    bool needed() const { return holders + users + keepers > 0; }
  };

  // Ids hash and compare as their addresses: each is in memory once.
  struct AddressHash {
    using is_transparent = void;
    const std::vector<Record>* records;
    size_t operator()(const L4Address& address) const {
      return absl::HashOf(address);
    }
    size_t operator()(uint32_t id) const;
  };
  struct SameAddress {
    using is_transparent = void;
    const std::vector<Record>* records;
    bool operator()(uint32_t id, uint32_t other) const;
    bool operator()(uint32_t id, const L4Address& address) const;
  };

  Record& Touch(uint32_t id);

  uint32_t capacity_;
  size_t waiting_ = 0;
  std::vector<Record> records_;  // by id
  absl::flat_hash_set<uint32_t, AddressHash, SameAddress> by_address_;
  std::deque<uint32_t> free_ids_;  // the one that is free for longest first
  std::vector<uint32_t> touched_;
  struct Waiting {
    absl::Duration due;
    uint32_t id;
    uint32_t wait;  // modulo 2^28
  };
  std::deque<Waiting> grace_;  // by time
  uint32_t waits_ = 0;
};

}  // namespace fairlead::reconcile

#endif  // FAIRLEAD_USERSPACE_RECONCILE_BACKEND_TABLE_H_
