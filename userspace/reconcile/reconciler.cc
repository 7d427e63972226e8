// SPDX-License-Identifier: Apache-2.0
#include "userspace/reconcile/reconciler.h"

#include <arpa/inet.h>

#include <algorithm>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/reconcile/reconciler_impl.h"

namespace fairlead::reconcile {
namespace {

bool Forwards(const fl_service& service, uint32_t shift) {
  return ((service.flags >> shift) & FL_SERVICE_VERDICT_MASK) ==
         FL_VERDICT_FORWARD;
}

IpPrefix PrefixOf(const fl_source_range_key& key) {
  const IpAddress address = FromAbi(key.prefix);
  const int bits = static_cast<int>(key.prefix_bits) - 32;
  const bool v4 = address.is_v4() && bits >= 96;
  return IpPrefix(address, v4 ? bits - 96 : bits);
}

}  // namespace

Reconciler::Impl::Impl(MapSet* maps, ReconcilerOptions options)
    : maps_(maps),
      options_(std::move(options)),
      backends_(maps->capacity().backends),
      selections_(maps->capacity().slots, &backends_),
      filter_frontends_(FL_FILTER_WORDS),
      filter_backends_(FL_FILTER_WORDS) {}

absl::Status Reconciler::Impl::Restore() {
  FL_RETURN_IF_ERROR(maps_->ForEachBackend(
      [this](uint32_t id, const fl_backend& backend) {
        backends_.Restore(id, backend);
      }));
  FL_RETURN_IF_ERROR(maps_->ForEachService(
      [this](const fl_service_key& key, const fl_service& value) {
        if (IsMark(key)) {
          marks_[FromAbi(key.addr)].in_kernel = true;
          unneeded_marks_.insert(FromAbi(key.addr));
          return;
        }
        AddFrontend(FromServiceKey(key)).value = value;
        next_service_id_ = std::max(next_service_id_, value.id + 1);
      }));
  FL_RETURN_IF_ERROR(RestoreSelections());
  FL_RETURN_IF_ERROR(
      maps_->ForEachSourceRange([this](const fl_source_range_key& key) {
        source_ranges_[ntohl(key.service_id)].insert(PrefixOf(key));
        next_service_id_ =
            std::max(next_service_id_, ntohl(key.service_id) + 1);
      }));
  FL_RETURN_IF_ERROR(maps_->ForEachNodeAddress(
      [this](const fl_addr& address, const fl_node_addr& value) {
        node_addresses_[FromAbi(address)] = value.flags;
      }));
  FL_RETURN_IF_ERROR(maps_->ReadFilter(Filter::kFrontends,
                                       absl::MakeSpan(filter_frontends_)));
  FL_RETURN_IF_ERROR(maps_->ReadFilter(Filter::kBackends,
                                       absl::MakeSpan(filter_backends_)));
  leftovers_ = !frontends_.empty() || !source_ranges_.empty();
  return absl::OkStatus();
}

absl::Status Reconciler::Impl::RestoreSelections() {
  struct Held {
    fl_selection range;
    bool* held;
  };
  std::vector<Held> all;
  for (auto& [address, frontend] : frontends_) {
    const fl_service& value = frontend.value;
    if (Forwards(value, FL_SERVICE_INTERNAL_VERDICT_SHIFT)) {
      all.push_back({value.internal, &frontend.holds_internal});
    }
    if (Forwards(value, FL_SERVICE_EXTERNAL_VERDICT_SHIFT)) {
      all.push_back({value.external, &frontend.holds_external});
    }
  }
  // As they lie in the map, of which only a part is at hand at a time.
  std::sort(all.begin(), all.end(), [](const Held& a, const Held& b) {
    return a.range.base < b.range.base;
  });
  for (const Held& one : all) {
    FL_ASSIGN_OR_RETURN(*one.held, RestoreSelection(one.range));
  }
  return absl::OkStatus();
}

// Whether the range is one that can be held: it may be anything.
absl::StatusOr<bool> Reconciler::Impl::RestoreSelection(
    const fl_selection& range) {
  if (range.count == 0 || range.count > selections_.slots().capacity()) {
    return false;
  }
  if (selections_.Has(range)) {
    selections_.Ref(range);
    return true;
  }
  std::vector<uint32_t> ids(range.count);
  absl::Status status = maps_->ReadSlots(range.base, absl::MakeSpan(ids));
  if (absl::IsOutOfRange(status)) return false;
  FL_RETURN_IF_ERROR(status);
  // No id of ours: 0 keeps the place, and the content from being taken for
  // what is wanted.
  for (uint32_t& id : ids) {
    if (id >= backends_.id_limit() || !backends_.InKernel(id)) id = 0;
  }
  return selections_.Restore(range, std::move(ids));
}

ApplyResult Reconciler::Impl::Advance(absl::Duration now) {
  now_ = now;
  ApplyResult result;
  const uint64_t before = operations_;
  selections_.FreeDue(now);
  for (uint32_t id : backends_.TakeDue(now)) {
    absl::Status status = Do(SetBackendState{id, FL_BACKEND_FREE});
    if (status.ok()) {
      backends_.Free(id);
    } else {
      backends_.Settle(id, due());
      result.failures.push_back({"", std::move(status)});
    }
  }
  if (!unsettled_.empty()) SettleBackends(&result);
  result.operations = operations_ - before;
  return result;
}

std::optional<absl::Duration> Reconciler::Impl::NextDue() const {
  const std::optional<absl::Duration> backend = backends_.NextDue();
  const std::optional<absl::Duration> slots = selections_.NextDue();
  if (!backend) return slots;
  if (!slots) return backend;
  return std::min(*backend, *slots);
}

absl::Status Reconciler::Impl::Do(const Operation& operation) {
  absl::Status status = Execute(operation, maps_);
  if (options_.on_operation) options_.on_operation(operation, status);
  if (!status.ok()) {
    ++operation_errors_;
    return WithContext(status, ToString(operation));
  }
  ++operations_;
  Mirror(operation);
  return status;
}

absl::Status Reconciler::Impl::DoAll(const Plan& plan) {
  for (const Operation& operation : plan) {
    FL_RETURN_IF_ERROR(Do(operation));
  }
  return absl::OkStatus();
}

// Frontends are mirrored by who publishes them, as their owner matters.
void Reconciler::Impl::Mirror(const Operation& operation) {
  if (auto* bit = std::get_if<SetFilterBit>(&operation)) {
    filter(bit->filter)[bit->bit / 64] |= uint64_t{1} << (bit->bit % 64);
  } else if (auto* backend = std::get_if<PutBackend>(&operation)) {
    backends_.Written(backend->id, backend->value.state);
  } else if (auto* state = std::get_if<SetBackendState>(&operation)) {
    backends_.Written(state->id, state->state);
  } else if (auto* mark = std::get_if<MarkAddress>(&operation)) {
    marks_[mark->address].in_kernel = true;
    unneeded_marks_.insert(mark->address);
  } else if (auto* unmark = std::get_if<UnmarkAddress>(&operation)) {
    marks_.erase(unmark->address);
  } else if (auto* put = std::get_if<PutSourceRange>(&operation)) {
    source_ranges_[ntohl(put->key.service_id)].insert(PrefixOf(put->key));
  } else if (auto* del = std::get_if<DeleteSourceRange>(&operation)) {
    const uint32_t id = ntohl(del->key.service_id);
    auto it = source_ranges_.find(id);
    if (it == source_ranges_.end()) return;
    it->second.erase(PrefixOf(del->key));
    if (it->second.empty()) source_ranges_.erase(it);
  } else if (auto* node = std::get_if<PutNodeAddress>(&operation)) {
    node_addresses_[FromAbi(node->address)] = node->value.flags;
  } else if (auto* gone = std::get_if<DeleteNodeAddress>(&operation)) {
    node_addresses_.erase(FromAbi(gone->address));
  }
}

Reconciler::Impl::FrontendRecord& Reconciler::Impl::AddFrontend(
    const L4Address& address) {
  auto [it, inserted] = frontends_.try_emplace(address);
  if (inserted && !address.address.is_unspecified()) {
    ++marks_[address.address].frontends;
  }
  return it->second;
}

void Reconciler::Impl::RemoveFrontend(const L4Address& address) {
  auto it = frontends_.find(address);
  ReleaseSelections(it->second);
  frontends_.erase(it);
  if (address.address.is_unspecified()) return;
  if (--marks_[address.address].frontends == 0) {
    unneeded_marks_.insert(address.address);
  }
}

void Reconciler::Impl::ReleaseSelections(const FrontendRecord& frontend) {
  if (frontend.holds_internal) {
    selections_.Unref(frontend.value.internal, due());
  }
  if (frontend.holds_external) {
    selections_.Unref(frontend.value.external, due());
  }
}

void Reconciler::Impl::SetFrontend(const L4Address& address,
                                   const Publication& publication,
                                   ServiceRecord* owner) {
  FrontendRecord next;
  next.value = publication.value;
  next.kind = publication.kind;
  next.owner = owner;
  next.holds_internal =
      Forwards(next.value, FL_SERVICE_INTERNAL_VERDICT_SHIFT);
  next.holds_external =
      Forwards(next.value, FL_SERVICE_EXTERNAL_VERDICT_SHIFT);
  if (next.holds_internal) selections_.Ref(next.value.internal);
  if (next.holds_external) selections_.Ref(next.value.external);
  FrontendRecord& record = AddFrontend(address);
  ReleaseSelections(record);
  record = next;
}

const Reconciler::Impl::PortRecord* Reconciler::Impl::PortOf(
    const FrontendRecord& frontend) const {
  if (frontend.owner == nullptr) return nullptr;
  for (const PortRecord& port : frontend.owner->ports) {
    if (port.service_id == frontend.value.id) return &port;
  }
  return nullptr;
}

Reconciler::FrontendView Reconciler::Impl::ViewOf(
    const L4Address& address, const FrontendRecord& frontend) const {
  FrontendView view;
  const PortRecord* port = PortOf(frontend);
  if (frontend.owner != nullptr) view.service = frontend.owner->key;
  if (port != nullptr) view.port = port->name;
  view.address = address;
  view.kind = frontend.kind;
  view.value = frontend.value;
  if (frontend.holds_internal) {
    view.internal = selections_.Ids(frontend.value.internal);
  }
  if (frontend.holds_external) {
    view.external = selections_.Ids(frontend.value.external);
  }
  return view;
}

// ---- the public face ----

Reconciler::Reconciler(MapSet* maps, ReconcilerOptions options)
    : impl_(std::make_unique<Impl>(maps, std::move(options))) {}

Reconciler::~Reconciler() = default;

absl::Status Reconciler::Restore() { return impl_->Restore(); }

ApplyResult Reconciler::Apply(model::Cluster* cluster, absl::Duration now) {
  return impl_->Apply(cluster, now);
}

ApplyResult Reconciler::Advance(absl::Duration now) {
  return impl_->Advance(now);
}

std::optional<absl::Duration> Reconciler::NextDue() const {
  return impl_->NextDue();
}

Reconciler::Stats Reconciler::stats() const {
  Stats out;
  for (const auto& [key, record] : impl_->services_) {
    out.services += !record.frontends.empty();
  }
  out.frontends = impl_->frontends_.size();
  out.backends = impl_->backends_.size();
  out.backends_waiting = impl_->backends_.waiting();
  out.slots_used = impl_->selections_.slots().used();
  out.slots_capacity = impl_->selections_.slots().capacity();
  out.operations = impl_->operations_;
  out.operation_errors = impl_->operation_errors_;
  return out;
}

void Reconciler::ForEachFrontend(
    absl::FunctionRef<void(const FrontendView&)> fn) const {
  for (const auto& [address, frontend] : impl_->frontends_) {
    fn(impl_->ViewOf(address, frontend));
  }
}

std::optional<Reconciler::FrontendView> Reconciler::FindFrontend(
    const L4Address& address) const {
  auto it = impl_->frontends_.find(address);
  if (it == impl_->frontends_.end()) return std::nullopt;
  return impl_->ViewOf(address, it->second);
}

void Reconciler::ForEachBackend(
    absl::FunctionRef<void(uint32_t, const fl_backend&)> fn) const {
  for (uint32_t id = 1; id < impl_->backends_.id_limit(); ++id) {
    if (impl_->backends_.InKernel(id)) fn(id, impl_->backends_.entry(id));
  }
}

std::optional<fl_backend> Reconciler::FindBackend(uint32_t id) const {
  if (id == 0 || id >= impl_->backends_.id_limit() ||
      !impl_->backends_.InKernel(id)) {
    return std::nullopt;
  }
  return impl_->backends_.entry(id);
}

std::optional<Reconciler::ServiceIdView> Reconciler::FindServiceId(
    uint32_t id) const {
  auto it = impl_->service_ids_.find(id);
  if (it == impl_->service_ids_.end()) return std::nullopt;
  for (const Impl::PortRecord& port : it->second->ports) {
    if (port.service_id == id) {
      return ServiceIdView{it->second->key, port.name};
    }
  }
  return std::nullopt;
}

}  // namespace fairlead::reconcile
