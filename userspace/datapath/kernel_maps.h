// SPDX-License-Identifier: Apache-2.0
// reconcile::MapSet over the pinned BPF maps.
//
// Threads: the writing methods belong to the loop thread; the kernel orders
// reads from anywhere. Owns descriptors and memory mappings, not the pins.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_KERNEL_MAPS_H_
#define FAIRLEAD_USERSPACE_DATAPATH_KERNEL_MAPS_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/abi/types.h"
#include "userspace/datapath/pin_layout.h"
#include "userspace/datapath/typed_map.h"
#include "userspace/reconcile/map_set.h"

namespace fairlead::datapath {

class KernelMaps final : public reconcile::MapSet {
 public:
  // Opens what is pinned. kNotFound if a map is missing.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<KernelMaps>> Open(
      const PinLayout& layout);

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
  absl::Status ReadFilter(reconcile::Filter filter,
                          absl::Span<uint64_t> words) const override;

  absl::Status SetFilterBit(reconcile::Filter filter, uint32_t bit) override;
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

 private:
  KernelMaps() = default;
  MmapArray<uint64_t>& filter(reconcile::Filter which) {
    return which == reconcile::Filter::kFrontends ? filter_fe_ : filter_be_;
  }

  // The place of `key` in fl_frontend.
  absl::StatusOr<fl_frontend*> Frontend(const fl_service_key& key);

  Capacity capacity_;
  TypedMap<fl_service_key, fl_service> services_;
  TypedMap<fl_source_range_key, uint32_t> source_ranges_;
  TypedMap<fl_addr, fl_node_addr> node_addresses_;
  WindowedArray<fl_frontend> frontends_;
  mutable WindowedArray<uint32_t> slots_;
  WindowedArray<fl_backend> backends_;
  MmapArray<uint64_t> filter_fe_;
  MmapArray<uint64_t> filter_be_;
};

// A map pinned under `layout`, and its sizes. kNotFound if it isn't there.
struct PinnedMap {
  UniqueFd fd;
  uint32_t key_size = 0;
  uint32_t value_size = 0;
  uint32_t max_entries = 0;
};
[[nodiscard]] absl::StatusOr<PinnedMap> OpenPinnedMap(const PinLayout& layout,
                                                      std::string_view name);

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_KERNEL_MAPS_H_
