// SPDX-License-Identifier: Apache-2.0
// From a Service's desired state to operations, and their bookkeeping.
#include <arpa/inet.h>

#include <algorithm>
#include <boost/crc.hpp>

#include "bpf/abi/filter.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/reconcile/reconciler_impl.h"

namespace fairlead::reconcile {
namespace {

using model::DesiredPort;
using model::DesiredService;
using model::EndpointSet;

// Does a frontend of the port forward to this set?
bool UsesSet(const DesiredPort& port, EndpointSet set) {
  for (const model::Frontend& f : port.frontends) {
    if ((f.internal_verdict() == FL_VERDICT_FORWARD && f.internal == set) ||
        (f.external_verdict() == FL_VERDICT_FORWARD && f.external == set)) {
      return true;
    }
  }
  return false;
}

bool InSet(const model::ServingEndpoint& endpoint, EndpointSet set) {
  return set == EndpointSet::kCluster ? endpoint.cluster : endpoint.local;
}

fl_source_range_key RangeKey(uint32_t service_id, const IpPrefix& prefix) {
  const uint32_t mapped = prefix.family() == IpFamily::kIpv4 ? 96 : 0;
  return {.prefix_bits = 32 + mapped + static_cast<uint32_t>(prefix.bits()),
          .service_id = htonl(service_id),
          .prefix = ToAbi(prefix.address())};
}

bool Same(const fl_service& a, const fl_service& b) {
  return a.internal.base == b.internal.base &&
         a.internal.count == b.internal.count &&
         a.external.base == b.external.base &&
         a.external.count == b.external.count && a.id == b.id &&
         a.flags == b.flags && a.affinity_seconds == b.affinity_seconds &&
         a.owner == b.owner;
}

// The same in each process; never 0.
uint32_t OwnerMark(std::string_view service_key, const DesiredPort& port) {
  const std::string name =
      StrCat(service_key, "/", port.name, "/", ProtocolName(port.protocol),
             port.family == IpFamily::kIpv4 ? "/4" : "/6");
  boost::crc_32_type crc;
  crc.process_bytes(name.data(), name.size());
  return std::max<uint32_t>(crc.checksum(), 1);
}

// Would a program that starts anywhere in `ids` find a backend that is ON
// within its bound? `on` tells for each id.
template <typename On>
bool StaysUsable(absl::Span<const uint32_t> ids, On on) {
  const size_t n = ids.size();
  size_t run = 0, longest = 0;
  // Twice around, as a run may cross the end.
  for (size_t i = 0; i < 2 * n && longest < n; ++i) {
    run = on(ids[i % n]) ? 0 : run + 1;
    longest = std::max(longest, run);
  }
  return longest < std::min<size_t>(n, FL_SELECT_TRIES);
}

}  // namespace

// ---- planning one Service ----

void Reconciler::Impl::PlanFilterBit(Filter which, const L4Address& address,
                                     Change* change) {
  const fl_addr addr = ToAbi(address.address);
  const uint32_t bit = fl_filter_bit(&addr, htons(address.port),
                                     static_cast<uint8_t>(address.protocol));
  if (filter(which)[bit / 64] >> (bit % 64) & 1) return;
  if (!change->planned_bits.emplace(which, bit).second) return;
  change->prepare.push_back(SetFilterBit{which, bit});
}

void Reconciler::Impl::PlanMark(const L4Address& frontend, Change* change) {
  const IpAddress& address = frontend.address;
  if (address.is_unspecified()) return;
  auto it = marks_.find(address);
  if (it != marks_.end() && it->second.in_kernel) return;
  if (!change->planned_marks.insert(address).second) return;
  const fl_service_key key = MarkKey(address);
  const uint32_t bit = fl_filter_bit(&key.addr, key.port, key.proto);
  if (!(filter_frontends_[bit / 64] >> (bit % 64) & 1) &&
      change->planned_bits.emplace(Filter::kFrontends, bit).second) {
    change->prepare.push_back(SetFilterBit{Filter::kFrontends, bit});
  }
  change->prepare.push_back(MarkAddress{address});
}

uint32_t Reconciler::Impl::ServiceIdFor(const DesiredPort& desired,
                                        uint32_t owner,
                                        const PortRecord* before,
                                        Change* change) {
  if (before != nullptr) return before->service_id;
  // Of the process before. A frontend may have been won from another Service
  // since, whose id (and affinity) is not to be taken over.
  for (const model::Frontend& f : desired.frontends) {
    auto it = frontends_.find(f.address);
    if (it == frontends_.end() || it->second.owner != nullptr) continue;
    const fl_service& value = it->second.value;
    // An older version doesn't tell: of a ClusterIP it is certain enough.
    const bool ours = value.owner != 0
                          ? value.owner == owner
                          : f.kind == model::FrontendKind::kClusterIp;
    if (ours && value.id != 0 && !service_ids_.contains(value.id)) {
      return value.id;
    }
  }
  while (next_service_id_ == 0 || service_ids_.contains(next_service_id_)) {
    ++next_service_id_;
  }
  change->fresh_ids.push_back(next_service_id_);
  return next_service_id_++;
}

// What the port, or the process before, has in this set.
absl::Span<const uint32_t> Reconciler::Impl::PresentIds(
    const DesiredPort& desired, EndpointSet set,
    const PortRecord* before) const {
  if (before != nullptr) {
    return selections_.Ids(set == EndpointSet::kCluster ? before->cluster
                                                        : before->local);
  }
  for (const model::Frontend& f : desired.frontends) {
    auto it = frontends_.find(f.address);
    if (it == frontends_.end()) continue;
    const FrontendRecord& frontend = it->second;
    if (frontend.holds_internal && f.internal == set) {
      return selections_.Ids(frontend.value.internal);
    }
    if (frontend.holds_external && f.external == set) {
      return selections_.Ids(frontend.value.external);
    }
  }
  return {};
}

// Both lists are in the order of addresses, and seldom differ by much: an id is
// mostly where the last one's neighbour is, and only others are looked up.
absl::StatusOr<std::vector<uint32_t>> Reconciler::Impl::PlanBackends(
    const DesiredPort& desired, EndpointSet set,
    absl::Span<const uint32_t> present, Change* change) {
  std::vector<uint32_t> ids;
  ids.reserve(present.size());
  size_t next = 0;
  auto id_of = [&](const L4Address& address) -> absl::StatusOr<uint32_t> {
    for (size_t i = next; i < present.size() && i < next + 2; ++i) {
      if (!backends_.Is(present[i], address)) continue;
      next = i + 1;
      return present[i];
    }
    return backends_.Acquire(address);
  };
  for (const model::ServingEndpoint& endpoint : desired.endpoints) {
    if (!InSet(endpoint, set)) continue;
    FL_ASSIGN_OR_RETURN(const uint32_t id, id_of(endpoint.address));
    ids.push_back(id);
    const fl_backend entry = backends_.entry(id);
    PlanFilterBit(Filter::kBackends, endpoint.address, change);
    if (entry.state == FL_BACKEND_ON ||
        !change->planned_backends.insert(id).second) {
      continue;
    }
    if (entry.state == FL_BACKEND_FREE) {
      PutBackend put{id, entry};
      put.value.state = FL_BACKEND_ON;
      change->prepare.push_back(put);
    } else {
      change->prepare.push_back(SetBackendState{id, FL_BACKEND_ON});
    }
  }
  return ids;
}

// A range with this content that the port has already, or a new one.
absl::StatusOr<fl_selection> Reconciler::Impl::PlanSelection(
    const DesiredPort& desired, const PortRecord* before,
    const fl_selection& other, std::vector<uint32_t> ids, Change* change) {
  std::vector<fl_selection> present = {other};
  if (before != nullptr) {
    present.push_back(before->cluster);
    present.push_back(before->local);
  }
  for (const model::Frontend& f : desired.frontends) {
    auto it = frontends_.find(f.address);
    if (it == frontends_.end()) continue;
    if (it->second.holds_internal) present.push_back(it->second.value.internal);
    if (it->second.holds_external) present.push_back(it->second.value.external);
  }
  for (const fl_selection& range : present) {
    if (range.count != ids.size() || selections_.Ids(range) != ids) continue;
    selections_.Ref(range);
    return range;
  }
  FL_ASSIGN_OR_RETURN(const fl_selection range, selections_.Allocate(ids));
  change->prepare.push_back(PutSlots{range.base, std::move(ids)});
  return range;
}

void Reconciler::Impl::PlanKeepers(const DesiredPort& desired,
                                   PortRecord* port) {
  for (const model::ServingEndpoint& endpoint : desired.endpoints) {
    if ((endpoint.cluster && port->cluster.count > 0) ||
        (endpoint.local && port->local.count > 0)) {
      continue;
    }
    const std::optional<uint32_t> id = backends_.Find(endpoint.address);
    // Without an entry it has no flows that could be kept.
    if (!id || !backends_.InKernel(*id)) continue;
    backends_.AddKeeper(*id);
    port->keeps.push_back(*id);
  }
}

void Reconciler::Impl::PlanSourceRanges(const DesiredPort& desired,
                                        uint32_t service_id, Change* change) {
  auto it = source_ranges_.find(service_id);
  for (const IpPrefix& prefix : desired.source_ranges) {
    change->source_ranges.emplace_back(service_id, prefix);
    if (it != source_ranges_.end() && it->second.contains(prefix)) continue;
    change->prepare.push_back(PutSourceRange{RangeKey(service_id, prefix)});
  }
}

void Reconciler::Impl::PlanFrontends(const DesiredPort& desired,
                                     const PortRecord& port, Change* change) {
  auto range = [&port](EndpointSet set) {
    return set == EndpointSet::kCluster ? port.cluster : port.local;
  };
  for (const model::Frontend& f : desired.frontends) {
    fl_service value = {};
    if (f.internal_verdict() == FL_VERDICT_FORWARD) {
      value.internal = range(f.internal);
    }
    if (f.external_verdict() == FL_VERDICT_FORWARD) {
      value.external = range(f.external);
    }
    value.id = port.service_id;
    value.flags = f.flags;
    value.affinity_seconds = desired.affinity_seconds;
    value.owner = port.owner;
    change->frontends.push_back(f.address);
    PlanFilterBit(Filter::kFrontends, f.address, change);
    PlanMark(f.address, change);
    auto it = frontends_.find(f.address);
    if (it != frontends_.end() && Same(it->second.value, value)) {
      change->unchanged.emplace_back(f.address, f.kind);
    } else {
      change->publish.push_back({f.address, f.kind, value});
    }
  }
}

// A port that has another name now, at the ClusterIP's same port, is the same
// one: an exchange that has its id goes on.
const Reconciler::Impl::PortRecord* Reconciler::Impl::PortBefore(
    const DesiredPort& desired, const DesiredService& service,
    const ServiceRecord& record) const {
  auto named = [](const PortRecord& port, const DesiredPort& by) {
    return port.name == by.name && port.protocol == by.protocol &&
           port.family == by.family;
  };
  for (const PortRecord& port : record.ports) {
    if (named(port, desired)) return &port;
  }
  for (const model::Frontend& f : desired.frontends) {
    if (f.kind != model::FrontendKind::kClusterIp) continue;
    auto it = frontends_.find(f.address);
    if (it == frontends_.end() || it->second.owner != &record) continue;
    const PortRecord* port = PortOf(it->second);
    const bool kept =
        port != nullptr &&
        std::any_of(service.ports.begin(), service.ports.end(),
                    [&](const DesiredPort& now) { return named(*port, now); });
    if (port != nullptr && !kept) return port;
  }
  return nullptr;
}

absl::Status Reconciler::Impl::PlanPort(const DesiredPort& desired,
                                        const DesiredService& service,
                                        ServiceRecord* record,
                                        Change* change) {
  const PortRecord* before = PortBefore(desired, service, *record);
  PortRecord& port = change->ports.emplace_back();
  port.name = desired.name;
  port.protocol = desired.protocol;
  port.family = desired.family;
  for (EndpointSet set : {EndpointSet::kCluster, EndpointSet::kLocal}) {
    if (!UsesSet(desired, set)) continue;
    FL_ASSIGN_OR_RETURN(std::vector<uint32_t> ids,
                        PlanBackends(desired, set,
                                     PresentIds(desired, set, before),
                                     change));
    fl_selection& to =
        set == EndpointSet::kCluster ? port.cluster : port.local;
    FL_ASSIGN_OR_RETURN(to, PlanSelection(desired, before, port.cluster,
                                          std::move(ids), change));
  }
  PlanKeepers(desired, &port);
  port.owner = OwnerMark(record->key, desired);
  port.service_id = ServiceIdFor(desired, port.owner, before, change);
  // At once, so that no other port takes the same id over.
  service_ids_[port.service_id] = record;
  PlanSourceRanges(desired, port.service_id, change);
  PlanFrontends(desired, port, change);
  return absl::OkStatus();
}

Plan Reconciler::Impl::PlanEarlyStates(
    const std::vector<PortRecord>& before) const {
  std::set<uint32_t> leaving;
  auto stays = [this](uint32_t id) {
    return backends_.entry(id).state == FL_BACKEND_ON &&
           backends_.Wanted(id) == FL_BACKEND_ON;
  };
  for (const PortRecord& port : before) {
    for (const fl_selection& range : {port.cluster, port.local}) {
      const absl::Span<const uint32_t> ids = selections_.Ids(range);
      for (uint32_t id : ids) {
        if (backends_.entry(id).state == FL_BACKEND_ON && !stays(id)) {
          leaving.insert(id);
        }
      }
      // Better a connection to an endpoint that is about to go than none.
      if (!ids.empty() && !StaysUsable(ids, stays)) return {};
    }
  }
  Plan plan;
  for (uint32_t id : leaving) {
    plan.push_back(SetBackendState{id, backends_.Wanted(id)});
  }
  return plan;
}

void Reconciler::Impl::SetUsers(const std::vector<PortRecord>& ports,
                                bool add) {
  for (const PortRecord& port : ports) {
    for (const fl_selection& range : {port.cluster, port.local}) {
      for (uint32_t id : selections_.Ids(range)) {
        if (add) {
          backends_.AddUser(id);
        } else {
          backends_.RemoveUser(id);
        }
      }
    }
  }
}

void Reconciler::Impl::DropReferences(const std::vector<PortRecord>& ports) {
  for (const PortRecord& port : ports) {
    for (uint32_t id : port.keeps) backends_.RemoveKeeper(id);
    if (port.cluster.count > 0) selections_.Unref(port.cluster, due());
    if (port.local.count > 0) selections_.Unref(port.local, due());
  }
}

// ---- doing it ----

absl::Status Reconciler::Impl::ApplyService(ServiceRecord* record,
                                            const DesiredService& desired) {
  Change change;
  absl::Status status;
  for (const DesiredPort& port : desired.ports) {
    status = PlanPort(port, desired, record, &change);
    if (!status.ok()) break;
  }
  if (status.ok()) {
    SetUsers(change.ports, true);
    SetUsers(record->ports, false);
    // A deleted Service has no one to spare a dying endpoint.
    if (!change.ports.empty()) {
      status = DoAll(PlanEarlyStates(record->ports));
    }
    if (status.ok()) status = DoAll(change.prepare);
    if (!status.ok()) {
      SetUsers(record->ports, true);
      SetUsers(change.ports, false);
    }
  }
  if (!status.ok()) {
    RollBack(change, record);
    return status;
  }
  status = Publish(change, record);
  if (!status.ok()) {
    // What is still published may need the ranges that it has now.
    change.source_ranges.clear();
    for (const PortRecord& port : change.ports) {
      auto it = source_ranges_.find(port.service_id);
      if (it == source_ranges_.end()) continue;
      for (const IpPrefix& prefix : it->second) {
        change.source_ranges.emplace_back(port.service_id, prefix);
      }
    }
  }
  Commit(std::move(change), record);
  return status;
}

void Reconciler::Impl::RollBack(const Change& change, ServiceRecord* record) {
  DropReferences(change.ports);
  // Another Service of the batch may have use for them.
  for (uint32_t id : change.planned_backends) backends_.FreeIfUnwritten(id);
  for (uint32_t id : change.fresh_ids) DropRanges(id);
  for (const PortRecord& port : change.ports) {
    service_ids_.erase(port.service_id);
  }
  for (const PortRecord& port : record->ports) {
    service_ids_[port.service_id] = record;
  }
}

void Reconciler::Impl::DropRanges(uint32_t service_id) {
  auto it = source_ranges_.find(service_id);
  if (it == source_ranges_.end()) return;
  for (const IpPrefix& prefix : it->second) {
    unwanted_ranges_.emplace(service_id, prefix);
  }
}

// Each frontend by itself: one that fails doesn't hold up the others.
absl::Status Reconciler::Impl::Publish(const Change& change,
                                       ServiceRecord* record) {
  absl::Status first;
  for (const Publication& publication : change.publish) {
    absl::Status status = Do(
        PutService{ToServiceKey(publication.address), publication.value});
    if (status.ok()) {
      SetFrontend(publication.address, publication, record);
    } else {
      first.Update(status);
    }
  }
  for (const auto& [address, kind] : change.unchanged) {
    FrontendRecord& frontend = frontends_.at(address);
    frontend.owner = record;
    frontend.kind = kind;
  }
  return first;
}

void Reconciler::Impl::Commit(Change change, ServiceRecord* record) {
  std::vector<PortRecord> before =
      std::exchange(record->ports, std::move(change.ports));
  // Their users are counted by now, so what was restored need not be.
  for (const PortRecord& port : record->ports) {
    if (port.cluster.count > 0) selections_.AdoptRestored(port.cluster);
    if (port.local.count > 0) selections_.AdoptRestored(port.local);
  }
  DropReferences(before);
  for (const PortRecord& port : before) service_ids_.erase(port.service_id);
  for (const PortRecord& port : record->ports) {
    service_ids_[port.service_id] = record;
  }

  std::sort(change.frontends.begin(), change.frontends.end());
  std::vector<L4Address> had =
      std::exchange(record->frontends, std::move(change.frontends));
  had.insert(had.end(), record->stale.begin(), record->stale.end());
  record->stale.clear();
  for (const L4Address& address : had) {
    if (!std::binary_search(record->frontends.begin(),
                            record->frontends.end(), address)) {
      record->stale.push_back(address);
    }
  }

  for (const PortRecord& port : before) DropRanges(port.service_id);
  for (const PortRecord& port : record->ports) DropRanges(port.service_id);
  for (const auto& wanted : change.source_ranges) {
    unwanted_ranges_.erase(wanted);
  }
}

ApplyResult Reconciler::Impl::Apply(model::Cluster* cluster,
                                    absl::Duration now) {
  now_ = now;
  ApplyResult result;
  const uint64_t before = operations_;
  result.services = cluster->TakeDirty();
  const std::vector<std::string>& dirty = result.services;
  absl::flat_hash_set<std::string> failed;
  auto fail = [&](const std::string& key, absl::Status status) {
    if (failed.insert(key).second) cluster->MarkDirty(key);
    result.failures.push_back({key, std::move(status)});
  };
  for (const std::string& key : dirty) {
    const DesiredService desired = cluster->Desired(key);
    auto it = services_.find(key);
    if (it == services_.end()) {
      if (desired.ports.empty()) continue;
      it = services_.try_emplace(key).first;
      it->second.key = key;
    }
    absl::Status status = ApplyService(&it->second, desired);
    if (!status.ok()) fail(key, std::move(status));
  }
  // Only now, as one Service's frontend may have become another's.
  for (const std::string& key : dirty) {
    auto it = services_.find(key);
    if (it == services_.end()) continue;
    absl::Status status = DeleteStale(&it->second);
    if (!status.ok()) fail(key, std::move(status));
    if (it->second.ports.empty() && it->second.stale.empty()) {
      services_.erase(it);
    }
  }
  if (leftovers_ && !cluster->has_unusable_service()) {
    DeleteUnclaimed(&result);
  }
  DeleteSourceRanges(&result);
  UnmarkAddresses(&result);
  ApplyNodeAddresses(cluster->node().addresses, &result);
  if (std::exchange(first_apply_, false)) backends_.TouchAll();
  SettleBackends(&result);
  result.operations = operations_ - before;
  return result;
}

absl::Status Reconciler::Impl::DeleteStale(ServiceRecord* record) {
  absl::Status first;
  std::vector<L4Address> remaining;
  for (const L4Address& address : record->stale) {
    auto it = frontends_.find(address);
    if (it == frontends_.end() || it->second.owner != record) continue;
    absl::Status status = Do(DeleteService{ToServiceKey(address)});
    if (!status.ok()) {
      first.Update(status);
      remaining.push_back(address);
      continue;
    }
    RemoveFrontend(address);
  }
  record->stale = std::move(remaining);
  return first;
}

void Reconciler::Impl::DeleteUnclaimed(ApplyResult* result) {
  std::vector<L4Address> unclaimed;
  for (const auto& [address, frontend] : frontends_) {
    if (frontend.owner == nullptr) unclaimed.push_back(address);
  }
  std::sort(unclaimed.begin(), unclaimed.end());
  leftovers_ = false;
  for (const L4Address& address : unclaimed) {
    absl::Status status = Do(DeleteService{ToServiceKey(address)});
    if (!status.ok()) {
      leftovers_ = true;
      result->failures.push_back({"", std::move(status)});
      continue;
    }
    RemoveFrontend(address);
  }
  for (const auto& [id, prefixes] : source_ranges_) {
    if (service_ids_.contains(id)) continue;
    for (const IpPrefix& prefix : prefixes) {
      unwanted_ranges_.emplace(id, prefix);
    }
  }
}

void Reconciler::Impl::DeleteSourceRanges(ApplyResult* result) {
  for (auto it = unwanted_ranges_.begin(); it != unwanted_ranges_.end();) {
    absl::Status status =
        Do(DeleteSourceRange{RangeKey(it->first, it->second)});
    if (status.ok()) {
      it = unwanted_ranges_.erase(it);
    } else {
      result->failures.push_back({"", std::move(status)});
      ++it;
    }
  }
}

void Reconciler::Impl::UnmarkAddresses(ApplyResult* result) {
  for (auto it = unneeded_marks_.begin(); it != unneeded_marks_.end();) {
    auto mark = marks_.find(*it);
    if (mark != marks_.end() && mark->second.frontends == 0) {
      absl::Status status = Do(UnmarkAddress{*it});
      if (!status.ok()) {
        result->failures.push_back({"", std::move(status)});
        ++it;
        continue;
      }
    }
    it = unneeded_marks_.erase(it);
  }
}

void Reconciler::Impl::ApplyNodeAddresses(
    const std::vector<model::NodeAddress>& addresses, ApplyResult* result) {
  std::map<IpAddress, uint32_t> wanted;
  for (const model::NodeAddress& own : addresses) {
    wanted[own.address] |=
        FL_NODE_ADDR_LOCAL | (own.node_port ? FL_NODE_ADDR_NODE_PORT : 0);
  }
  Plan plan;
  for (const auto& [address, flags] : wanted) {
    auto it = node_addresses_.find(address);
    if (it != node_addresses_.end() && it->second == flags) continue;
    plan.push_back(PutNodeAddress{ToAbi(address), {flags}});
  }
  for (const auto& [address, flags] : node_addresses_) {
    if (wanted.contains(address)) continue;
    plan.push_back(DeleteNodeAddress{ToAbi(address)});
  }
  for (const Operation& operation : plan) {
    absl::Status status = Do(operation);
    if (!status.ok()) result->failures.push_back({"", std::move(status)});
  }
}

void Reconciler::Impl::SettleBackends(ApplyResult* result) {
  std::vector<uint32_t> ids = backends_.TakeTouched();
  ids.insert(ids.end(), unsettled_.begin(), unsettled_.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  unsettled_.clear();
  for (uint32_t id : ids) {
    const fl_backend_state wanted = backends_.Wanted(id);
    if (backends_.InKernel(id) && backends_.entry(id).state != wanted) {
      absl::Status status = Do(SetBackendState{id, wanted});
      if (!status.ok()) {
        result->failures.push_back({"", std::move(status)});
        unsettled_.push_back(id);
      }
    }
    backends_.Settle(id, due());
  }
}

}  // namespace fairlead::reconcile
