// SPDX-License-Identifier: Apache-2.0
#include "userspace/model/cluster.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/container/node_hash_map.h"
#include "userspace/base/strings.h"
#include "userspace/model/compile.h"
#include "userspace/model/explain.h"

namespace fairlead::model {
namespace {

std::string KeyOf(const kube::ObjectMeta& meta) {
  return StrCat(meta.ns, "/", meta.name);
}

}  // namespace

std::string_view ProblemReason(Problem::Kind kind) {
  switch (kind) {
    case Problem::Kind::kBadService:
      return "BadService";
    case Problem::Kind::kBadEndpointSlice:
      return "BadEndpointSlice";
    case Problem::Kind::kConflict:
      return "FrontendConflict";
  }
  return "";
}

// Pointers between the tables stay valid: they are node maps.
struct Cluster::State {
  struct SliceEntry {
    std::string key;
    std::string service;  // key; "" for one that belongs to none
    Slice slice;
    uint64_t listed = 0;
  };
  // Exists while there is a Service or a slice that names it.
  struct ServiceEntry {
    std::string key;
    std::optional<kube::Service> service;  // the last good version
    std::vector<L4Address> claims;         // sorted
    std::vector<const SliceEntry*> slices;  // by key
    uint64_t listed = 0;
  };
  struct BadObject {
    Problem problem;
    uint64_t listed = 0;
  };
  using Slices = absl::InlinedVector<const Slice*, 4>;
  // Oldest Service first, then by key: the same after a restart.
  using Claimants = absl::InlinedVector<ServiceEntry*, 1>;
  using BadObjects = absl::flat_hash_map<std::string, BadObject>;

  explicit State(NodeConfig config)
      : node(std::move(config)), places(node) {}

  static Slices SlicesOf(const ServiceEntry& entry);
  void Dirty(const ServiceEntry& entry) { dirty.insert(entry.key); }
  ServiceEntry& EntryOf(std::string_view key);
  // Is it there, without a version that can be used? When it goes, it is dirty:
  // what the kernel may have of it needs to stay no longer.
  bool IsUnusable(std::string_view key);
  void EraseIfUnused(ServiceEntry* entry);
  ServiceEntry* Find(std::string_view key);
  void SetClaims(ServiceEntry* entry, std::vector<L4Address> claims);
  static bool IsOlder(const ServiceEntry* a, const ServiceEntry* b);
  void Claim(ServiceEntry* entry, const L4Address& address);
  void Unclaim(ServiceEntry* entry, const L4Address& address);
  Problem Conflict(const ServiceEntry& loser, const L4Address& address) const;
  void DetachSlice(SliceEntry* slice);
  void DeleteService(ServiceEntry* entry);
  void DeleteSlice(const std::string& key);
  void Reject(Problem problem, BadObjects* bad, uint64_t listed);
  void EraseUnlisted(BadObjects* bad, uint64_t listed);

