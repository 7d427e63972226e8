// SPDX-License-Identifier: Apache-2.0
// What Kubernetes' fields mean, whatever encoding they come in: shared by the
// JSON and the protobuf decoder only.
#ifndef FAIRLEAD_USERSPACE_KUBE_OBJECT_FIELDS_H_
#define FAIRLEAD_USERSPACE_KUBE_OBJECT_FIELDS_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "userspace/base/ip_address.h"
#include "userspace/kube/objects.h"

namespace fairlead::kube {

inline constexpr char kServiceNameLabel[] = "kubernetes.io/service-name";
inline constexpr char kServiceProxyNameLabel[] =
    "service.kubernetes.io/service-proxy-name";
inline constexpr char kZoneLabel[] = "topology.kubernetes.io/zone";
inline constexpr char kLastChangeAnnotation[] =
    "endpoints.kubernetes.io/last-change-trigger-time";

inline constexpr int64_t kMaxPort = std::numeric_limits<Port>::max();
inline constexpr int64_t kMaxAffinitySeconds = 86400;
inline constexpr int64_t kDefaultAffinitySeconds = 10800;

// "" is the default of each; nullopt: unknown.
inline std::optional<ServiceType> ServiceTypeOf(std::string_view text) {
  if (text.empty() || text == "ClusterIP") return ServiceType::kClusterIp;
  if (text == "NodePort") return ServiceType::kNodePort;
  if (text == "LoadBalancer") return ServiceType::kLoadBalancer;
  if (text == "ExternalName") return ServiceType::kExternalName;
  return std::nullopt;
}
inline std::optional<Protocol> ProtocolOf(std::string_view text) {
  return text.empty() ? Protocol::kTcp : ParseProtocol(text);
}

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_OBJECT_FIELDS_H_
