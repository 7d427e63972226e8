// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/predecessor.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "bpf/abi/filter.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/attach.h"
#include "userspace/datapath/map_sizes.h"

namespace fairlead::datapath {
namespace {

using reconcile::Filter;

// Entries as bytes, in batches; `fn` may be called twice for one that moves
// meanwhile.
absl::Status ForEachRaw(int map, const MapLayout& layout,
                        absl::FunctionRef<absl::Status(const void* key,
                                                       const void* value)> fn) {
  uint32_t room = 256;
  std::vector<char> keys, values;
  std::vector<char> token(std::max<size_t>(layout.key.size, 8));
  for (bool first = true;; first = false) {
    uint32_t count;
    int error;
    do {
      count = room;
      keys.resize(size_t{room} * layout.key.size);
      values.resize(size_t{room} * layout.value.size);
      error = bpf_map_lookup_batch(map, first ? nullptr : token.data(),
                                   token.data(), keys.data(), values.data(),
                                   &count, nullptr) < 0
                  ? errno
                  : 0;
      // A bucket of a hash is read whole.
      if (error == ENOSPC) room *= 2;
    } while (error == ENOSPC && room <= 1 << 20);
    if (error != 0 && error != ENOENT) return ErrnoStatus(error, "read map");
    for (uint32_t i = 0; i < count; ++i) {
      FL_RETURN_IF_ERROR(fn(keys.data() + size_t{i} * layout.key.size,
                            values.data() + size_t{i} * layout.value.size));
    }
    if (error == ENOENT) return absl::OkStatus();
  }
}

// Nobody writes it now, and it is in use.
bool IsWhole(uint64_t mark) { return mark >> 32 != 0 && (mark & 1) == 0; }
}  // namespace

absl::StatusOr<std::vector<PinLayout>> FindVersions(const std::string& root) {
  FL_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(root));
  std::vector<std::pair<uint32_t, PinLayout>> found;
  for (const std::string& name : names) {
    PinLayout layout(root, name);
    const uint32_t version = VersionOf(name);
    if (version == 0 ||
        access(layout.MapPath("fl_service").c_str(), F_OK) != 0) {
      continue;
    }
    found.emplace_back(version, std::move(layout));
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<PinLayout> layouts;
  for (auto& [version, layout] : found) layouts.push_back(std::move(layout));
  return layouts;
}

absl::StatusOr<std::vector<PinLayout>> FindPredecessors(const PinLayout& ours) {
  FL_ASSIGN_OR_RETURN(std::vector<PinLayout> layouts,
                      FindVersions(ours.root()));
  std::erase_if(layouts, [&](const PinLayout& layout) {
    return layout.version_dir() == ours.version_dir();
  });
  return layouts;
}

absl::StatusOr<std::unique_ptr<Predecessor>> Predecessor::Open(
    const PinLayout& theirs, const PinLayout& ours, KernelMaps* maps) {
  std::unique_ptr<Predecessor> found(new Predecessor(theirs, ours, maps));
  FL_ASSIGN_OR_RETURN(found->flows_, FlowTable::Open(ours));
  FL_RETURN_IF_ERROR(found->flows_.MapWhole());
  found->our_marks_.resize(found->flows_.capacity());
  FL_ASSIGN_OR_RETURN(found->from_, ReadLayouts(theirs));
  FL_ASSIGN_OR_RETURN(found->to_, ReadLayouts(ours));
  return found;
}

absl::StatusOr<Predecessor::Pair> Predecessor::OpenPair(
    const std::string& name) const {
  Pair pair = {.name = name};
  FL_ASSIGN_OR_RETURN(PinnedMap theirs, OpenPinnedMap(theirs_, name));
  FL_ASSIGN_OR_RETURN(PinnedMap ours, OpenPinnedMap(ours_, name));
  pair.theirs = std::move(theirs.fd);
  pair.ours = std::move(ours.fd);
  auto from = from_.find(name), to = to_.find(name);
  if (from == from_.end() || to == to_.end()) {
    return absl::NotFoundError(StrCat("no layout of map ", name));
  }
  pair.from = from->second;
  // Buffers are as large as the layout says.
  if (pair.from.key.size != theirs.key_size ||
      pair.from.value.size != theirs.value_size) {
    return absl::FailedPreconditionError(
        StrCat("map ", name, " is not what its layout says"));
  }
  pair.key = RecordConversion(pair.from.key, to->second.key);
  pair.value = RecordConversion(pair.from.value, to->second.value);
  return pair;
}

template <typename K, typename V>
absl::Status Predecessor::ForEach(
    const Pair& pair, absl::FunctionRef<absl::Status(const K&, const V&)> fn) {
  absl::Status status = ForEachRaw(
      pair.theirs.get(), pair.from,
      [&](const void* raw_key, const void* raw_value) {
        K key;
        V value;
        pair.key.Convert(raw_key, &key);
        pair.value.Convert(raw_value, &value);
        return fn(key, value);
      });
  return WithContext(status, pair.name);
}

template <typename K, typename V>
absl::Status Predecessor::CopyEntries(const std::string& name, Which which,
                                      uint64_t* count) {
  FL_ASSIGN_OR_RETURN(Pair pair, OpenPair(name));
  return ForEach<K, V>(pair, [&](const K& key, const V& value) {
    const uint64_t flags = which == Which::kAll ? BPF_ANY : BPF_NOEXIST;
    if (bpf_map_update_elem(pair.ours.get(), &key, &value, flags) == 0) {
      if (count != nullptr) ++*count;
    } else if (errno != EEXIST) {
      return ErrnoStatus(errno, "update", name);
    }
    return absl::OkStatus();
  });
}

absl::Status Predecessor::SetFilterBit(Filter filter, const fl_addr& addr,
                                       __be16 port, uint8_t proto) {
  return maps_->SetFilterBit(filter, fl_filter_bit(&addr, port, proto));
}

// Free ones too: their generations must go on rising, and removed endpoints
// may have flows.
absl::Status Predecessor::CopyBackends() {
  FL_ASSIGN_OR_RETURN(Pair backends, OpenPair("fl_backend"));
  return ForEach<uint32_t, fl_backend>(
      backends, [&](const uint32_t& id, const fl_backend& backend) {
        if (id == 0 || backend.generation == 0) return absl::OkStatus();
        ++stats_.backends;
        FL_RETURN_IF_ERROR(SetFilterBit(Filter::kBackends, backend.addr,
                                        backend.port, backend.proto));
        return maps_->PutBackend(id, backend);
      });
}

absl::Status Predecessor::CopyTables() {
  FL_RETURN_IF_ERROR(CopyBackends());
  FL_ASSIGN_OR_RETURN(Pair slots, OpenPair("fl_slot"));
  FL_RETURN_IF_ERROR((ForEach<uint32_t, uint32_t>(
      slots, [&](const uint32_t& slot, const uint32_t& backend) {
        return backend == 0 ? absl::OkStatus()
                            : maps_->PutSlots(slot, {&backend, 1});
      })));
  FL_RETURN_IF_ERROR((CopyEntries<fl_source_range_key, uint32_t>(
      "fl_source_range", Which::kAll, nullptr)));
  FL_RETURN_IF_ERROR((CopyEntries<fl_addr, fl_node_addr>(
      "fl_node_addr", Which::kAll, nullptr)));
  FL_RETURN_IF_ERROR(
      (CopyEntries<uint32_t, fl_node>("fl_node", Which::kAll, nullptr)));
  FL_RETURN_IF_ERROR(
      (CopyEntries<uint32_t, fl_device>("fl_device", Which::kAll, nullptr)));
  // Versions before 6 don't have it.
  if (from_.contains("fl_foreign")) {
    FL_RETURN_IF_ERROR((CopyEntries<fl_flow_key, uint32_t>(
        "fl_foreign", Which::kAll, nullptr)));
  }
  FL_ASSIGN_OR_RETURN(Pair services, OpenPair("fl_service"));
  return ForEach<fl_service_key, fl_service>(
      services, [&](const fl_service_key& key, const fl_service& service) {
        ++stats_.services;
        FL_RETURN_IF_ERROR(SetFilterBit(Filter::kFrontends, key.addr, key.port,
                                        key.proto));
        return maps_->PutService(key, service);
      });
}

absl::Status Predecessor::CopyState(Which which) {
  FL_RETURN_IF_ERROR(CopyFlows(which));
  FL_RETURN_IF_ERROR(CopyPeers(which));
  FL_RETURN_IF_ERROR((CopyEntries<fl_socket_key, fl_socket>(
      "fl_socket", which, &stats_.sockets)));
  return CopyEntries<fl_affinity_key, fl_affinity>("fl_affinity", which,
                                                   nullptr);
}

absl::Status Predecessor::CopyFlow(const FlowCopy& theirs, Which which) {
  const fl_flow_key& key = theirs.entry.key;
  // Flows are only looked up if the endpoint's bit is set, or the frontend's;
  // one that was removed has no other way to get it.
  if (key.hook == FL_HOOK_EGRESS) {
    FL_RETURN_IF_ERROR(
        SetFilterBit(Filter::kBackends, key.src, key.sport, key.proto));
  } else if ((theirs.entry.flow.flags & FL_FLOW_REPLY) == 0) {
    FL_RETURN_IF_ERROR(
        SetFilterBit(Filter::kFrontends, key.dst, key.dport, key.proto));
  }
  if (which == Which::kMissing) return MergeFlow(theirs);
  FL_RETURN_IF_ERROR(flows_.Update(key, theirs.entry.flow));
  ++stats_.flow_entries;
  FL_ASSIGN_OR_RETURN(std::optional<FlowTable::Found> copy, flows_.Find(key));
  if (copy.has_value()) {
    their_marks_[theirs.index] = theirs.mark;
    our_marks_[copy->index] = copy->mark;
  }
  return absl::OkStatus();
}

// Our programs run. An entry that they have made is the newest; over a copy,
// theirs is, but for what its flow's packets have shown here since.
absl::Status Predecessor::MergeFlow(const FlowCopy& theirs) {
  const fl_flow_key& key = theirs.entry.key;
  fl_flow flow = theirs.entry.flow;
  FL_ASSIGN_OR_RETURN(std::optional<FlowTable::Found> copy, flows_.Find(key));
  if (copy.has_value() &&
      !SameFlowMark(copy->mark, our_marks_[copy->index])) {
    return absl::OkStatus();
  }
  if (copy.has_value() &&
      SameFlowMark(theirs.mark, their_marks_[theirs.index])) {
    flow.state = std::max(flow.state, copy->flow.state);
    flow.last_seen = std::max(flow.last_seen, copy->flow.last_seen);
    if (flow.state == copy->flow.state) return absl::OkStatus();
  }
  absl::Status status = copy.has_value() ? flows_.Replace(*copy, key, flow)
                                         : flows_.Insert(key, flow);
  // A program was quicker.
  if (absl::IsAlreadyExists(status)) return absl::OkStatus();
  if (status.ok()) ++stats_.flow_entries;
  return status;
}

// What makes a flow exist comes last, as when a program opens one.
absl::Status Predecessor::CopyFlows(Which which) {
  FL_ASSIGN_OR_RETURN(Pair pair, OpenPair("fl_flow"));
  std::vector<char> again(pair.from.value.size);
  std::vector<FlowCopy> last;
  FL_RETURN_IF_ERROR(ForEachRaw(
      pair.theirs.get(), pair.from, [&](const void* key, const void* raw) {
        fl_flow_bucket bucket, later;
        pair.value.Convert(raw, &bucket);
        if (std::none_of(std::begin(bucket.mark), std::end(bucket.mark),
                         IsWhole)) {
          return absl::OkStatus();
        }
        if (bpf_map_lookup_elem(pair.theirs.get(), key, again.data()) != 0) {
          return ErrnoStatus(errno, "read", pair.name);
        }
        pair.value.Convert(again.data(), &later);
        uint32_t place;
        pair.key.Convert(key, &place);
        for (uint32_t way = 0; way < FL_FLOW_WAYS; ++way) {
          // The marks were read before the entries the first time: what has
          // kept its mark is whole.
          if (!IsWhole(bucket.mark[way]) ||
              !SameFlowMark(bucket.mark[way], later.mark[way])) {
            continue;
          }
          const FlowCopy theirs = {place * FL_FLOW_WAYS + way,
                                   bucket.mark[way], bucket.entry[way]};
          if (theirs.index >= their_marks_.size()) {
            their_marks_.resize(theirs.index + 1);
          }
          if (theirs.entry.flow.flags & FL_FLOW_REPLY) {
            FL_RETURN_IF_ERROR(CopyFlow(theirs, which));
          } else {
            last.push_back(theirs);
          }
        }
        return absl::OkStatus();
      }));
  for (const FlowCopy& theirs : last) {
    FL_RETURN_IF_ERROR(CopyFlow(theirs, which));
  }
  return absl::OkStatus();
}

// A socket's place is given by its cookie. One that was closed between two
// copies must not keep its place here.
absl::Status Predecessor::CopyPeers(Which which) {
  FL_ASSIGN_OR_RETURN(Pair pair, OpenPair("fl_peer"));
  absl::flat_hash_map<uint32_t, uint64_t> copied = std::exchange(peers_, {});
  auto read = [&](uint32_t place, fl_peer* peer) {
    return bpf_map_lookup_elem(pair.ours.get(), &place, peer) == 0
               ? absl::OkStatus()
               : ErrnoStatus(errno, "read", pair.name);
  };
  auto write = [&](uint32_t place, const fl_peer& peer) {
    return bpf_map_update_elem(pair.ours.get(), &place, &peer, BPF_ANY) == 0
               ? absl::OkStatus()
               : ErrnoStatus(errno, "write", pair.name);
  };
  FL_RETURN_IF_ERROR((ForEach<uint32_t, fl_peer>(
      pair, [&](const uint32_t&, const fl_peer& peer) {
        if (peer.cookie == 0) return absl::OkStatus();
        const auto place =
            static_cast<uint32_t>(peer.cookie & (FL_PEER_ENTRIES - 1));
        fl_peer there = {};
        FL_RETURN_IF_ERROR(read(place, &there));
        peers_[place] = peer.cookie;
        copied.erase(place);
        if (there.cookie != 0 &&
            (which == Which::kMissing || there.cookie == peer.cookie)) {
          return absl::OkStatus();
        }
        ++stats_.sockets;
        return write(place, peer);
      })));
  for (const auto& [place, cookie] : copied) {
    fl_peer there = {};
    FL_RETURN_IF_ERROR(read(place, &there));
    if (there.cookie == cookie) FL_RETURN_IF_ERROR(write(place, {}));
  }
  return absl::OkStatus();
}

absl::Status Predecessor::MoveLinks() {
  FL_ASSIGN_OR_RETURN(std::vector<std::string> names,
                      ListDirectory(theirs_.LinksDir()));
  for (const std::string& name : names) {
    // Of a hook that we don't use: ends with their version.
    if (!IsLinkName(name)) continue;
    const std::string from = StrCat(theirs_.LinksDir(), "/", name);
    const std::string to = StrCat(ours_.LinksDir(), "/", name);
    if (std::rename(from.c_str(), to.c_str()) != 0) {
      return ErrnoStatus(errno, "move pinned link", from);
    }
  }
  return absl::OkStatus();
}

}  // namespace fairlead::datapath