  NodeConfig node;
  Places places;
  absl::node_hash_map<std::string, ServiceEntry> services;
  absl::node_hash_map<std::string, SliceEntry> slices;
  absl::flat_hash_map<L4Address, Claimants> claimants;
  absl::flat_hash_set<L4Address> contested;  // with two claimants or more
  absl::flat_hash_set<std::string> dirty;
  bool node_is_dirty = false;  // its addresses are others
  BadObjects bad_services;  // by the object's key
  BadObjects bad_slices;
  std::vector<Problem> new_problems;
  // The number of the list that is under way or was last.
  uint64_t service_list = 0;
  uint64_t slice_list = 0;
  size_t service_count = 0;
  size_t endpoint_count = 0;
};

Cluster::State::Slices Cluster::State::SlicesOf(const ServiceEntry& entry) {
  Slices slices;
  for (const SliceEntry* slice : entry.slices) slices.push_back(&slice->slice);
  return slices;
}

Cluster::State::ServiceEntry& Cluster::State::EntryOf(std::string_view key) {
  ServiceEntry& entry = services[std::string(key)];
  if (entry.key.empty()) entry.key = std::string(key);
  return entry;
}

Cluster::State::ServiceEntry* Cluster::State::Find(std::string_view key) {
  auto it = services.find(Absl(key));
  return it == services.end() ? nullptr : &it->second;
}

bool Cluster::State::IsUnusable(std::string_view key) {
  const ServiceEntry* entry = Find(key);
  return bad_services.contains(Absl(key)) &&
         (entry == nullptr || !entry->service);
}

void Cluster::State::EraseIfUnused(ServiceEntry* entry) {
  if (entry->service || !entry->slices.empty()) return;
  services.erase(std::string(entry->key));
}

Problem Cluster::State::Conflict(const ServiceEntry& loser,
                                 const L4Address& address) const {
  const ServiceEntry& winner = *claimants.at(address).front();
  return {Problem::Kind::kConflict, loser.key, loser.key,
          StrCat(address.ToString(), " belongs to Service ", winner.key)};
}

bool Cluster::State::IsOlder(const ServiceEntry* a, const ServiceEntry* b) {
  return std::tie(a->service->meta.creation, a->key) <
         std::tie(b->service->meta.creation, b->key);
}

void Cluster::State::Claim(ServiceEntry* entry, const L4Address& address) {
  Claimants& all = claimants[address];
  auto at = std::upper_bound(all.begin(), all.end(), entry, IsOlder);
  ServiceEntry* loser = at == all.begin() && !all.empty() ? *at : entry;
  all.insert(at, entry);
  if (all.size() == 1) return;
  contested.insert(address);
  if (loser != entry) Dirty(*loser);
  new_problems.push_back(Conflict(*loser, address));
}

void Cluster::State::Unclaim(ServiceEntry* entry, const L4Address& address) {
  auto it = claimants.find(address);
  Claimants& all = it->second;
  const bool was_first = all.front() == entry;
  all.erase(std::find(all.begin(), all.end(), entry));
  if (all.size() <= 1) contested.erase(address);
  if (all.empty()) {
    claimants.erase(it);
  } else if (was_first) {
    Dirty(*all.front());
  }
}

void Cluster::State::SetClaims(ServiceEntry* entry,
                               std::vector<L4Address> claims) {
  std::sort(claims.begin(), claims.end());
  const std::vector<L4Address> before =
      std::exchange(entry->claims, std::move(claims));
  for (const L4Address& address : before) {
    if (!std::binary_search(entry->claims.begin(), entry->claims.end(),
                            address)) {
      Unclaim(entry, address);
    }
  }
  for (const L4Address& address : entry->claims) {
    if (!std::binary_search(before.begin(), before.end(), address)) {
      Claim(entry, address);
    }
  }
}

void Cluster::State::DetachSlice(SliceEntry* slice) {
  if (slice->service.empty()) return;
  ServiceEntry* entry = Find(slice->service);
  auto& list = entry->slices;
  list.erase(std::find(list.begin(), list.end(), slice));
  Dirty(*entry);
  EraseIfUnused(entry);
  slice->service.clear();
}

void Cluster::State::DeleteService(ServiceEntry* entry) {
  bad_services.erase(entry->key);
  if (entry->service) {
    Dirty(*entry);
    SetClaims(entry, {});
    entry->service.reset();
    --service_count;
  }
  EraseIfUnused(entry);
}

void Cluster::State::DeleteSlice(const std::string& key) {
  bad_slices.erase(key);
  auto it = slices.find(key);
  if (it == slices.end()) return;
  endpoint_count -= it->second.slice.endpoints.size();
  DetachSlice(&it->second);
  slices.erase(it);
}

void Cluster::State::Reject(Problem problem, BadObjects* bad,
                            uint64_t listed) {
  BadObject& entry = (*bad)[problem.object];
  entry.listed = listed;
  if (entry.problem == problem) return;
  entry.problem = problem;
  new_problems.push_back(std::move(problem));
}

void Cluster::State::EraseUnlisted(BadObjects* bad, uint64_t listed) {
  absl::erase_if(*bad,
                 [listed](const auto& e) { return e.second.listed != listed; });
}

Cluster::Cluster(NodeConfig node)
    : state_(std::make_unique<State>(std::move(node))) {}

Cluster::~Cluster() = default;

const NodeConfig& Cluster::node() const { return state_->node; }

void Cluster::SetNode(NodeConfig node) {
  State& s = *state_;
  NodeConfig same_addresses = s.node;
  same_addresses.addresses = node.addresses;
  const bool only_addresses = same_addresses == node;
  if (node == s.node) return;
  s.node_is_dirty |= s.node.addresses != node.addresses;
  s.node = std::move(node);
  if (!only_addresses) {
    s.places.nodes.SetOwn(s.node.name);
    s.places.node_hints.SetOwn(s.node.name);
    s.places.zone_hints.SetOwn(s.node.zone);
  }
  for (const auto& [key, entry] : s.services) {
    if (!entry.service) continue;
    // Whether a source range holds this node is all that the addresses do.
    if (!only_addresses || !entry.service->source_ranges.empty()) {
      s.Dirty(entry);
    }
  }
}

void Cluster::PutService(kube::Service service) {
  State& s = *state_;
  const std::string key = KeyOf(service.meta);
  if (absl::Status status = CheckService(service); !status.ok()) {
    RejectService(key, Std(status.message()));
    return;
  }
  s.bad_services.erase(key);
  State::ServiceEntry& entry = s.EntryOf(key);
  entry.listed = s.service_list;
  // Another one of that name is not as old.
  const bool replaced = entry.service && entry.service->meta.creation !=
                                             service.meta.creation;
  const bool same =
      entry.service && !replaced && SameForProxy(*entry.service, service);
  if (!entry.service) ++s.service_count;
  if (replaced) s.SetClaims(&entry, {});
  entry.service = std::move(service);
  if (same) return;
  std::vector<L4Address> claims;
  for (const FrontendClaim& claim : FrontendClaims(*entry.service)) {
    claims.push_back(claim.address);
  }
  s.SetClaims(&entry, std::move(claims));
  s.Dirty(entry);
}

void Cluster::DeleteService(std::string_view key) {
  State& s = *state_;
  State::ServiceEntry* entry = s.Find(key);
  if (s.IsUnusable(key)) s.dirty.insert(std::string(key));
  s.bad_services.erase(Absl(key));
  if (entry != nullptr) s.DeleteService(entry);
}

void Cluster::PutEndpointSlice(const kube::EndpointSlice& slice) {
  State& s = *state_;
  const std::string key = KeyOf(slice.meta);
  std::string service;
  if (!slice.service_name.empty()) {
    service = StrCat(slice.meta.ns, "/", slice.service_name);
  }
  if (absl::Status status = CheckEndpointSlice(slice); !status.ok()) {
    RejectEndpointSlice(key, service, Std(status.message()));
    return;
  }
  s.bad_slices.erase(key);
  State::SliceEntry& entry = s.slices[key];
  if (entry.key.empty()) entry.key = key;
  entry.listed = s.slice_list;
  Slice compact = CompactSlice(slice, &s.places);
  if (entry.service == service && entry.slice == compact) return;

  s.endpoint_count += compact.endpoints.size();
  s.endpoint_count -= entry.slice.endpoints.size();
  entry.slice = std::move(compact);
  if (entry.service != service) s.DetachSlice(&entry);
  if (service.empty()) return;
  State::ServiceEntry& owner = s.EntryOf(service);
  if (entry.service != service) {
    entry.service = service;
    auto at = std::lower_bound(
        owner.slices.begin(), owner.slices.end(), &entry,
        [](const State::SliceEntry* a, const State::SliceEntry* b) {
          return a->key < b->key;
        });
    owner.slices.insert(at, &entry);
  }
  s.Dirty(owner);
}

void Cluster::DeleteEndpointSlice(std::string_view key) {
  state_->DeleteSlice(std::string(key));
}

void Cluster::RejectService(std::string_view key, std::string_view why) {
  State& s = *state_;
  if (State::ServiceEntry* entry = s.Find(key)) entry->listed = s.service_list;
  s.Reject({Problem::Kind::kBadService, std::string(key), std::string(key),
            std::string(why)},
           &s.bad_services, s.service_list);
}

void Cluster::RejectEndpointSlice(std::string_view key,
                                  std::string_view service,
                                  std::string_view why) {
  State& s = *state_;
  auto it = s.slices.find(Absl(key));
  if (it != s.slices.end()) {
    it->second.listed = s.slice_list;
    if (service.empty()) service = it->second.service;
  }
  s.Reject({Problem::Kind::kBadEndpointSlice, std::string(service),
            std::string(key), std::string(why)},
           &s.bad_slices, s.slice_list);
}

void Cluster::BeginServiceList() { ++state_->service_list; }

void Cluster::EndServiceList() {
  State& s = *state_;
  for (const auto& [key, bad] : s.bad_services) {
    if (bad.listed != s.service_list && s.IsUnusable(key)) s.dirty.insert(key);
  }
  s.EraseUnlisted(&s.bad_services, s.service_list);
  std::vector<std::string> gone;
  for (const auto& [key, entry] : s.services) {
    if (entry.service && entry.listed != s.service_list) gone.push_back(key);
  }
  // A conflict's next winner must not depend on a hash table's order.
  std::sort(gone.begin(), gone.end());
  for (const std::string& key : gone) s.DeleteService(s.Find(key));
}

// What was put carries the list's number; the next list has another one.
void Cluster::AbortServiceList() {}

void Cluster::BeginEndpointSliceList() { ++state_->slice_list; }

void Cluster::EndEndpointSliceList() {
  State& s = *state_;
  s.EraseUnlisted(&s.bad_slices, s.slice_list);
  std::vector<std::string> gone;
  for (const auto& [key, entry] : s.slices) {
    if (entry.listed != s.slice_list) gone.push_back(key);
  }
  for (const std::string& key : gone) s.DeleteSlice(key);
}

void Cluster::AbortEndpointSliceList() {}

bool Cluster::has_dirty() const {
  return !state_->dirty.empty() || state_->node_is_dirty;
}

std::vector<std::string> Cluster::TakeDirty() {
  std::vector<std::string> out(state_->dirty.begin(), state_->dirty.end());
  state_->dirty.clear();
  state_->node_is_dirty = false;
  std::sort(out.begin(), out.end());
  return out;
}

void Cluster::MarkDirty(std::string_view key) {
  state_->dirty.insert(std::string(key));
}

DesiredService Cluster::Desired(std::string_view key) const {
  State& s = *state_;
  const State::ServiceEntry* entry = s.Find(key);
  if (entry == nullptr || !entry->service) return {};
  const State::Slices slices = State::SlicesOf(*entry);
  auto owns = [&s, entry](const L4Address& address) {
    auto it = s.claimants.find(address);
    return it != s.claimants.end() && it->second.front() == entry;
  };
  return Compile(*entry->service, slices, s.node, s.places, owns);
}

std::optional<ExplainedFrontend> Cluster::Explain(
    std::string_view key, const L4Address& address) const {
  const State::ServiceEntry* entry = state_->Find(key);
  if (entry == nullptr || !entry->service) return std::nullopt;
  return ExplainFrontend(*entry->service, State::SlicesOf(*entry),
                         state_->places, address);
}

bool Cluster::has_unusable_service() const {
  for (const auto& [key, bad] : state_->bad_services) {
    if (state_->IsUnusable(key)) return true;
  }
  return false;
}

std::optional<Cluster::HealthCheck> Cluster::HealthCheckOf(
    std::string_view key) const {
  const State::ServiceEntry* entry = state_->Find(key);
  if (entry == nullptr || !entry->service || !IsProxied(*entry->service) ||
      entry->service->type != kube::ServiceType::kLoadBalancer ||
      !entry->service->external_local ||
      entry->service->health_check_node_port == 0) {
    return std::nullopt;
  }
  HealthCheck check;
  check.port = entry->service->health_check_node_port;
  for (const IpAddress& ip : entry->service->cluster_ips) {
    (ip.is_v4() ? check.local_ready4 : check.local_ready6) = 0;
  }
  absl::flat_hash_set<IpAddress> local;
  for (const State::SliceEntry* slice : entry->slices) {
    for (const SliceEndpoint& e : slice->slice.endpoints) {
      if (e.ready && state_->places.nodes.Includes(e.node)) {
        local.insert(e.address);
      }
    }
  }
  for (const IpAddress& ip : local) {
    std::optional<int>& count =
        ip.is_v4() ? check.local_ready4 : check.local_ready6;
    if (count.has_value()) ++*count;
  }
  return check;
}

std::vector<Problem> Cluster::TakeNewProblems() {
  std::vector<Problem> found = std::exchange(state_->new_problems, {});
  if (found.empty()) return found;
  // A Service that took a deleted one's address may have been seen first.
  const std::vector<Problem> standing = problems();
  found.erase(std::remove_if(found.begin(), found.end(),
                             [&standing](const Problem& problem) {
                               return problem.kind ==
                                          Problem::Kind::kConflict &&
                                      std::find(standing.begin(),
                                                standing.end(),
                                                problem) == standing.end();
                             }),
              found.end());
  return found;
}

std::vector<Problem> Cluster::problems() const {
  const State& s = *state_;
  std::vector<Problem> out;
  for (const auto& [key, bad] : s.bad_services) out.push_back(bad.problem);
  for (const auto& [key, bad] : s.bad_slices) out.push_back(bad.problem);
  for (const L4Address& address : s.contested) {
    const State::Claimants& all = s.claimants.at(address);
    for (size_t i = 1; i < all.size(); ++i) {
      out.push_back(s.Conflict(*all[i], address));
    }
  }
  std::sort(out.begin(), out.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.object, a.kind, a.text) <
           std::tie(b.object, b.kind, b.text);
  });
  return out;
}

void Cluster::ForEachService(
    absl::FunctionRef<void(std::string_view, const kube::Service&)> fn) const {
  for (const auto& [key, entry] : state_->services) {
    if (entry.service) fn(key, *entry.service);
  }
}

const kube::Service* Cluster::FindService(std::string_view key) const {
  const State::ServiceEntry* entry = state_->Find(key);
  return entry != nullptr && entry->service ? &*entry->service : nullptr;
}

size_t Cluster::service_count() const { return state_->service_count; }
size_t Cluster::slice_count() const { return state_->slices.size(); }
size_t Cluster::endpoint_count() const { return state_->endpoint_count; }

}  // namespace fairlead::model
