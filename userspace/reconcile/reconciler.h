// SPDX-License-Identifier: Apache-2.0
// Brings the kernel's service tables to what the model wants, one changed
// Service at a time, make before break.
//
// Order of operations for a Service: filter bits; backends (a reused id has a
// fresh generation); slots into free space; source ranges; PutService, which
// publishes; then DeleteService and what nobody refers to any more. A backend
// that left all sets keeps its entry (DRAIN while its endpoint still serves,
// OFF when it doesn't) until the grace period is over; slots of a replaced
// selection aren't reused before that, either. Identical input: no operation.
//
// Cost is that of the Services that changed, whatever the others are.
//
// Use:
//   Reconciler reconciler(&maps, {});
//   FL_RETURN_IF_ERROR(reconciler.Restore());
//   ... wait until Services and EndpointSlices have been listed once ...
//   ApplyResult result = reconciler.Apply(&cluster, clock.Monotonic());
//   ... log result.failures; if there are any, Apply again with a back-off
//   ... at NextDue(): Advance(clock.Monotonic())
//
// Threads: one at a time (the event loop's). Does no IO but through MapSet,
// knows no clock: `now` is the caller's, monotonic.
#ifndef FAIRLEAD_USERSPACE_RECONCILE_RECONCILER_H_
#define FAIRLEAD_USERSPACE_RECONCILE_RECONCILER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "userspace/base/ip_address.h"
#include "userspace/model/cluster.h"
#include "userspace/model/desired.h"
#include "userspace/reconcile/map_set.h"
#include "userspace/reconcile/plan.h"

namespace fairlead::reconcile {

struct ReconcilerOptions {
  // How long an unpublished slot range or backend entry is left alone: far
  // longer than any packet is in a program.
  absl::Duration grace = absl::Seconds(10);
  // Sees each operation after it was tried, in order; for the operation log.
  std::function<void(const Operation&, const absl::Status&)> on_operation;
};

struct ApplyResult {
  struct Failure {
    std::string service;  // key; "" for node addresses
    absl::Status status;  // kResourceExhausted: a map is full
  };
  std::vector<std::string> services;  // keys of those that were dirty, sorted
  size_t operations = 0;  // that were done
  // These Services are dirty again in the cluster. What could be kept of
  // their last state was kept.
  std::vector<Failure> failures;

  bool ok() const { return failures.empty(); }
};

class Reconciler {
 public:
  // `maps` outlives this.
  Reconciler(MapSet* maps, ReconcilerOptions options);
  ~Reconciler();
  Reconciler(const Reconciler&) = delete;
  Reconciler& operator=(const Reconciler&) = delete;

  // Reads what an earlier process left in the maps. Writes nothing. Once,
  // first. An error: the maps can't be read.
  [[nodiscard]] absl::Status Restore();

  // Brings all dirty Services and the node's addresses up to date.
  //
  // REQUIRES: the cluster has been filled by a complete list of Services and
  // one of EndpointSlices. The first call deletes what it finds in the kernel
  // and nobody wants (unless a Service has no usable version: then it waits
  // until a later call, as the leftovers may be that Service's).
  ApplyResult Apply(model::Cluster* cluster, absl::Duration now);

  // Gives free what has been out of use for the grace period.
  ApplyResult Advance(absl::Duration now);
  // When Advance() has something to do next; nullopt: nothing to wait for.
  std::optional<absl::Duration> NextDue() const;

  // ---- for status and metrics ----

  struct Stats {
    size_t services = 0;   // with at least one frontend
    size_t frontends = 0;  // entries of fl_service
    size_t backends = 0;   // entries not FREE
    size_t backends_waiting = 0;  // ... that only wait to be freed
    uint32_t slots_used = 0;      // grace included
    uint32_t slots_capacity = 0;
    uint64_t operations = 0;      // since the start
    uint64_t operation_errors = 0;
  };
  Stats stats() const;

  struct FrontendView {
    std::string_view service;  // key; "" if not yet claimed after a restart
    std::string_view port;     // the port's name
    L4Address address;
    model::FrontendKind kind;
    fl_service value;  // what the kernel has
    // Backend ids; empty with another verdict than "forward".
    absl::Span<const uint32_t> internal;
    absl::Span<const uint32_t> external;
  };
  void ForEachFrontend(absl::FunctionRef<void(const FrontendView&)> fn) const;
  std::optional<FrontendView> FindFrontend(const L4Address& address) const;
  // Those that are not FREE.
  void ForEachBackend(
      absl::FunctionRef<void(uint32_t id, const fl_backend&)> fn) const;
  // nullopt for an id that isn't in use.
  std::optional<fl_backend> FindBackend(uint32_t id) const;
  // Key and port name of a service id, such as a flow entry has.
  struct ServiceIdView {
    std::string_view service;
    std::string_view port;
  };
  std::optional<ServiceIdView> FindServiceId(uint32_t id) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::reconcile

#endif  // FAIRLEAD_USERSPACE_RECONCILE_RECONCILER_H_
