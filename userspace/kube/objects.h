// SPDX-License-Identifier: Apache-2.0
// The parts of Services, EndpointSlices and Nodes that a Service proxy reads,
// as decoded values (k8s core/v1 and discovery.k8s.io/v1). Values only: copy
// and share freely.
#ifndef FAIRLEAD_USERSPACE_KUBE_OBJECTS_H_
#define FAIRLEAD_USERSPACE_KUBE_OBJECTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/base/ip_address.h"
#include "userspace/kube/encoded_object.h"

namespace fairlead::kube {

struct ObjectMeta {
  std::string ns;
  std::string name;
  std::string uid;
  std::string resource_version;
  absl::Time creation = absl::InfinitePast();  // if the object doesn't say

  friend bool operator==(const ObjectMeta&, const ObjectMeta&) = default;
};

struct ServicePort {
  std::string name;
  Protocol protocol = Protocol::kTcp;
  Port port = 0;
  Port node_port = 0;  // 0: none

  friend bool operator==(const ServicePort&, const ServicePort&) = default;
};

enum class ServiceType { kClusterIp, kNodePort, kLoadBalancer, kExternalName };

struct Service {
  ObjectMeta meta;
  ServiceType type = ServiceType::kClusterIp;
  // Empty or headless() when the proxy has nothing to do.
  std::vector<IpAddress> cluster_ips;
  bool headless = false;
  bool other_proxy = false;  // label service.kubernetes.io/service-proxy-name
  std::vector<ServicePort> ports;
  std::vector<IpAddress> external_ips;
  // status.loadBalancer.ingress[] with an ip and ipMode nil or "VIP".
  std::vector<IpAddress> load_balancer_vips;
  std::vector<IpPrefix> source_ranges;
  absl::Duration affinity = absl::ZeroDuration();  // zero: none
  bool internal_local = false;  // internalTrafficPolicy: Local
  bool external_local = false;  // externalTrafficPolicy: Local
  Port health_check_node_port = 0;

  friend bool operator==(const Service&, const Service&) = default;
};

struct EndpointPort {
  std::string name;
  Protocol protocol = Protocol::kTcp;
  Port port = 0;

  friend bool operator==(const EndpointPort&, const EndpointPort&) = default;
};

struct Endpoint {
  IpAddress address;  // addresses[0]
  bool ready = true;
  bool serving = true;
  bool terminating = false;
  std::string node_name;
  std::vector<std::string> zone_hints;
  std::vector<std::string> node_hints;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

struct EndpointSlice {
  ObjectMeta meta;
  std::string service_name;  // label kubernetes.io/service-name; may be empty
  std::optional<IpFamily> family;  // nullopt: FQDN
  std::vector<EndpointPort> ports;  // those without a name or port left out
  std::vector<Endpoint> endpoints;
  // Annotation endpoints.kubernetes.io/last-change-trigger-time.
  std::optional<absl::Time> last_change;

  friend bool operator==(const EndpointSlice&, const EndpointSlice&) = default;
};

struct Node {
  ObjectMeta meta;
  std::string zone;  // label topology.kubernetes.io/zone
  std::vector<IpAddress> internal_ips;
  std::vector<IpPrefix> pod_cidrs;
  std::vector<std::string> taints;  // keys
  bool being_deleted = false;       // has a deletionTimestamp

  friend bool operator==(const Node&, const Node&) = default;
};

// Decode one object. Errors are kInvalidArgument and name the field. JSON
// needs no padding here. Unknown fields are skipped.
[[nodiscard]] absl::StatusOr<Service> DecodeService(const EncodedObject& from);
[[nodiscard]] absl::StatusOr<EndpointSlice> DecodeEndpointSlice(
    const EncodedObject& from);
[[nodiscard]] absl::StatusOr<Node> DecodeNode(const EncodedObject& from);
// Only the metadata, of any kind: for deletions, and to name an object that
// has something wrong elsewhere.
[[nodiscard]] absl::StatusOr<ObjectMeta> DecodeMeta(const EncodedObject& from);
// EndpointSlice::service_name of a slice that can't be decoded; or "".
std::string EndpointSliceServiceName(const EncodedObject& from);

// The same of JSON text.
[[nodiscard]] absl::StatusOr<Service> DecodeService(std::string_view json);
[[nodiscard]] absl::StatusOr<EndpointSlice> DecodeEndpointSlice(
    std::string_view json);
[[nodiscard]] absl::StatusOr<Node> DecodeNode(std::string_view json);
[[nodiscard]] absl::StatusOr<ObjectMeta> DecodeMeta(std::string_view json);
std::string EndpointSliceServiceName(std::string_view json);

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_OBJECTS_H_
