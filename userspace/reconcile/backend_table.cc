// SPDX-License-Identifier: Apache-2.0
#include "userspace/reconcile/backend_table.h"

#include <arpa/inet.h>

#include <cassert>
#include <utility>

#include "userspace/base/strings.h"
#include "userspace/reconcile/plan.h"

namespace fairlead::reconcile {

namespace {
constexpr uint32_t kWaitMask = (1u << 28) - 1;
}

L4Address BackendTable::Record::address() const {
  return {FromAbi(addr), ntohs(port), static_cast<Protocol>(proto)};
}

size_t BackendTable::AddressHash::operator()(uint32_t id) const {
  return absl::HashOf((*records)[id].address());
}

bool BackendTable::SameAddress::operator()(uint32_t id, uint32_t other) const {
  return (*this)(id, (*records)[other].address());
}

bool BackendTable::SameAddress::operator()(uint32_t id,
                                           const L4Address& address) const {
  return (*records)[id].address() == address;
}

BackendTable::BackendTable(uint32_t capacity)
    : capacity_(capacity),
      by_address_(0, AddressHash{&records_}, SameAddress{&records_}) {
  records_.resize(1);  // id 0 is never a backend
}

void BackendTable::Restore(uint32_t id, const fl_backend& kernel) {
  for (uint32_t skipped = id_limit(); skipped < id; ++skipped) {
    free_ids_.push_back(skipped);
  }
  if (id >= id_limit()) records_.resize(id + 1);
  Record& record = records_[id];
  record.addr = kernel.addr;
  record.port = kernel.port;
  record.proto = kernel.proto;
  record.state = kernel.state;
  record.generation = kernel.generation;
  if (kernel.state == FL_BACKEND_FREE) {
    free_ids_.push_back(id);
    return;
  }
  record.given = true;
  // Of two entries with one address the first is as good as the second: the
  // other will have no user.
  record.listed = by_address_.insert(id).second;
}

std::optional<uint32_t> BackendTable::Find(const L4Address& address) const {
  auto it = by_address_.find(address);
  if (it == by_address_.end()) return std::nullopt;
  return *it;
}

absl::StatusOr<uint32_t> BackendTable::Acquire(const L4Address& address) {
  if (std::optional<uint32_t> id = Find(address)) return *id;
  uint32_t id = 0;
  if (!free_ids_.empty()) {
    id = free_ids_.front();
    free_ids_.pop_front();
  } else if (id_limit() < capacity_) {
    id = id_limit();
    records_.emplace_back();
  } else {
    return absl::ResourceExhaustedError(
        StrCat("no backend id left for ", address.ToString(), ": the map has ",
               capacity_));
  }
  Record& record = records_[id];
  uint32_t generation = record.generation + 1;
  if (generation == 0) generation = 1;
  const bool touched = record.touched;
  record = Record{};
  record.touched = touched;
  record.addr = ToAbi(address.address);
  record.port = htons(address.port);
  record.proto = static_cast<uint8_t>(address.protocol);
  record.generation = generation;
  record.given = true;
  record.listed = by_address_.insert(id).second;
  Touch(id);
  return id;
}

fl_backend BackendTable::entry(uint32_t id) const {
  const Record& record = records_[id];
  fl_backend entry = {};
  entry.addr = record.addr;
  entry.port = record.port;
  entry.proto = record.proto;
  entry.state = record.state;
  entry.generation = record.generation;
  entry.weight = 1;
  return entry;
}

BackendTable::Record& BackendTable::Touch(uint32_t id) {
  Record& record = records_[id];
  if (!record.touched && id != 0) {
    record.touched = true;
    touched_.push_back(id);
  }
  return record;
}

fl_backend_state BackendTable::Wanted(uint32_t id) const {
  const Record& record = records_[id];
  if (record.users > 0) return FL_BACKEND_ON;
  return record.keepers > 0 ? FL_BACKEND_DRAIN : FL_BACKEND_OFF;
}

std::vector<uint32_t> BackendTable::TakeTouched() {
  std::vector<uint32_t> out = std::move(touched_);
  touched_.clear();
  for (uint32_t id : out) records_[id].touched = false;
  return out;
}

void BackendTable::TouchAll() {
  for (uint32_t id = 1; id < id_limit(); ++id) {
    if (InKernel(id)) Touch(id);
  }
}

void BackendTable::Settle(uint32_t id, absl::Duration due) {
  Record& record = records_[id];
  if (!record.given) return;
  if (record.needed()) {
    waiting_ -= record.waiting;
    record.waiting = false;
    return;
  }
  if (!InKernel(id)) {
    Free(id);
    return;
  }
  if (record.waiting) return;
  record.waiting = true;
  ++waiting_;
  record.wait = ++waits_ & kWaitMask;
  grace_.push_back({due, id, record.wait});
}

std::vector<uint32_t> BackendTable::TakeDue(absl::Duration now) {
  std::vector<uint32_t> out;
  while (!grace_.empty() && grace_.front().due <= now) {
    const auto [due, id, wait] = grace_.front();
    grace_.pop_front();
    Record& record = records_[id];
    // It may have been in use again since, and even be waiting anew.
    if (!record.waiting || record.wait != wait) continue;
    record.waiting = false;
    --waiting_;
    out.push_back(id);
  }
  return out;
}

std::optional<absl::Duration> BackendTable::NextDue() const {
  if (grace_.empty()) return std::nullopt;
  return grace_.front().due;
}

void BackendTable::Free(uint32_t id) {
  Record& record = records_[id];
  assert(record.given && !record.needed() && !InKernel(id));
  record.given = false;
  // A restored second entry of an address isn't the one that is listed.
  auto it = by_address_.find(id);
  if (it != by_address_.end() && *it == id) by_address_.erase(it);
  record.listed = false;
  free_ids_.push_back(id);
}

void BackendTable::FreeIfUnwritten(uint32_t id) {
  const Record& record = records_[id];
  if (record.given && !record.needed() && !InKernel(id)) Free(id);
}

}  // namespace fairlead::reconcile
