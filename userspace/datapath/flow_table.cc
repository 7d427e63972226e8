// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/flow_table.h"

#include <bpf/bpf.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "bpf/abi/flow_table.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/kernel_maps.h"

namespace fairlead::datapath {
namespace {

constexpr char kSecretMap[] = "fl_flow_secret";
using Secret = decltype(fl_flow_hashing::secret);

constexpr int kClaimTries = 1000;

// Whole pages: 64 buckets of 704 bytes are 11 pages of 4096.
constexpr uint32_t kWindowBuckets = 64;
constexpr size_t kWindowBytes = kWindowBuckets * sizeof(fl_flow_bucket);
static_assert(kWindowBytes % 4096 == 0);

absl::StatusOr<UniqueFd> MakeSecret(const std::string& path) {
  LIBBPF_OPTS(bpf_map_create_opts, options);
  UniqueFd fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, kSecretMap, sizeof(uint32_t),
                             sizeof(Secret), 1, &options));
  if (!fd.valid()) return ErrnoStatus(errno, "make map", kSecretMap);
  FL_ASSIGN_OR_RETURN(fl_flow_hashing hashing, NewFlowHashing(1));
  const uint32_t zero = 0;
  if (bpf_map_update_elem(fd.get(), &zero, hashing.secret, BPF_ANY) != 0) {
    return ErrnoStatus(errno, "write", kSecretMap);
  }
  if (bpf_obj_pin(fd.get(), path.c_str()) != 0) {
    return ErrnoStatus(errno, "pin map", path);
  }
  return fd;
}

// The entry, if `mark` still says that it is one when it has been copied.
std::optional<fl_flow_entry> Read(const fl_flow_bucket& bucket, uint32_t way) {
  const uint64_t mark = FL_FLOW_LOAD(bucket.mark[way]);
  if (mark >> 32 == 0 || (mark & 1) != 0) return std::nullopt;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  const fl_flow_entry entry = bucket.entry[way];
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  // Its rank may change under our eyes.
  const uint64_t now = FL_FLOW_LOAD(bucket.mark[way]);
  if ((now ^ mark) & ~uint64_t{0xffff0000}) return std::nullopt;
  return entry;
}

// As fl_flow_claim; what is there is claimed, too, if it may be overwritten.
int Claim(fl_flow_bucket* first, fl_flow_bucket* second,
          const fl_flow_key& key, uint32_t tag, const fl_flow& flow,
          bool overwrite) {
  for (fl_flow_bucket* bucket : {first, second}) {
    const int way = fl_flow_way(bucket, &key, tag);
    if (way < 0) continue;
    if (!overwrite) return FL_FLOW_EXISTS;
    if (!fl_flow_reclaim(bucket, way, flow.state, flow.last_seen)) {
      return FL_FLOW_FULL;
    }
    return way | (bucket == second ? 8 : 0);
  }
  return fl_flow_claim(first, second, &key, tag, flow.state, flow.last_seen);
}

}  // namespace

fl_flow_key ForwardKey(const fl_flow_key& answer, const fl_flow& flow) {
  fl_flow_key key = answer;
  key.src = answer.dst;
  key.sport = answer.dport;
  key.dst = flow.addr;
  key.dport = flow.port;
  key.hook = FL_HOOK_INGRESS;
  return key;
}

fl_flow_key AnswerKey(const fl_flow_key& forward, const fl_flow& flow) {
  fl_flow_key key = forward;
  key.src = flow.addr;
  key.sport = flow.port;
  key.dst = forward.src;
  key.dport = forward.sport;
  key.hook = FL_HOOK_EGRESS;
  return key;
}

uint32_t FlowBuckets(uint32_t flows) {
  return std::max(std::bit_ceil(flows) / FL_FLOW_WAYS, 1u);
}

absl::StatusOr<fl_flow_hashing> NewFlowHashing(uint32_t buckets) {
  fl_flow_hashing hashing = {};
  if (getrandom(hashing.secret, sizeof hashing.secret, 0) !=
      sizeof hashing.secret) {
    return ErrnoStatus(errno, "getrandom");
  }
  hashing.mask = buckets - 1;
  return hashing;
}

absl::StatusOr<fl_flow_hashing> PinnedFlowHashing(const PinLayout& layout,
                                                  uint32_t buckets) {
  const std::string path = layout.MapPath(kSecretMap);
  UniqueFd fd(bpf_obj_get(path.c_str()));
  if (!fd.valid()) {
    if (errno != ENOENT) return ErrnoStatus(errno, "open pinned map", path);
    FL_ASSIGN_OR_RETURN(fd, MakeSecret(path));
  }
  fl_flow_hashing hashing = {};
  const uint32_t zero = 0;
  if (bpf_map_lookup_elem(fd.get(), &zero, hashing.secret) != 0) {
    return ErrnoStatus(errno, "read", path);
  }
  hashing.mask = buckets - 1;
  return hashing;
}

