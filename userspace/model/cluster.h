// SPDX-License-Identifier: Apache-2.0
// The latest objects of the Kubernetes API, as far as a Service proxy reads
// them, and which Services are affected by what changed since.
//
// Pure: no clock, no IO, no log. What cannot be used becomes a Problem; the
// Service it belongs to stays as it was.
//
// Threads: none of its own; one at a time. "key" is "namespace/name".
#ifndef FAIRLEAD_USERSPACE_MODEL_CLUSTER_H_
#define FAIRLEAD_USERSPACE_MODEL_CLUSTER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "userspace/base/ip_address.h"
#include "userspace/kube/objects.h"
#include "userspace/model/desired.h"

namespace fairlead::model {

struct NodeAddress {
  IpAddress address;
  bool node_port = false;  // NodePorts answer on it

  friend auto operator<=>(const NodeAddress&, const NodeAddress&) = default;
};

struct ExplainedFrontend;  // explain.h

// This node, and the choices that its administrator has.
struct NodeConfig {
  std::string name;
  std::string zone;  // "": unknown
  std::vector<NodeAddress> addresses;  // this host's own
  // What packets of this host's own come from, at most one of each family.
  std::vector<IpAddress> primary;
  // Masquerade all traffic to ClusterIPs.
  bool masquerade_all = false;
  // Pods are told from other clients by their address. Without it, ClusterIP
  // traffic is never masqueraded.
  bool detects_pods = true;

  friend bool operator==(const NodeConfig&, const NodeConfig&) = default;
};

struct Problem {
  enum class Kind : uint8_t {
    kBadService,
    kBadEndpointSlice,
    kConflict,  // an older Service has this frontend
  };
  Kind kind = Kind::kBadService;
  std::string service;  // key; "" if it can't be known
  std::string object;   // key of the object at fault
  std::string text;

  friend bool operator==(const Problem&, const Problem&) = default;
};
// "BadService", "BadEndpointSlice", "FrontendConflict": an event's reason.
std::string_view ProblemReason(Problem::Kind kind);

class Cluster {
 public:
  explicit Cluster(NodeConfig node);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  const NodeConfig& node() const;
  // Marks those Services dirty that may look different from now on.
  void SetNode(NodeConfig node);

  // ---- objects: from a list or a watch, in the API's order ----

  void PutService(kube::Service service);
  void DeleteService(std::string_view key);
  void PutEndpointSlice(const kube::EndpointSlice& slice);
  void DeleteEndpointSlice(std::string_view key);
  // The object exists but its text could not be decoded: its last good
  // version stays. `service` is the slice's Service if known.
  void RejectService(std::string_view key, std::string_view why);
  void RejectEndpointSlice(std::string_view key, std::string_view service,
                           std::string_view why);

  // A new list: between Begin and End each object of it is Put (or Rejected);
  // End deletes those that were not. Abort leaves all that is there.
  void BeginServiceList();
  void EndServiceList();
  void AbortServiceList();
  void BeginEndpointSliceList();
  void EndEndpointSliceList();
  void AbortEndpointSliceList();

  // ---- what follows from them ----

  // Services, or the node's addresses.
  bool has_dirty() const;
  // The keys of Services that changed since the last call, sorted; they are
  // clean then. Deleted ones are among them.
  std::vector<std::string> TakeDirty();
  // So that a failed one is tried again.
  void MarkDirty(std::string_view key);

  // Empty for a Service that is unknown, headless, an ExternalName, or another
  // proxy's.
  DesiredService Desired(std::string_view key) const;

  // Why the frontend at `address` of this Service is as Desired() says;
  // nullopt: it has none there.
  std::optional<ExplainedFrontend> Explain(std::string_view key,
                                           const L4Address& address) const;

  // A Service without a version that can be used: what the kernel has of it
  // from before a restart must stay.
  bool has_unusable_service() const;

  // What the Service's health-check NodePort tells an outside load balancer.
  struct HealthCheck {
    Port port = 0;
    // Distinct addresses of ready endpoints on this node, in each family that
    // the Service has a ClusterIP of; nullopt: it has none.
    std::optional<int> local_ready4;
    std::optional<int> local_ready6;
    std::optional<int> local_ready(IpFamily family) const {
      return family == IpFamily::kIpv4 ? local_ready4 : local_ready6;
    }

    friend bool operator==(const HealthCheck&, const HealthCheck&) = default;
  };
  // Only of a load balancer with externalTrafficPolicy Local.
  std::optional<HealthCheck> HealthCheckOf(std::string_view key) const;

  // Those found since the last call.
  std::vector<Problem> TakeNewProblems();
  // Those that still stand.
  std::vector<Problem> problems() const;

  // ---- for status and metrics ----

  void ForEachService(
      absl::FunctionRef<void(std::string_view key, const kube::Service&)> fn)
      const;
  const kube::Service* FindService(std::string_view key) const;
  size_t service_count() const;
  size_t slice_count() const;
  size_t endpoint_count() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fairlead::model

#endif  // FAIRLEAD_USERSPACE_MODEL_CLUSTER_H_
