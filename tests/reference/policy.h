// SPDX-License-Identifier: Apache-2.0
// What becomes of the first packet of a flow, by the cluster's state alone
// (sections 2 to 8 of the specification). Pure functions.
#ifndef FAIRLEAD_TESTS_REFERENCE_POLICY_H_
#define FAIRLEAD_TESTS_REFERENCE_POLICY_H_

#include <optional>
#include <set>
#include <string>

#include "tests/reference/state.h"

namespace fairlead::reference {

enum class Client { kPod, kRemotePod, kHost, kOutside };

// Is there a way to tell pods from others?
bool DetectsPods(const Node& node);
Client ClientKind(const Node& node, const IpAddress& source);

enum class Reason {
  kNone,
  kNoEndpoint,
  kNoLocalEndpoint,
  kSourceRange,
  kNoFlow,         // not a first packet, and there is no flow
  kNoService,      // in the Services' range, but nobody's port or address
  kMalformed,
  kFragment,
  kTupleClash,  // answers of two flows could not be told apart
  kNoSourcePort,
};

struct Ruling {
  enum class Kind { kNotOurs, kForward, kReject, kDrop };
  Kind kind = Kind::kNotOurs;
  Reason reason = Reason::kNone;
  ServicePortId port;                 // unless kNotOurs
  std::set<L4Address> endpoints;      // kForward: one of these
  bool masquerade = false;            // a hairpin is, in any case
  uint32_t affinity_seconds = 0;
};

// `kind`: if it isn't told by the client's address.
Ruling RuleOnNewFlow(const State& state, const IpAddress& client,
                     const L4Address& destination,
                     std::optional<Client> kind = std::nullopt);

// What becomes of a connect() to `destination`, or of a datagram that is sent
// there: `host`, on this host, or in a pod.
struct SocketRuling {
  // kDecline: the packets will show.
  enum class Kind { kPass, kTranslate, kRefuse, kDecline };
  Kind kind = Kind::kPass;
  ServicePortId port;             // kTranslate
  std::set<L4Address> endpoints;  // kTranslate: one of these
  uint32_t affinity_seconds = 0;
};
SocketRuling RuleOnSocket(const State& state, bool host,
                          const L4Address& destination);

// What a system call means by it: the unspecified address is loopback.
L4Address AsSocket(L4Address destination);

// Whose is this address, a NodePort's included?
std::optional<FrontendOwner> FindFrontend(const State& state,
                                          const L4Address& destination);

// For what has no ports at all, and is addressed to `destination`.
Ruling RuleOnStray(const State& state, const IpAddress& destination);

// Masqueraded, after the endpoint was chosen?
bool IsMasqueraded(const State& state, const Ruling& ruling,
                   const IpAddress& client, const IpAddress& endpoint);

bool IsOwnAddress(const Node& node, const IpAddress& address);

// What translated sources become; unspecified: the node has no address of that
// family.
IpAddress MasqueradeAddress(const Node& node, IpFamily family);

// The two sets of endpoints of a service port on this node, each empty if the
// port doesn't use it.
struct EndpointSets {
  std::set<L4Address> cluster;
  std::set<L4Address> local;
  bool any = false;  // somewhere one takes traffic
};
EndpointSets SetsOf(const State& state, const ServicePortId& port);

}  // namespace fairlead::reference

#endif  // FAIRLEAD_TESTS_REFERENCE_POLICY_H_
