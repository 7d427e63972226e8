// SPDX-License-Identifier: Apache-2.0
// What one Service shall look like in the kernel: the frontends of each of
// its ports and which endpoints serve them, with every policy decided.
//
// Values only; no ids, no slots: those are reconcile's.
#ifndef FAIRLEAD_USERSPACE_MODEL_DESIRED_H_
#define FAIRLEAD_USERSPACE_MODEL_DESIRED_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/abi/types.h"
#include "userspace/base/ip_address.h"

namespace fairlead::model {

enum class FrontendKind : uint8_t {
  kClusterIp,
  kNodePort,  // the address is the unspecified one of its family
  kLoadBalancer,
  kExternalIp,
};
// "ClusterIP", "NodePort", "LoadBalancer", "ExternalIP"
std::string_view FrontendKindName(FrontendKind kind);

// The two sets of endpoints that a service port can have on a node.
enum class EndpointSet : uint8_t {
  kCluster,  // those that any node would use, topology hints applied
  kLocal,    // those on this node
};

struct Frontend {
  L4Address address;
  FrontendKind kind = FrontendKind::kClusterIp;
  // Which set serves whom; only looked at with the verdict "forward".
  EndpointSet internal = EndpointSet::kCluster;
  EndpointSet external = EndpointSet::kCluster;
  uint32_t flags = 0;  // FL_SERVICE_*, both verdicts included

  fl_verdict internal_verdict() const;
  fl_verdict external_verdict() const;

  friend bool operator==(const Frontend&, const Frontend&) = default;
};

// An endpoint that may hold flows: in a set, or serving without being in one
// (its flows go on, new ones don't come).
struct ServingEndpoint {
  L4Address address;
  bool cluster = false;
  bool local = false;

  friend bool operator==(const ServingEndpoint&,
                         const ServingEndpoint&) = default;
};

// One port of a Service in one address family. {name, protocol, family} is
// unique in the Service and its identity over time.
struct DesiredPort {
  std::string name;
  Protocol protocol = Protocol::kTcp;
  IpFamily family = IpFamily::kIpv4;
  uint32_t affinity_seconds = 0;  // 0: none
  std::vector<Frontend> frontends;        // by address
  std::vector<ServingEndpoint> endpoints;  // by address, none twice
  // Sources that may use the frontends with FL_SERVICE_SOURCE_RANGES.
  std::vector<IpPrefix> source_ranges;  // sorted

  friend bool operator==(const DesiredPort&, const DesiredPort&) = default;
};

// Ports by (name, protocol, family). Without any, the Service has no place in
// the kernel.
struct DesiredService {
  std::vector<DesiredPort> ports;

  friend bool operator==(const DesiredService&,
                         const DesiredService&) = default;
};

}  // namespace fairlead::model

#endif  // FAIRLEAD_USERSPACE_MODEL_DESIRED_H_
