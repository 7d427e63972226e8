// SPDX-License-Identifier: Apache-2.0
// BPF maps as typed values: system calls for hashes, plain loads and stores
// for memory-mapped arrays.
//
// Threads: the kernel orders what these do; the objects themselves are not
// synchronised. Errors name the map.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_TYPED_MAP_H_
#define FAIRLEAD_USERSPACE_DATAPATH_TYPED_MAP_H_

#include <bpf/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/status.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::datapath {

// What may be copied into the kernel: no padding that would leak or make two
// equal keys differ.
template <typename T>
concept MapPod = std::is_trivially_copyable_v<T> &&
                 std::is_standard_layout_v<T> &&
                 std::has_unique_object_representations_v<T>;

template <MapPod K, MapPod V>
class TypedMap {
 public:
  TypedMap() = default;
  // Takes ownership of `fd`.
  TypedMap(std::string name, UniqueFd fd)
      : name_(std::move(name)), fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }
  const std::string& name() const { return name_; }

  [[nodiscard]] absl::StatusOr<std::optional<V>> Lookup(const K& key) const {
    V value;
    if (bpf_map_lookup_elem(fd_.get(), &key, &value) == 0) {
      return std::optional<V>(value);
    }
    if (errno == ENOENT) return std::optional<V>();
    return ErrnoStatus(errno, "look up in", name_);
  }

  // Inserts or overwrites. kResourceExhausted if the map is full.
  [[nodiscard]] absl::Status Update(const K& key, const V& value) {
    if (bpf_map_update_elem(fd_.get(), &key, &value, BPF_ANY) == 0) {
      return absl::OkStatus();
    }
    if (errno == E2BIG || errno == ENOSPC) {
      return absl::ResourceExhaustedError(name_ + " is full");
    }
    return ErrnoStatus(errno, "update", name_);
  }

  // OK if it is not there.
  [[nodiscard]] absl::Status Delete(const K& key) {
    if (bpf_map_delete_elem(fd_.get(), &key) == 0 || errno == ENOENT) {
      return absl::OkStatus();
    }
    return ErrnoStatus(errno, "delete from", name_);
  }

  // Until `fn` returns false. Entries that come or go meanwhile may be seen or
  // not; all others are seen exactly once (hash maps).
  [[nodiscard]] absl::Status ForEach(
      absl::FunctionRef<bool(const K&, const V&)> fn) const {
    // A batch must hold at least the longest bucket.
    uint32_t room = 1024;
    std::vector<K> keys(room);
    std::vector<V> values(room);
    alignas(8) char token[sizeof(K) < 8 ? 8 : sizeof(K)];
    bool first = true;
    for (;;) {
      uint32_t count = room;
      int result =
          bpf_map_lookup_batch(fd_.get(), first ? nullptr : token, token,
                               keys.data(), values.data(), &count, nullptr);
      int error = result < 0 ? errno : 0;
      if (error == ENOSPC) {
        room *= 2;
        keys.resize(room);
        values.resize(room);
        continue;
      }
      // ENOENT: this was the last batch, and it may hold entries.
      if (error != 0 && error != ENOENT) {
        return ErrnoStatus(error, "iterate", name_);
      }
      for (uint32_t i = 0; i < count; ++i) {
        if (!fn(keys[i], values[i])) return absl::OkStatus();
      }
      if (error == ENOENT) return absl::OkStatus();
      first = false;
    }
  }

 private:
  std::string name_;
  UniqueFd fd_;
};

// A BPF_F_MMAPABLE array, mapped whole: the kernel maps each page at once, and all
// of them count as this process' memory while it lives. Elements are 8 bytes
// apart at least.
template <MapPod T>
class MmapArray {
 public:
  static constexpr size_t kStride = (sizeof(T) + 7) / 8 * 8;

