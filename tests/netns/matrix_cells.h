// SPDX-License-Identifier: Apache-2.0
// What the Service specification says about every kind of client, frontend and
// policy: written from its text (traffic-policy matrix, masquerade rules,
// terminating endpoints), not from the product's model. Data only.
//
// An expectation is "ENDPOINT+ENDPOINT SOURCE", "REJECT" or "DROP". SOURCE is
// "kept", the client's own address, or "masq", the node's. A client on the
// node itself has the node's address in either case. node1 is in zone "a".
#ifndef FAIRLEAD_TESTS_NETNS_MATRIX_CELLS_H_
#define FAIRLEAD_TESTS_NETNS_MATRIX_CELLS_H_

#include <string>
#include <vector>

namespace fairlead::harness {

struct Client {
  const char* name;
  const char* station;
  bool socket_path;
  enum Kind { kPod, kHost, kOutside } kind;
};

inline const std::vector<Client>& Clients() {
  static const std::vector<Client> clients = {
      {"pod, socket path", "a", true, Client::kPod},
      {"pod, packet path", "a", false, Client::kPod},
      {"host", "node1", true, Client::kHost},
      {"outside", "outside", false, Client::kOutside},
      {"host, outside the cgroup", "node1", false, Client::kHost}};
  return clients;
}

struct Policy {
  const char* name;
  bool internal_local = false;
  bool external_local = false;
  std::vector<std::string> endpoints;
  // For a pod, this host, outside. nullptr: not asked.
  const char* cluster_ip[3];
  const char* external[3];  // NodePort, LB VIP, externalIP
  // What a pod on the socket path gets from `external`, and why that isn't
  // what the specification says; nullptr: it is.
  const char* socket_path_external = nullptr;
  const char* socket_path_reason = nullptr;
  const char* traffic_distribution = "";
};

inline const std::vector<Policy>& Policies() {
  static const std::vector<Policy> policies = {
      {"Cluster", false, false, {"l1", "r1"},
       {"l1+r1 kept", "l1+r1 masq", "l1+r1 masq"},
       {"l1+r1 masq", "l1+r1 masq", "l1+r1 masq"}},
      {"eTP Local, one local", false, true, {"l1", "r1"},
       {"l1+r1 kept", "l1+r1 masq", "l1+r1 masq"},
       {"l1+r1 kept", "l1+r1 masq", "l1 kept"}},
      {"eTP Local, none local", false, true, {"r1", "r2"},
       {"r1+r2 kept", "r1+r2 masq", "r1+r2 masq"},
       {"r1+r2 kept", "r1+r2 masq", "DROP"}},
      {"iTP Local, one local", true, false, {"l1", "r1"},
       {"l1 kept", "l1 masq", "l1 masq"},
       {"l1+r1 masq", "l1+r1 masq", "l1+r1 masq"}},
      {"iTP Local, none local", true, false, {"r1", "r2"},
       {"DROP", "DROP", "DROP"},
       {"r1+r2 masq", "r1+r2 masq", "r1+r2 masq"}},
      {"both Local, two local", true, true, {"l1", "l2", "r1"},
       {"l1+l2 kept", "l1+l2 masq", "l1+l2 masq"},
       {"l1+l2+r1 kept", "l1+l2+r1 masq", "l1+l2 kept"}},
      {"both Local, none local", true, true, {"r1"},
       {"DROP", "DROP", "DROP"},
       {"r1 kept", "r1 masq", "DROP"}},
      {"Cluster, no endpoint", false, false, {},
       {"REJECT", "REJECT", "REJECT"},
       {"REJECT", "REJECT", "REJECT"}},
      {"both Local, no endpoint", true, true, {},
       {"REJECT", "REJECT", "REJECT"},
       {"REJECT", "REJECT", "REJECT"}},
      {"both Local, none ready", true, true, {"l1:unready", "r1:unready"},
       {"REJECT", "REJECT", "REJECT"},
       {"REJECT", "REJECT", "REJECT"}},
      // Terminating endpoints serve when nothing better is in their set.
      {"eTP Local, some terminating", false, true,
       {"l1", "l2", "l3:terminating", "r2:dead", "r1"},
       {"l1+l2+r1 kept", "l1+l2+r1 masq", "l1+l2+r1 masq"},
       {"l1+l2+r1 kept", "l1+l2+r1 masq", "l1+l2 kept"}},
      {"eTP Local, local terminating", false, true,
       {"l1:terminating", "l2:terminating", "l3:dead", "r1"},
       {"r1 kept", "r1 masq", "r1 masq"},
       {"r1 kept", "r1 masq", "l1+l2 kept"}},
      {"eTP Cluster, local terminating", false, false,
       {"l1:terminating", "l2:terminating", "l3:dead", "r1"},
       {"r1 kept", "r1 masq", "r1 masq"},
       {"r1 masq", "r1 masq", "r1 masq"}},
      {"eTP Local, remote terminating", false, true, {"r1:terminating"},
       {"r1 kept", "r1 masq", "r1 masq"},
       {"r1 kept", "r1 masq", "DROP"}},
      {"eTP Local, all dead", false, true, {"l1:dead", "r1:dead"},
       {"REJECT", "REJECT", "REJECT"},
       {"REJECT", "REJECT", "REJECT"}},
      // A masquerade is not seen by an endpoint on the node itself.
      {"host network endpoint", false, false, {"node1"},
       {"node1 kept", "node1 kept", "node1 kept"},
       {"node1 kept", "node1 kept", "node1 kept"}},
      // The pod that asks is its own endpoint.
      {"hairpin", false, false, {"a"},
       {"a masq", "a masq", "a masq"},
       {"a masq", "a masq", "a masq"}},
      // Hints of the slices are followed, trafficDistribution itself is not.
      {.name = "zone hints",
       .endpoints = {"l1/zone=a", "l2/zone=b", "r1/zone=a", "r2/zone=b"},
       .cluster_ip = {"l1+r1 kept", "l1+r1 masq", "l1+r1 masq"},
       .external = {"l1+r1 masq", "l1+r1 masq", "l1+r1 masq"},
       .traffic_distribution = "PreferSameZone"},
      {.name = "PreferSameZone without hints",
       .endpoints = {"l1", "r1"},
       .cluster_ip = {"l1+r1 kept", "l1+r1 masq", "l1+r1 masq"},
       .external = {"l1+r1 masq", "l1+r1 masq", "l1+r1 masq"},
       .traffic_distribution = "PreferSameZone"},
      {.name = "zone hints, one without",
       .endpoints = {"l1/zone=a", "r1"},
       .cluster_ip = {"l1+r1 kept", "l1+r1 masq", "l1+r1 masq"},
       .external = {"l1+r1 masq", "l1+r1 masq", "l1+r1 masq"}},
      {.name = "zone hints, none of this zone",
       .endpoints = {"l1/zone=b", "r1/zone=c"},
       .cluster_ip = {"l1+r1 kept", "l1+r1 masq", "l1+r1 masq"},
       .external = {"l1+r1 masq", "l1+r1 masq", "l1+r1 masq"}},
      {.name = "node hints",
       .endpoints = {"l1/zone=a/node=node1", "l2/zone=a/node=node3",
                     "r1/zone=a/node=node2"},
       .cluster_ip = {"l1 kept", "l1 masq", "l1 masq"},
       .external = {"l1 masq", "l1 masq", "l1 masq"},
       .traffic_distribution = "PreferSameNode"},
      {.name = "node hints, none of this node",
       .endpoints = {"l1/zone=b/node=node3", "r1/zone=a/node=node2"},
       .cluster_ip = {"r1 kept", "r1 masq", "r1 masq"},
       .external = {"r1 masq", "r1 masq", "r1 masq"},
       .traffic_distribution = "PreferSameNode"},
      // The local set knows no hints.
      {.name = "zone hints, eTP Local",
       .external_local = true,
       .endpoints = {"l1/zone=b", "r1/zone=a"},
       .cluster_ip = {"r1 kept", "r1 masq", "r1 masq"},
       .external = {"r1 kept", "r1 masq", "l1 kept"}},
      {.name = "zone hints, iTP Local",
       .internal_local = true,
       .endpoints = {"l1/zone=b", "r1/zone=a"},
       .cluster_ip = {"l1 kept", "l1 masq", "l1 masq"},
       .external = {"r1 masq", "r1 masq", "r1 masq"}},
      {.name = "zone hints, all terminating",
       .endpoints = {"l1:terminating/zone=b", "r1:terminating/zone=a"},
       .cluster_ip = {"l1+r1 kept", "l1+r1 masq", "l1+r1 masq"},
       .external = {"l1+r1 masq", "l1+r1 masq", "l1+r1 masq"}}};
  return policies;
}

// With --masquerade-all.
inline const std::vector<Policy>& MasqueradeAllPolicies() {
  static const std::vector<Policy> policies = {
      {"Cluster", false, false, {"l1", "r1"},
       {"l1+r1 masq", "l1+r1 masq", "l1+r1 masq"},
       {"l1+r1 masq", "l1+r1 masq", "l1+r1 masq"}},
      {"eTP Local", false, true, {"l1", "r1"},
       {"l1+r1 masq", "l1+r1 masq", "l1+r1 masq"},
       {"l1+r1 kept", "l1+r1 masq", "l1 kept"}}};
  return policies;
}

// Without --cluster-cidr nobody is known as a pod. Not asked: an endpoint of
// another node that would answer an outside client past this one.
inline const std::vector<Policy>& NoDetectorPolicies() {
  static const std::vector<Policy> policies = {
      {"Cluster", false, false, {"l1", "l2"},
       {"l1+l2 kept", "l1+l2 kept", "l1+l2 kept"},
       {"l1+l2 masq", "l1+l2 masq", "l1+l2 masq"}},
      {"eTP Local", false, true, {"l1", "r1"},
       {"l1+r1 kept", "l1+r1 kept", nullptr},
       {"l1 kept", "l1+r1 masq", "l1 kept"},
       "l1+r1 kept",
       "the socket path needs no detector to know that its client is on this "
       "node, and serves it as a pod of this node"}};
  return policies;
}

// Where this product does otherwise on purpose, and why.
struct Difference {
  const char* wanted;   // the source that the specification has
  const char* instead;  // the source here
  bool hairpin;
  const char* reason;
};
inline const std::vector<Difference>& SocketPathDifferences() {
  static const std::vector<Difference> differences = {
      {"masq", "kept", true,
       "a pod that reaches itself through its socket never leaves: it sees "
       "its own address, and nobody translates the answer"},
      {"masq", "kept", false,
       "a pod on the socket path talks to the endpoint itself: the answer "
       "needs no way back through this node, so its address is kept"}};
  return differences;
}

// A process of the host that isn't in the agent's cgroup is seen behind routing
// only, and where it uses its own NodePorts not at all.
inline constexpr char kUntranslatedReason[] =
    "a host's process outside the agent's cgroup isn't translated: a program "
    "at a device sees its packets after routing";
inline constexpr char kUnseenReason[] =
    "a host's process outside the agent's cgroup reaches its NodePorts by the "
    "loopback device, where nothing is watched and nobody listens";

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_MATRIX_CELLS_H_
