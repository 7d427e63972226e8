// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/kernel_maps.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <cstring>

#include "bpf/abi/filter.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::datapath {
namespace {

// The programs can only read fl_frontend safely where loads aren't reordered;
// elsewhere it stays empty and they ask fl_service.
#if defined(__x86_64__)
constexpr bool kUseFrontends = true;
#else
constexpr bool kUseFrontends = false;
#endif

// Makes readers of one fl_frontend entry ask fl_service while it lives. A
// process that dies in between leaves the entry closed, which is slower, not
// wrong.
class ClosedFrontend {
 public:
  explicit ClosedFrontend(fl_frontend* entry) : entry_(entry) {
    // Also odd if a former process left it so.
    __atomic_store_n(&entry_->sequence, entry_->sequence | 1,
                     __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
  }
  ~ClosedFrontend() {
    __atomic_store_n(&entry_->sequence, entry_->sequence + 1,
                     __ATOMIC_RELEASE);
  }
  bool Holds(const fl_service_key& key) const {
    return entry_->port == key.port && entry_->proto == key.proto &&
           memcmp(&entry_->addr, &key.addr, sizeof(key.addr)) == 0;
  }
  void Set(const fl_service_key& key, const fl_service& value) {
    entry_->addr = key.addr;
    entry_->port = key.port;
    entry_->proto = key.proto;
    entry_->service = value;
  }

 private:
  fl_frontend* entry_;
};

absl::Status OutOfRange(std::string_view what, uint64_t index, uint64_t size) {
  return absl::OutOfRangeError(
      StrCat(what, " ", index, " is beyond the map's ", size));
}

template <typename T>
absl::StatusOr<MmapArray<T>> MapPinnedArray(const PinLayout& layout,
                                            std::string_view name) {
  FL_ASSIGN_OR_RETURN(PinnedMap map, OpenPinnedMap(layout, name));
  return MmapArray<T>::Map(std::string(name), map.fd.get(), map.max_entries,
                           /*writable=*/true);
}

template <typename T>
absl::Status OpenArray(const PinLayout& layout, std::string_view name,
                       WindowedArray<T>* array) {
  FL_ASSIGN_OR_RETURN(PinnedMap map, OpenPinnedMap(layout, name));
  *array = WindowedArray<T>(std::string(name), std::move(map.fd),
                            map.max_entries);
  return absl::OkStatus();
}

template <typename K, typename V>
absl::Status OpenHash(const PinLayout& layout, std::string_view name,
                      TypedMap<K, V>* map, uint32_t* capacity) {
  FL_ASSIGN_OR_RETURN(PinnedMap pinned, OpenPinnedMap(layout, name));
  *capacity = pinned.max_entries;
  *map = TypedMap<K, V>(std::string(name), std::move(pinned.fd));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PinnedMap> OpenPinnedMap(const PinLayout& layout,
                                        std::string_view name) {
  std::string path = layout.MapPath(name);
  PinnedMap map;
  map.fd.reset(bpf_obj_get(path.c_str()));
  if (!map.fd.valid()) return ErrnoStatus(errno, "open pinned map", path);
  bpf_map_info info = {};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(map.fd.get(), &info, &size) != 0) {
    return ErrnoStatus(errno, "inspect map", path);
  }
  map.key_size = info.key_size;
  map.value_size = info.value_size;
  map.max_entries = info.max_entries;
  return map;
}

absl::StatusOr<std::unique_ptr<KernelMaps>> KernelMaps::Open(
    const PinLayout& layout) {
  std::unique_ptr<KernelMaps> maps(new KernelMaps());
  Capacity& capacity = maps->capacity_;
  FL_RETURN_IF_ERROR(OpenHash(layout, "fl_service", &maps->services_,
                              &capacity.services));
  FL_RETURN_IF_ERROR(OpenHash(layout, "fl_source_range",
                              &maps->source_ranges_, &capacity.source_ranges));
  FL_RETURN_IF_ERROR(OpenHash(layout, "fl_node_addr", &maps->node_addresses_,
                              &capacity.node_addresses));
  FL_RETURN_IF_ERROR(OpenArray(layout, "fl_frontend", &maps->frontends_));
  FL_RETURN_IF_ERROR(OpenArray(layout, "fl_slot", &maps->slots_));
  FL_RETURN_IF_ERROR(OpenArray(layout, "fl_backend", &maps->backends_));
  FL_ASSIGN_OR_RETURN(maps->filter_fe_,
                      MapPinnedArray<uint64_t>(layout, "fl_filter_fe"));
  FL_ASSIGN_OR_RETURN(maps->filter_be_,
                      MapPinnedArray<uint64_t>(layout, "fl_filter_be"));
  capacity.slots = maps->slots_.size();
  capacity.backends = maps->backends_.size();
  return maps;
}

absl::Status KernelMaps::ForEachService(
    absl::FunctionRef<void(const fl_service_key&, const fl_service&)> fn)
    const {
  return services_.ForEach(
      [&](const fl_service_key& key, const fl_service& value) {
        fn(key, value);
        return true;
      });
}

absl::Status KernelMaps::ReadSlots(uint32_t base,
                                   absl::Span<uint32_t> out) const {
  if (out.size() > slots_.size() || base > slots_.size() - out.size()) {
    return OutOfRange("slot", base + uint64_t{out.size()}, slots_.size());
  }
  for (size_t i = 0; i < out.size(); ++i) {
    FL_ASSIGN_OR_RETURN(const uint32_t* slot,
                        slots_.At(base + static_cast<uint32_t>(i)));
    out[i] = *slot;
  }
  return absl::OkStatus();
}

absl::Status KernelMaps::ForEachBackend(
    absl::FunctionRef<void(uint32_t, const fl_backend&)> fn) const {
  FL_ASSIGN_OR_RETURN(
      MmapArray<fl_backend> scan,
      MmapArray<fl_backend>::Map("fl_backend", backends_.fd().get(),
                                 backends_.size(), /*writable=*/false));
  for (uint32_t id = 1; id < scan.size(); ++id) {
    if (scan[id].generation != 0) fn(id, scan[id]);
  }
  return absl::OkStatus();
}

absl::Status KernelMaps::ForEachSourceRange(
    absl::FunctionRef<void(const fl_source_range_key&)> fn) const {
  return source_ranges_.ForEach(
      [&](const fl_source_range_key& key, const uint32_t&) {
        fn(key);
        return true;
      });
}

absl::Status KernelMaps::ForEachNodeAddress(
    absl::FunctionRef<void(const fl_addr&, const fl_node_addr&)> fn) const {
  return node_addresses_.ForEach(
      [&](const fl_addr& address, const fl_node_addr& value) {
        fn(address, value);
        return true;
      });
}

absl::Status KernelMaps::ReadFilter(reconcile::Filter which,
                                    absl::Span<uint64_t> words) const {
  const MmapArray<uint64_t>& bits =
      which == reconcile::Filter::kFrontends ? filter_fe_ : filter_be_;
  if (words.size() > bits.size()) {
    return OutOfRange("filter word", words.size(), bits.size());
  }
  for (uint32_t i = 0; i < words.size(); ++i) words[i] = bits[i];
  return absl::OkStatus();
}

absl::Status KernelMaps::SetFilterBit(reconcile::Filter which, uint32_t bit) {
  MmapArray<uint64_t>& bits = filter(which);
  if (bit / 64 >= bits.size()) {
    return OutOfRange("filter bit", bit, bits.size() * uint64_t{64});
  }
  __atomic_fetch_or(&bits[bit / 64], uint64_t{1} << (bit % 64),
                    __ATOMIC_RELEASE);
  return absl::OkStatus();
}

absl::Status KernelMaps::PutBackend(uint32_t id, const fl_backend& backend) {
  if (id == 0 || id >= backends_.size()) {
    return OutOfRange("backend", id, backends_.size());
  }
  FL_ASSIGN_OR_RETURN(fl_backend * entry, backends_.At(id));
  entry->generation = backend.generation;
  entry->addr = backend.addr;
  entry->port = backend.port;
  entry->proto = backend.proto;
  entry->weight = backend.weight;
  entry->pad = backend.pad;
  entry->pad2 = backend.pad2;
  __atomic_store_n(&entry->state, backend.state, __ATOMIC_RELEASE);
  return absl::OkStatus();
}

absl::Status KernelMaps::SetBackendState(uint32_t id, uint8_t state) {
  if (id == 0 || id >= backends_.size()) {
    return OutOfRange("backend", id, backends_.size());
  }
  FL_ASSIGN_OR_RETURN(fl_backend * entry, backends_.At(id));
  __atomic_store_n(&entry->state, state, __ATOMIC_RELEASE);
  return absl::OkStatus();
}

absl::Status KernelMaps::PutSlots(uint32_t base,
                                  absl::Span<const uint32_t> backend_ids) {
  size_t count = backend_ids.size();
  if (count > slots_.size() || base > slots_.size() - count) {
    return OutOfRange("slot", base + uint64_t{count}, slots_.size());
  }
  for (size_t i = 0; i < count; ++i) {
    FL_ASSIGN_OR_RETURN(uint32_t * slot,
                        slots_.At(base + static_cast<uint32_t>(i)));
    __atomic_store_n(slot, backend_ids[i], __ATOMIC_RELAXED);
  }
  // What publishes them comes after, as another store or a system call.
  __atomic_thread_fence(__ATOMIC_RELEASE);
  return absl::OkStatus();
}

absl::StatusOr<fl_frontend*> KernelMaps::Frontend(const fl_service_key& key) {
  return frontends_.At(fl_filter_bit(&key.addr, key.port, key.proto) %
                       FL_FRONTEND_ENTRIES);
}

absl::Status KernelMaps::PutService(const fl_service_key& key,
                                    const fl_service& value) {
  FL_ASSIGN_OR_RETURN(fl_frontend * entry, Frontend(key));
  ClosedFrontend frontend(entry);
  FL_RETURN_IF_ERROR(services_.Update(key, value));
  if (kUseFrontends) frontend.Set(key, value);
  return absl::OkStatus();
}

absl::Status KernelMaps::DeleteService(const fl_service_key& key) {
  FL_ASSIGN_OR_RETURN(fl_frontend * entry, Frontend(key));
  ClosedFrontend frontend(entry);
  FL_RETURN_IF_ERROR(services_.Delete(key));
  if (frontend.Holds(key)) frontend.Set({}, {});
  return absl::OkStatus();
}

absl::Status KernelMaps::PutSourceRange(const fl_source_range_key& key) {
  return source_ranges_.Update(key, 1);
}

absl::Status KernelMaps::DeleteSourceRange(const fl_source_range_key& key) {
  return source_ranges_.Delete(key);
}

absl::Status KernelMaps::PutNodeAddress(const fl_addr& address,
                                        const fl_node_addr& value) {
  return node_addresses_.Update(address, value);
}

absl::Status KernelMaps::DeleteNodeAddress(const fl_addr& address) {
  return node_addresses_.Delete(address);
}

}  // namespace fairlead::datapath