  // `fd` is only needed during the call.
  [[nodiscard]] static absl::StatusOr<MmapArray> Map(const std::string& name,
                                                     int fd, uint32_t entries,
                                                     bool writable) {
    size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    size_t bytes = (entries * kStride + page - 1) / page * page;
    void* at = mmap(nullptr, bytes, PROT_READ | (writable ? PROT_WRITE : 0),
                    MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) return ErrnoStatus(errno, "mmap", name);
    return MmapArray(static_cast<char*>(at), bytes, entries);
  }

  MmapArray() = default;
  MmapArray(MmapArray&& other) noexcept
      : at_(std::exchange(other.at_, nullptr)),
        bytes_(other.bytes_),
        size_(std::exchange(other.size_, 0)) {}
  MmapArray& operator=(MmapArray&& other) noexcept {
    std::swap(at_, other.at_);
    std::swap(bytes_, other.bytes_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MmapArray() {
    if (at_ != nullptr) munmap(at_, bytes_);
  }

  uint32_t size() const { return size_; }
  // REQUIRES: i < size(). The programs read it at any moment: multi-byte
  // fields that they need whole are written by one aligned store.
  T& operator[](uint32_t i) {
    return *reinterpret_cast<T*>(at_ + i * kStride);
  }
  const T& operator[](uint32_t i) const {
    return *reinterpret_cast<const T*>(at_ + i * kStride);
  }

 private:
  MmapArray(char* at, size_t bytes, uint32_t size)
      : at_(at), bytes_(bytes), size_(size) {}
  char* at_ = nullptr;
  size_t bytes_ = 0;
  uint32_t size_ = 0;
};

// The same, of which a few pages are mapped: those that were asked for last.
template <MapPod T>
class WindowedArray {
 public:
  WindowedArray() = default;
  WindowedArray(std::string name, UniqueFd fd, uint32_t entries)
      : name_(std::move(name)), fd_(std::move(fd)), size_(entries) {}
  WindowedArray(WindowedArray&& other) noexcept { *this = std::move(other); }
  WindowedArray& operator=(WindowedArray&& other) noexcept {
    std::swap(name_, other.name_);
    std::swap(fd_, other.fd_);
    std::swap(size_, other.size_);
    std::swap(at_, other.at_);
    std::swap(first_, other.first_);
    return *this;
  }
  ~WindowedArray() { Unmap(); }

  uint32_t size() const { return size_; }
  const UniqueFd& fd() const { return fd_; }
  // REQUIRES: i < size(). Valid until the next call. As MmapArray's elements,
  // programs read it at any moment.
  absl::StatusOr<T*> At(uint32_t i) {
    const uint32_t first = i / kElements * kElements;
    if (at_ == nullptr || first != first_) {
      Unmap();
      void* at = mmap(nullptr, Bytes(first), PROT_READ | PROT_WRITE, MAP_SHARED,
                      fd_.get(), static_cast<off_t>(first) * kStride);
      if (at == MAP_FAILED) return ErrnoStatus(errno, "mmap", name_);
      at_ = static_cast<char*>(at);
      first_ = first;
    }
    return reinterpret_cast<T*>(at_ + (i - first_) * kStride);
  }

 private:
  static constexpr size_t kStride = MmapArray<T>::kStride;
  // Whole elements on whole pages, anywhere; small, as each page costs its part of
  // the call, and most look-ups are far from the last one.
  static constexpr size_t kWindow = std::lcm(size_t{4} << 10, kStride);
  static constexpr uint32_t kElements = kWindow / kStride;

  size_t Bytes(uint32_t first) const {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t rest = (size_ - first) * kStride;
    return std::min(kWindow, (rest + page - 1) / page * page);
  }
  void Unmap() {
    if (at_ != nullptr) munmap(at_, Bytes(first_));
    at_ = nullptr;
  }

  std::string name_;
  UniqueFd fd_;
  uint32_t size_ = 0;
  char* at_ = nullptr;
  uint32_t first_ = 0;
};

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_TYPED_MAP_H_
