// SPDX-License-Identifier: Apache-2.0
// Which UDP exchanges a clean-up ends: the situations of Kubernetes' own tests
// of it (every destination with every endpoint, in every protocol), over one
// cluster state, and what is beyond them. Any thread.
#ifndef FAIRLEAD_TESTS_UNIT_UDP_CLEANUP_ROWS_H_
#define FAIRLEAD_TESTS_UNIT_UDP_CLEANUP_ROWS_H_

#include <string>
#include <vector>

#include "userspace/agent/udp_serving.h"
#include "userspace/base/ip_address.h"
#include "userspace/model/cluster.h"

namespace fairlead {

// An address by family; IPv4 and IPv6 differ in nothing else.
struct CleanupAddress {
  const char* name;
  const char* v4;
  const char* v6;
  Port port;
  // A destination: whose UDP exchanges stay? "dns": those with an endpoint
  // that serves it; "other": with one of the other Service's; "": nobody's.
  // An endpoint: whom it serves.
  const char* of;

  L4Address At(IpFamily family, Protocol protocol) const {
    return {*IpAddress::Parse(family == IpFamily::kIpv4 ? v4 : v6), port,
            protocol};
  }
};

inline constexpr CleanupAddress kCleanupDestinations[] = {
    {"ClusterIP", "10.96.0.10", "fd96::10", 53, "dns"},
    {"LB VIP", "198.51.100.10", "2001:db8:51::10", 53, "dns"},
    {"external IP", "203.0.113.10", "2001:db8:113::10", 53, "dns"},
    {"NodePort", "172.31.1.2", "fd31:1::2", 30053, "dns"},
    {"NodePort, another address", "172.31.1.3", "fd31:1::3", 30053, "dns"},
    {"another Service", "10.96.0.11", "fd96::11", 53, "other"},
    {"a Service that has gone", "10.96.0.12", "fd96::12", 53, ""},
    {"ClusterIP, a port that it hasn't", "10.96.0.10", "fd96::10", 54, ""},
    {"LB VIP of a TCP port", "198.51.100.10", "2001:db8:51::10", 80, ""},
    {"a node's port that is no NodePort", "172.31.1.2", "fd31:1::2", 30054,
     ""},
};

inline constexpr CleanupAddress kCleanupEndpoints[] = {
    {"ready", "10.244.0.1", "fd44::1", 5353, "dns"},
    {"terminating, serving", "10.244.0.2", "fd44::2", 5353, "dns"},
    {"on another node", "10.244.0.3", "fd44::3", 5353, "dns"},
    {"not serving", "10.244.0.4", "fd44::4", 5353, ""},
    {"gone", "10.244.0.5", "fd44::5", 5353, ""},
    {"the port it had before", "10.244.0.1", "fd44::1", 5354, ""},
    {"another Service's", "10.244.0.6", "fd44::6", 5353, "other"},
};

inline bool CleanupKeeps(const CleanupAddress& destination,
                         const CleanupAddress& endpoint) {
  const std::string of = destination.of;
  return !of.empty() && of == endpoint.of;
}

// The cluster state: Service "dns", with policy Local in and out, which means
// nothing here, and Service "other".
inline agent::UdpServing CleanupServing() {
  model::NodeConfig node;
  node.name = "node-1";
  model::Cluster cluster(node);
  for (const char* name : {"dns", "other"}) {
    kube::Service service;
    service.meta = {"default", name, "", ""};
    service.type = kube::ServiceType::kLoadBalancer;
    service.internal_local = service.external_local = true;
    const bool dns = std::string(name) == "dns";
    service.ports = {{"udp", Protocol::kUdp, 53,
                      static_cast<Port>(dns ? 30053 : 0)}};
    if (dns) service.ports.push_back({"tcp", Protocol::kTcp, 80, 0});
    for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
      auto ip = [&](int row) {
        return kCleanupDestinations[row].At(family, Protocol::kUdp).address;
      };
      service.cluster_ips.push_back(ip(dns ? 0 : 5));
      if (dns) {
        service.load_balancer_vips.push_back(ip(1));
        service.external_ips.push_back(ip(2));
      }
      kube::EndpointSlice slice;
      slice.meta = {"default",
                    std::string(name) + std::string(IpFamilyName(family)), "",
                    ""};
      slice.service_name = name;
      slice.family = family;
      slice.ports = {{"udp", Protocol::kUdp, 5353},
                     {"tcp", Protocol::kTcp, 5353}};
      for (int row : dns ? std::vector<int>{0, 1, 2, 3}
                         : std::vector<int>{6}) {
        kube::Endpoint endpoint;
        endpoint.address =
            kCleanupEndpoints[row].At(family, Protocol::kUdp).address;
        endpoint.node_name = row == 2 ? "node-2" : "node-1";
        endpoint.ready = row != 1 && row != 3;
        endpoint.serving = row != 3;
        endpoint.terminating = row == 1;
        slice.endpoints.push_back(endpoint);
      }
      cluster.PutEndpointSlice(slice);
    }
    cluster.PutService(service);
  }
  agent::UdpServing serving;
  for (const char* key : {"default/dns", "default/other"}) {
    serving.Update(key, cluster.Desired(key));
  }
  return serving;
}

}  // namespace fairlead

#endif  // FAIRLEAD_TESTS_UNIT_UDP_CLEANUP_ROWS_H_
