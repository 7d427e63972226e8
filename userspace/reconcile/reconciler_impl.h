// SPDX-License-Identifier: Apache-2.0
// The reconciler's state. Private to this room.
//
// Everything that mirrors the kernel (frontends_, source_ranges_, filters,
// node_addresses_, the backends' entries) changes only after the operation
// succeeded; allocations (ids, ranges) are made when an operation is planned
// and given back if it isn't done.
#ifndef FAIRLEAD_USERSPACE_RECONCILE_RECONCILER_IMPL_H_
#define FAIRLEAD_USERSPACE_RECONCILE_RECONCILER_IMPL_H_

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/node_hash_map.h"
#include "userspace/reconcile/backend_table.h"
#include "userspace/reconcile/reconciler.h"
#include "userspace/reconcile/selection_table.h"

namespace fairlead::reconcile {

class Reconciler::Impl {
 public:
  Impl(MapSet* maps, ReconcilerOptions options);

  absl::Status Restore();
  ApplyResult Apply(model::Cluster* cluster, absl::Duration now);
  ApplyResult Advance(absl::Duration now);
  std::optional<absl::Duration> NextDue() const;

 private:
  friend class Reconciler;

  struct PortRecord {
    std::string name;
    Protocol protocol = Protocol::kTcp;
    IpFamily family = IpFamily::kIpv4;
    uint32_t service_id = 0;
    uint32_t owner = 0;  // fl_service.owner
    // Each that isn't empty holds a reference and counts as a user of its
    // backends.
    fl_selection cluster = {};
    fl_selection local = {};
    std::vector<uint32_t> keeps;
  };
  struct ServiceRecord {
    std::string key;
    std::vector<PortRecord> ports;
    std::vector<L4Address> frontends;  // sorted
    std::vector<L4Address> stale;      // still to be deleted
  };
  struct FrontendRecord {
    fl_service value = {};  // in the kernel
    model::FrontendKind kind = model::FrontendKind::kClusterIp;
    // Does it hold a reference to the selection? Not if an earlier process
    // left something that overlaps another one's.
    bool holds_internal = false;
    bool holds_external = false;
    ServiceRecord* owner = nullptr;  // null: not claimed since the restart
  };
  struct Publication {
    L4Address address;
    model::FrontendKind kind;
    fl_service value;
  };
  // What one Service's new desired state comes to.
  struct Change {
    std::vector<PortRecord> ports;
    Plan prepare;
    std::vector<Publication> publish;
    std::vector<std::pair<L4Address, model::FrontendKind>> unchanged;
    std::vector<L4Address> frontends;
    std::vector<std::pair<uint32_t, IpPrefix>> source_ranges;
    std::vector<uint32_t> fresh_ids;
    // What `prepare` has already, as two ports may share it.
    absl::flat_hash_set<uint32_t> planned_backends;
    absl::flat_hash_set<std::pair<Filter, uint32_t>> planned_bits;
    absl::flat_hash_set<IpAddress> planned_marks;
  };
  using FilterWords = std::vector<uint64_t>;