// Some buckets, mapped; the last ones that were asked for, if not all are.
class FlowTable::Window {
 public:
  explicit Window(const FlowTable& table) : table_(table) {}
  ~Window() { Unmap(); }
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  absl::StatusOr<fl_flow_bucket*> At(uint32_t bucket) {
    if (table_.whole_ != nullptr) return table_.whole_.get() + bucket;
    const uint32_t first = bucket / kWindowBuckets * kWindowBuckets;
    if (at_ == nullptr || first != first_) {
      Unmap();
      const uint32_t count =
          std::min(kWindowBuckets, table_.buckets() - first);
      void* at = mmap(nullptr, count * sizeof(fl_flow_bucket),
                      PROT_READ | PROT_WRITE, MAP_SHARED, table_.fd_.get(),
                      static_cast<off_t>(first) * sizeof(fl_flow_bucket));
      if (at == MAP_FAILED) return ErrnoStatus(errno, "mmap", "fl_flow");
      at_ = static_cast<fl_flow_bucket*>(at);
      bytes_ = count * sizeof(fl_flow_bucket);
      first_ = first;
    }
    return at_ + (bucket - first_);
  }

 private:
  void Unmap() {
    if (at_ != nullptr) munmap(at_, bytes_);
    at_ = nullptr;
  }
  const FlowTable& table_;
  fl_flow_bucket* at_ = nullptr;
  size_t bytes_ = 0;
  uint32_t first_ = 0;
};

absl::StatusOr<FlowTable> FlowTable::Open(const PinLayout& layout) {
  FL_ASSIGN_OR_RETURN(PinnedMap map, OpenPinnedMap(layout, "fl_flow"));
  FL_ASSIGN_OR_RETURN(fl_flow_hashing hashing,
                      PinnedFlowHashing(layout, map.max_entries));
  return FlowTable(std::move(map.fd), hashing);
}

void FlowTable::Unmap::operator()(fl_flow_bucket* at) const {
  munmap(at, bytes);
}

absl::Status FlowTable::MapWhole() {
  const size_t bytes = size_t{buckets()} * sizeof(fl_flow_bucket);
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                  fd_.get(), 0);
  if (at == MAP_FAILED) return ErrnoStatus(errno, "mmap", "fl_flow");
  whole_ = std::unique_ptr<fl_flow_bucket, struct Unmap>(
      static_cast<fl_flow_bucket*>(at), {bytes});
  return absl::OkStatus();
}

absl::StatusOr<std::optional<fl_flow>> FlowTable::Lookup(
    const fl_flow_key& key) const {
  FL_ASSIGN_OR_RETURN(std::optional<Found> found, Find(key));
  if (!found.has_value()) return std::optional<fl_flow>();
  return std::optional<fl_flow>(found->flow);
}

absl::StatusOr<std::optional<FlowTable::Found>> FlowTable::Find(
    const fl_flow_key& key) const {
  const uint64_t hash = fl_flow_hash(&key, &hashing_);
  Window window(*this);
  for (uint32_t index : {fl_flow_first(hash, hashing_.mask),
                         fl_flow_second(hash, hashing_.mask)}) {
    FL_ASSIGN_OR_RETURN(fl_flow_bucket * bucket, window.At(index));
    const int way = fl_flow_way(bucket, &key, fl_flow_tag(hash));
    if (way < 0) continue;
    const auto at = static_cast<uint32_t>(way);
    const uint64_t mark = FL_FLOW_LOAD(bucket->mark[at]);
    std::optional<fl_flow_entry> entry = Read(*bucket, at);
    if (entry.has_value() && fl_flow_key_equal(&entry->key, &key)) {
      return std::optional<Found>(
          Found{index * FL_FLOW_WAYS + at, mark, entry->flow});
    }
  }
  return std::optional<Found>();
}

absl::Status FlowTable::Replace(const Found& found, const fl_flow_key& key,
                                const fl_flow& flow) {
  Window window(*this);
  FL_ASSIGN_OR_RETURN(fl_flow_bucket * bucket,
                      window.At(found.index / FL_FLOW_WAYS));
  const uint32_t way = found.index % FL_FLOW_WAYS;
  const uint64_t mark = FL_FLOW_LOAD(bucket->mark[way]);
  if (!SameFlowMark(mark, found.mark) ||
      !fl_flow_reclaim(bucket, way, flow.state, flow.last_seen)) {
    return absl::AlreadyExistsError("the entry of fl_flow was made anew");
  }
  fl_flow_fill(bucket, way, &key, &flow);
  fl_flow_publish(bucket, way);
  return absl::OkStatus();
}

