// SPDX-License-Identifier: Apache-2.0
#include "userspace/reconcile/selection_table.h"

#include <cassert>
#include <utility>

#include "userspace/base/strings.h"

namespace fairlead::reconcile {

bool SelectionTable::Restore(const fl_selection& range,
                             std::vector<uint32_t> ids) {
  if (!slots_.Reserve(range.base, range.count)) return false;
  for (uint32_t id : ids) {
    backends_->AddHolder(id);
    backends_->AddUser(id);
  }
  by_base_[range.base] = {std::move(ids), 1, true};
  return true;
}

absl::StatusOr<fl_selection> SelectionTable::Allocate(
    std::vector<uint32_t> ids) {
  const uint32_t count = static_cast<uint32_t>(ids.size());
  const std::optional<uint32_t> base = slots_.Allocate(count);
  if (!base) {
    return absl::ResourceExhaustedError(
        StrCat("no room for ", count, " slots: ", slots_.used(), " of ",
               slots_.capacity(), " are in use"));
  }
  for (uint32_t id : ids) backends_->AddHolder(id);
  by_base_[*base] = {std::move(ids), 1, false};
  return fl_selection{*base, count};
}

bool SelectionTable::Has(const fl_selection& range) const {
  return !Ids(range).empty();
}

absl::Span<const uint32_t> SelectionTable::Ids(
    const fl_selection& range) const {
  auto it = by_base_.find(range.base);
  if (it == by_base_.end() || it->second.ids.size() != range.count) return {};
  return it->second.ids;
}

void SelectionTable::Ref(const fl_selection& range) {
  assert(Has(range));
  ++by_base_.find(range.base)->second.refs;
}

void SelectionTable::Unref(const fl_selection& range, absl::Duration due) {
  assert(Has(range));
  auto it = by_base_.find(range.base);
  if (--it->second.refs > 0) return;
  AdoptRestored(range);
  for (uint32_t id : it->second.ids) backends_->RemoveHolder(id);
  by_base_.erase(it);
  grace_.push_back({due, range});
}

void SelectionTable::AdoptRestored(const fl_selection& range) {
  assert(Has(range));
  Selection& selection = by_base_.find(range.base)->second;
  if (!selection.restored) return;
  selection.restored = false;
  for (uint32_t id : selection.ids) backends_->RemoveUser(id);
}

void SelectionTable::FreeDue(absl::Duration now) {
  while (!grace_.empty() && grace_.front().due <= now) {
    const fl_selection range = grace_.front().range;
    grace_.pop_front();
    slots_.Free(range.base, range.count);
  }
}

std::optional<absl::Duration> SelectionTable::NextDue() const {
  if (grace_.empty()) return std::nullopt;
  return grace_.front().due;
}

}  // namespace fairlead::reconcile