  // ---- apply.cc: one Service ----
  absl::Status ApplyService(ServiceRecord* record,
                            const model::DesiredService& desired);
  // What the port of this desired service is in the kernel; null: new.
  const PortRecord* PortBefore(const model::DesiredPort& desired,
                               const model::DesiredService& service,
                               const ServiceRecord& record) const;
  absl::Status PlanPort(const model::DesiredPort& desired,
                        const model::DesiredService& service,
                        ServiceRecord* record, Change* change);
  uint32_t ServiceIdFor(const model::DesiredPort& desired, uint32_t owner,
                        const PortRecord* before, Change* change);
  absl::Span<const uint32_t> PresentIds(const model::DesiredPort& desired,
                                        model::EndpointSet set,
                                        const PortRecord* before) const;
  absl::StatusOr<std::vector<uint32_t>> PlanBackends(
      const model::DesiredPort& desired, model::EndpointSet set,
      absl::Span<const uint32_t> present, Change* change);
  absl::StatusOr<fl_selection> PlanSelection(
      const model::DesiredPort& desired, const PortRecord* before,
      const fl_selection& other, std::vector<uint32_t> ids, Change* change);
  void PlanKeepers(const model::DesiredPort& desired, PortRecord* port);
  void PlanSourceRanges(const model::DesiredPort& desired,
                        uint32_t service_id, Change* change);
  void PlanFrontends(const model::DesiredPort& desired,
                     const PortRecord& port, Change* change);
  void PlanFilterBit(Filter filter, const L4Address& address, Change* change);
  void PlanMark(const L4Address& frontend, Change* change);
  // The state bytes that may be written ahead of the rebuild: those of
  // backends that these ports were the last users of.
  Plan PlanEarlyStates(const std::vector<PortRecord>& before) const;
  absl::Status Publish(const Change& change, ServiceRecord* record);
  void RollBack(const Change& change, ServiceRecord* record);
  void Commit(Change change, ServiceRecord* record);
  void DropRanges(uint32_t service_id);
  void SetUsers(const std::vector<PortRecord>& ports, bool add);
  void DropReferences(const std::vector<PortRecord>& ports);

  // ---- apply.cc: after all Services of a batch ----
  absl::Status DeleteStale(ServiceRecord* record);
  void DeleteUnclaimed(ApplyResult* result);
  void DeleteSourceRanges(ApplyResult* result);
  void UnmarkAddresses(ApplyResult* result);
  void ApplyNodeAddresses(const std::vector<model::NodeAddress>& addresses,
                          ApplyResult* result);
  void SettleBackends(ApplyResult* result);

  // ---- the mirror ----
  absl::Status RestoreSelections();
  absl::StatusOr<bool> RestoreSelection(const fl_selection& range);
  absl::Status Do(const Operation& operation);
  absl::Status DoAll(const Plan& plan);
  void Mirror(const Operation& operation);
  void SetFrontend(const L4Address& address, const Publication& publication,
                   ServiceRecord* owner);
  FrontendRecord& AddFrontend(const L4Address& address);
  void RemoveFrontend(const L4Address& address);
  void ReleaseSelections(const FrontendRecord& frontend);
  const PortRecord* PortOf(const FrontendRecord& frontend) const;
  FrontendView ViewOf(const L4Address& address,
                      const FrontendRecord& frontend) const;
  FilterWords& filter(Filter which) {
    return which == Filter::kFrontends ? filter_frontends_ : filter_backends_;
  }
  absl::Duration due() const { return now_ + options_.grace; }

  MapSet* maps_;
  ReconcilerOptions options_;
  absl::Duration now_;  // of the call that is under way

  BackendTable backends_;
  SelectionTable selections_;
  absl::node_hash_map<std::string, ServiceRecord> services_;
  absl::flat_hash_map<L4Address, FrontendRecord> frontends_;
  struct Mark {
    bool in_kernel = false;
    uint32_t frontends = 0;
  };
  absl::flat_hash_map<IpAddress, Mark> marks_;
  std::set<IpAddress> unneeded_marks_;
  absl::flat_hash_map<uint32_t, ServiceRecord*> service_ids_;
  uint32_t next_service_id_ = 1;
  absl::flat_hash_map<uint32_t, std::set<IpPrefix>> source_ranges_;
  std::set<std::pair<uint32_t, IpPrefix>> unwanted_ranges_;
  std::map<IpAddress, uint32_t> node_addresses_;  // -> FL_NODE_ADDR_*
  FilterWords filter_frontends_;
  FilterWords filter_backends_;
  std::vector<uint32_t> unsettled_;  // ids whose state could not be written

  bool first_apply_ = true;
  bool leftovers_ = false;  // unclaimed frontends may be there
  uint64_t operations_ = 0;
  uint64_t operation_errors_ = 0;
};

}  // namespace fairlead::reconcile

#endif  // FAIRLEAD_USERSPACE_RECONCILE_RECONCILER_IMPL_H_
