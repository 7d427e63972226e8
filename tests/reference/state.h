// SPDX-License-Identifier: Apache-2.0
// The reference: what should happen to a packet, written from the
// specification of Service semantics alone. It shares no code with what it
// judges: nothing of model, reconcile or bpf. Plain and slow on purpose: every
// answer is worked out anew from the API's objects.
//
// This file: the cluster's state as a node sees it. Threads: one at a time.
#ifndef FAIRLEAD_TESTS_REFERENCE_STATE_H_
#define FAIRLEAD_TESTS_REFERENCE_STATE_H_

#include <compare>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "userspace/base/ip_address.h"
#include "userspace/kube/objects.h"

namespace fairlead::reference {

// A reference that is wrong in one rule, for canaries.
enum class Flaw {
  kNone,
  kMasquerade,   // a pod's source is kept where it should be translated
  kTerminating,  // a terminating endpoint never serves
  kSourceRange,  // ranges hold for no client
  kReply,        // answers keep the endpoint's address
  kHints,        // zone hints count where only some endpoints have one
  kAffinity,     // affinity outlives its endpoint
  kFragment,     // later fragments are nobody's
  kSctp,         // SCTP without a flow is answered
  kRanges,       // one range of ClusterIPs counts
  kHealth,       // what is unhealthy gets new flows
  kStrayError,   // ICMP errors about nothing that is known are passed
  kExtensions,   // IPv6 packets with extension headers are nobody's
  kNodeAddress,  // masqueraded flows outlive their address
  kDecline,      // the socket path looks at no source ranges
  kExchange,     // a socket's exchange ends when new ones are dropped
};

// What is known of an endpoint beside its conditions, and before they change.
enum class Health { kOn, kDrain, kOff };

// How it is told that a client is a pod of the cluster's.
enum class Detection {
  kByAddress,  // Node::pods
  kByNode,     // Node::own_pods
  kByDevice,   // Node::device_has_pods
};

struct Node {
  struct Address {
    IpAddress address;
    bool node_port = false;  // NodePorts answer on it
  };
  std::string name;
  std::string zone;
  std::vector<Address> addresses;     // this host's own
  Detection detection = Detection::kByAddress;
  // Is the one device that packets come in through a pod's?
  bool device_has_pods = false;
  std::vector<IpPrefix> pods;         // all of the cluster; none: not known
  std::vector<IpPrefix> own_pods;     // of this node; none: not known
  std::vector<IpPrefix> service_cidrs;  // none: not known
  std::vector<IpAddress> masquerade;  // at most one a family
  Port source_port_min = 0;  // of translated sources
  Port source_port_max = 0;
  bool masquerade_all = false;
  Flaw flaw = Flaw::kNone;
};

enum class FrontendKind { kClusterIp, kLoadBalancer, kExternalIp, kNodePort };

// What affinity and stale-flow rules hold for.
struct ServicePortId {
  std::string service;  // namespace/name
  std::string port;
  Protocol protocol = Protocol::kTcp;
  IpFamily family = IpFamily::kIpv4;

  friend auto operator<=>(const ServicePortId&,
                          const ServicePortId&) = default;
};

struct FrontendOwner {
  FrontendKind kind = FrontendKind::kClusterIp;
  ServicePortId port;
};

// An endpoint of one service port, seen from this node.
struct Candidate {
  L4Address address;
  bool ready = false;
  bool serving = false;
  bool terminating = false;
  bool local = false;
  std::vector<std::string> zone_hints;
  std::vector<std::string> node_hints;
};

class State {
 public:
  Node node;
  // Of those that aren't kOn: at most 7, as more in a row may not be stepped
  // over (docs/semantics.md, limits).
  std::map<L4Address, Health> health;

  Health HealthOf(const L4Address& endpoint) const {
    auto it = health.find(endpoint);
    return it == health.end() || node.flaw == Flaw::kHealth ? Health::kOn
                                                            : it->second;
  }

  void PutService(const kube::Service& service);
  void DeleteService(const std::string& key);
  void PutSlice(const kube::EndpointSlice& slice);
  void DeleteSlice(const std::string& key);

  const std::map<std::string, kube::Service>& services() const {
    return services_;
  }
  const std::map<std::string, kube::EndpointSlice>& slices() const {
    return slices_;
  }

  // Whose frontend is exactly this address (NodePorts: the unspecified one)?
  // Of several Services that want it, the oldest one's.
  std::optional<FrontendOwner> OwnerOf(const L4Address& frontend) const;
  // Is the address a Service's own, whatever the port? (NodePorts have none.)
  bool IsServiceAddress(const IpAddress& address) const;
  // All that Services have in a family, whoever owns their frontends.
  std::vector<ServicePortId> PortsOf(IpFamily family) const;
  // Or have all its addresses gone to other Services?
  bool HasFrontend(const ServicePortId& port) const;
  // Each address and port once, by address.
  std::vector<Candidate> CandidatesOf(const ServicePortId& port) const;
  // Those that may keep the flows that they have.
  std::set<L4Address> KeepersOf(const ServicePortId& port) const;

 private:
  std::map<std::string, kube::Service> services_;
  std::map<std::string, kube::EndpointSlice> slices_;
};

std::string KeyOf(const kube::ObjectMeta& meta);

}  // namespace fairlead::reference

#endif  // FAIRLEAD_TESTS_REFERENCE_STATE_H_
