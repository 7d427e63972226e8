// SPDX-License-Identifier: Apache-2.0
// The kernel's service tables in memory, for tests: what a reader would see
// after each operation, and a way to let operations fail.
//
// It survives the reconciler that writes to it, as pinned maps do.
#ifndef FAIRLEAD_TESTS_GOLDEN_FAKE_MAPS_H_
#define FAIRLEAD_TESTS_GOLDEN_FAKE_MAPS_H_

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "userspace/base/ip_address.h"
#include "userspace/reconcile/map_set.h"
#include "userspace/reconcile/plan.h"

namespace fairlead::reconcile {

class FakeMaps : public MapSet {
 public:
  explicit FakeMaps(Capacity capacity = DefaultCapacity());
  static Capacity DefaultCapacity() {
    return {.services = 1 << 18,
            .slots = 1 << 20,
            .backends = 1 << 18,
            .source_ranges = 1 << 16,
            .node_addresses = 1024};
  }

  // Asked before each change with the operation's name ("PutService"); an
  // error makes it fail without effect.
  std::function<absl::Status(std::string_view operation)> fault;

  Capacity capacity() const override { return capacity_; }
  absl::Status ForEachService(
      absl::FunctionRef<void(const fl_service_key&, const fl_service&)> fn)
      const override;
  absl::Status ReadSlots(uint32_t base,
                         absl::Span<uint32_t> out) const override;
  absl::Status ForEachBackend(
      absl::FunctionRef<void(uint32_t, const fl_backend&)> fn) const override;
  absl::Status ForEachSourceRange(
      absl::FunctionRef<void(const fl_source_range_key&)> fn) const override;
  absl::Status ForEachNodeAddress(
      absl::FunctionRef<void(const fl_addr&, const fl_node_addr&)> fn)
      const override;
  absl::Status ReadFilter(Filter filter,
                          absl::Span<uint64_t> words) const override;

  absl::Status SetFilterBit(Filter filter, uint32_t bit) override;
  absl::Status PutBackend(uint32_t id, const fl_backend& backend) override;
  absl::Status SetBackendState(uint32_t id, uint8_t state) override;
  absl::Status PutSlots(uint32_t base,
                        absl::Span<const uint32_t> backend_ids) override;
  absl::Status PutService(const fl_service_key& key,
                          const fl_service& value) override;
  absl::Status DeleteService(const fl_service_key& key) override;
  absl::Status PutSourceRange(const fl_source_range_key& key) override;
  absl::Status DeleteSourceRange(const fl_source_range_key& key) override;
  absl::Status PutNodeAddress(const fl_addr& address,
                              const fl_node_addr& value) override;
  absl::Status DeleteNodeAddress(const fl_addr& address) override;

  // ---- what a reader of the maps sees ----

  const fl_service* FindService(const L4Address& frontend) const;
  uint32_t slot(uint32_t index) const { return slots_[index]; }
  const fl_backend& backend(uint32_t id) const { return backends_[id]; }
  bool filter_bit(Filter filter, const L4Address& address) const;

 private:
  absl::Status Faulty(std::string_view operation) const {
    return fault ? fault(operation) : absl::OkStatus();
  }
  const std::vector<uint64_t>& filter(Filter which) const {
    return which == Filter::kFrontends ? frontend_bits_ : backend_bits_;
  }

  Capacity capacity_;
  std::map<L4Address, fl_service> services_;
  std::vector<uint32_t> slots_;
  std::vector<fl_backend> backends_;
  std::map<std::pair<uint32_t, std::string>, fl_source_range_key> ranges_;
  std::map<IpAddress, fl_node_addr> node_addresses_;
  std::vector<uint64_t> frontend_bits_;
  std::vector<uint64_t> backend_bits_;
};

// Everything that matters in `maps`, one line an entry, sorted; selections as
// lists of endpoints. With `ids`, the numbers too.
std::vector<std::string> DumpMaps(const MapSet& maps, bool ids);

// What must hold whenever a program may look: a published selection lists
// only written backends, every frontend and backend has its filter bit, an id
// is never 0. Empty if all is well.
std::vector<std::string> CheckReadable(const MapSet& maps);

}  // namespace fairlead::reconcile

#endif  // FAIRLEAD_TESTS_GOLDEN_FAKE_MAPS_H_