absl::Status FlowTable::Update(const fl_flow_key& key, const fl_flow& flow) {
  return Write(key, flow, /*overwrite=*/true);
}

absl::Status FlowTable::Insert(const fl_flow_key& key, const fl_flow& flow) {
  return Write(key, flow, /*overwrite=*/false);
}

absl::Status FlowTable::Write(const fl_flow_key& key, const fl_flow& flow,
                              bool overwrite) {
  const uint64_t hash = fl_flow_hash(&key, &hashing_);
  Window windows[] = {Window(*this), Window(*this)};
  FL_ASSIGN_OR_RETURN(fl_flow_bucket * first,
                      windows[0].At(fl_flow_first(hash, hashing_.mask)));
  FL_ASSIGN_OR_RETURN(fl_flow_bucket * second,
                      windows[1].At(fl_flow_second(hash, hashing_.mask)));
  int at = FL_FLOW_FULL;
  // Programs hold what they claim for less than a microsecond.
  for (int i = 0; i < kClaimTries && at == FL_FLOW_FULL; ++i) {
    at = Claim(first, second, key, fl_flow_tag(hash), flow, overwrite);
  }
  if (at == FL_FLOW_EXISTS) {
    return absl::AlreadyExistsError("fl_flow has an entry of this key");
  }
  if (at < 0) return absl::AbortedError("others are writing to fl_flow");
  fl_flow_bucket* bucket = (at & 8) != 0 ? second : first;
  fl_flow_fill(bucket, at, &key, &flow);
  fl_flow_publish(bucket, at);
  return absl::OkStatus();
}

absl::Status FlowTable::Delete(const fl_flow_key& key) {
  const uint64_t hash = fl_flow_hash(&key, &hashing_);
  Window window(*this);
  for (uint32_t index : {fl_flow_first(hash, hashing_.mask),
                         fl_flow_second(hash, hashing_.mask)}) {
    FL_ASSIGN_OR_RETURN(fl_flow_bucket * bucket, window.At(index));
    const int way = fl_flow_way(bucket, &key, fl_flow_tag(hash));
    if (way < 0) continue;
    const auto at = static_cast<uint32_t>(way);
    const uint64_t mark = FL_FLOW_LOAD(bucket->mark[at]);
    // The mark first: what has it is what is compared.
    if ((mark & 1) == 0 && fl_flow_key_equal(&bucket->entry[at].key, &key)) {
      fl_flow_release(bucket, at, mark);
    }
  }
  return absl::OkStatus();
}

absl::Status FlowTable::Walk(
    absl::FunctionRef<bool(fl_flow_bucket&)> fn) const {
  Window window(*this);
  for (uint32_t i = 0; i < buckets(); ++i) {
    FL_ASSIGN_OR_RETURN(fl_flow_bucket * bucket, window.At(i));
    if (!fn(*bucket)) break;
  }
  return absl::OkStatus();
}

absl::Status FlowTable::ForEach(
    absl::FunctionRef<bool(const fl_flow_key&, const fl_flow&)> fn) const {
  return Walk([&](const fl_flow_bucket& bucket) {
    for (uint32_t way = 0; way < FL_FLOW_WAYS; ++way) {
      std::optional<fl_flow_entry> entry = Read(bucket, way);
      if (entry.has_value() && !fn(entry->key, entry->flow)) return false;
    }
    return true;
  });
}

absl::StatusOr<uint64_t> FlowTable::Count() const {
  uint64_t count = 0;
  FL_RETURN_IF_ERROR(Walk([&](const fl_flow_bucket& bucket) {
    for (const auto& mark : bucket.mark) count += FL_FLOW_LOAD(mark) >> 32 != 0;
    return true;
  }));
  return count;
}

absl::Status FlowTable::Clear() {
  return Walk([](fl_flow_bucket& bucket) {
    for (auto& mark : bucket.mark) {
      // Written only where it must: most pages stay clean. What is being made
      // is its maker's.
      const uint64_t now = FL_FLOW_LOAD(mark);
      if (now >> 32 != 0 && (now & 1) == 0) {
        __sync_bool_compare_and_swap(&mark, now, 0);
      }
    }
    return true;
  });
}

}  // namespace fairlead::datapath
