// SPDX-License-Identifier: Apache-2.0
// Every change that can be made under a Service whose flows are to last, in the
// order in which they are made; and what becomes of the flows, as the Service
// specification has it. Data only.
//
// TCP has no column: no change ends a connection. Nor does a change end a UDP
// exchange with an endpoint that goes on serving the Service, whatever policy,
// topology, affinity or source ranges say about new ones (they are looked at
// when a flow begins).
#ifndef FAIRLEAD_TESTS_NETNS_LASTING_ROWS_H_
#define FAIRLEAD_TESTS_NETNS_LASTING_ROWS_H_

#include <string>
#include <vector>

#include "tests/netns/service_bed.h"

namespace fairlead::harness {

// What the world is to be like.
struct Wanted {
  ServiceSpec service;
  std::string zone;       // of node1
  std::string node_spec;  // as ServiceBed::PutNode() takes it
  std::vector<std::string> service_cidrs;
  std::vector<std::string> flags = ServiceBed::ClusterCidrs();
};

// How it becomes so.
enum class Act {
  kPut,        // the objects that are different
  kRecreate,   // the Service is deleted, and put when that has taken effect
  kRestart,    // the agent, by SIGTERM and with the flags
  kKill,       // the agent, by SIGKILL
  kLoseApi,    // the API server goes
  kKillAlone,  // the agent is killed while there is no API server, which comes
               // back after it, with the objects changed
  kOtherVersion,  // one with other map layouts takes over, and the agent again
};

// Who answers new flows: "l1+r1", "DROP", "REFUSED". What isn't given is as
// the one before it.
struct Fresh {
  const char* cluster_ip = nullptr;
  const char* external = nullptr;  // NodePort, VIP, external IP
  const char* outside = nullptr;   // the same, for clients outside
  const char* vip = nullptr;       // where it differs from `external`
  bool sticky = false;             // each client has one of them
};

struct Row {
  const char* name;
  void (*change)(Wanted*);
  Act act = Act::kPut;
  Fresh fresh = {};  // without a cluster_ip: as before this row
  // Endpoints, "all" or "": UDP exchanges with these end. A socket that knows
  // its endpoint itself gets an error; else the next datagram is treated as a
  // new flow's.
  const char* udp_ends = "";
  // Names of ways that are not the Service's (any more): who asks them isn't
  // answered, and exchanges through them end.
  const char* gone = "";
  // Names of ways that new flows don't find, while what they have opened goes on;
  // but for unconnected sockets on the socket path, each of whose datagrams asks
  // anew (docs/semantics.md).
  const char* closed = "";
  // Ways of which an unconnected socket of a pod on the socket path may find
  // another endpoint (docs/design/socket-path.md, known gaps).
  const char* pod_moves = "";
  // So may any unconnected socket on the socket path (docs/semantics.md).
  bool sockets_move = false;
  // Where kube-proxy 1.36 does otherwise.
  const char* upstream = "";
};

inline void Same(Wanted*) {}

inline const std::vector<Row>& LastingRows() {
  static const std::vector<Row> rows = {
      // ---- endpoints ----
      {.name = "nothing",
       .change = Same,
       .fresh = {"l1+l2+r1"}},
      {.name = "an endpoint comes",
       .change = [](Wanted* w) {
         w->service.endpoints = {"l1", "l2", "r1", "r2"};
       },
       .fresh = {"l1+l2+r1+r2"}},
      {.name = "one goes",
       .change = [](Wanted* w) {
         w->service.endpoints = {"l1", "r1", "r2"};
       },
       .fresh = {"l1+r1+r2"},
       .udp_ends = "l2"},
      {.name = "another isn't ready any more",
       .change = [](Wanted* w) {
         w->service.endpoints = {"l1", "r1", "r2:unready"};
       },
       .fresh = {"l1+r1"},
       .udp_ends = "r2"},
      {.name = "it is ready again",
       .change = [](Wanted* w) {
         w->service.endpoints = {"l1", "r1", "r2"};
       },
       .fresh = {"l1+r1+r2"}},
      {.name = "one terminates, still serving",
       .change = [](Wanted* w) {
         w->service.endpoints = {"l1:terminating", "r1", "r2"};
       },
       .fresh = {"r1+r2"}},
      // ---- policies ----
      {.name = "external policy Local, the one here terminates",
       .change = [](Wanted* w) { w->service.external_local = true; },
       .fresh = {"r1+r2", "r1+r2", "l1"}},
      {.name = "internal policy Local, too",
       .change = [](Wanted* w) { w->service.internal_local = true; },
       .fresh = {"l1", "r1+r2", "l1"}},
      {.name = "the one here doesn't serve any more",
       .change = [](Wanted* w) {
         w->service.endpoints = {"l1:dead", "r1", "r2"};
       },
       .fresh = {"DROP", "r1+r2", "DROP"},
       .udp_ends = "l1"},
      {.name = "both policies Cluster, and another one here",
       .change = [](Wanted* w) {
         w->service.endpoints = {"l2", "r1", "r2"};
         w->service.external_local = w->service.internal_local = false;
       },
       .fresh = {"l2+r1+r2"}},
      {.name = "both policies Local",
       .change = [](Wanted* w) {
         w->service.external_local = w->service.internal_local = true;
       },
       .fresh = {"l2", "l2+r1+r2", "l2"}},
      {.name = "both policies Cluster",
       .change = [](Wanted* w) {
         w->service.external_local = w->service.internal_local = false;
       },
       .fresh = {"l2+r1+r2"}},
      // ---- affinity, source ranges ----
      {.name = "session affinity",
       .change = [](Wanted* w) { w->service.affinity_seconds = 10800; },
       .fresh = {.cluster_ip = "l2+r1+r2", .sticky = true}},
      {.name = "another timeout",
       .change = [](Wanted* w) { w->service.affinity_seconds = 60; },
       .fresh = {.cluster_ip = "l2+r1+r2", .sticky = true}},
      {.name = "no session affinity",
       .change = [](Wanted* w) { w->service.affinity_seconds = 0; },
       .fresh = {"l2+r1+r2"}},
      {.name = "source ranges without any client",
       .change = [](Wanted* w) {
         w->service.source_ranges = {"192.0.2.200/32", "2001:db8:ffff::/64"};
       },
       .fresh = {.cluster_ip = "l2+r1+r2", .vip = "DROP"}},
      {.name = "source ranges with all of them",
       .change = [](Wanted* w) {
         w->service.source_ranges = {"192.0.2.0/24", "10.244.0.0/16",
                                     "172.31.1.0/24", "2001:db8::/64",
                                     "fd44::/16", "fd31:1::/64"};
       },
       .fresh = {"l2+r1+r2"}},
      {.name = "no source ranges",
       .change = [](Wanted* w) { w->service.source_ranges.clear(); },
       .fresh = {"l2+r1+r2"},
       .pod_moves = "LB VIP"},
      // ---- ports ----
      {.name = "a port is added",
       .change = [](Wanted* w) { w->service.more_ports = true; }},
      {.name = "slices know the ports by another name, too",
       .change = [](Wanted* w) {
         w->service.slice_port_names = {"", "-new"};
       }},
      {.name = "the ports are renamed",
       .change = [](Wanted* w) { w->service.port_names = "-new"; }},
      {.name = "slices forget the old names",
       .change = [](Wanted* w) { w->service.slice_port_names = {"-new"}; }},
      {.name = "the added port goes",
       .change = [](Wanted* w) { w->service.more_ports = false; }},
      // ---- addresses and types ----
      {.name = "a health-check port, with the external policy Local",
       .change = [](Wanted* w) {
         w->service.health_check_port = 32000;
         w->service.external_local = true;
       },
       .fresh = {"l2+r1+r2", "l2+r1+r2", "l2"}},
      {.name = "another health-check port",
       .change = [](Wanted* w) { w->service.health_check_port = 32001; }},
      {.name = "no health-check port, policy Cluster",
       .change = [](Wanted* w) {
         w->service.health_check_port = 0;
         w->service.external_local = false;
       },
       .fresh = {"l2+r1+r2"}},
      {.name = "the external IPs go",
       .change = [](Wanted* w) { w->service.external_ips = false; },
       .gone = "externalIP",
       .upstream = "UDP through them goes on while it doesn't pause"},
      {.name = "they come back",
       .change = [](Wanted* w) { w->service.external_ips = true; }},
      {.name = "other load-balancer VIPs",
       .change = [](Wanted* w) { w->service.vip = 240; },
       .gone = "LB VIP",
       .upstream = "UDP through the old ones goes on while it doesn't pause"},
      {.name = "the first VIPs again",
       .change = [](Wanted* w) { w->service.vip = 0; }},
      {.name = "another NodePort",
       .change = [](Wanted* w) { w->service.node_port = 31000; },
       .gone = "NodePort",
       .upstream = "UDP through the old one goes on while it doesn't pause"},
      {.name = "the first NodePort again",
       .change = [](Wanted* w) { w->service.node_port = 0; }},
      {.name = "type NodePort",
       .change = [](Wanted* w) { w->service.type = "NodePort"; },
       .gone = "LB VIP",
       .upstream = "UDP through the VIPs goes on while it doesn't pause"},
      {.name = "type ClusterIP",
       .change = [](Wanted* w) { w->service.type = "ClusterIP"; },
       .gone = "LB VIP, NodePort",
       .upstream = "UDP through the NodePort goes on while it doesn't pause"},
      {.name = "type LoadBalancer",
       .change = [](Wanted* w) { w->service.type = "LoadBalancer"; }},
      {.name = "type ExternalName",
       .change = [](Wanted* w) { w->service.type = "ExternalName"; },
       .gone = "ClusterIP, NodePort, LB VIP, externalIP",
       .upstream = "UDP goes on while it doesn't pause (kubernetes#141371)"},
      {.name = "type LoadBalancer once more",
       .change = [](Wanted* w) { w->service.type = "LoadBalancer"; }},
      {.name = "the Service is deleted and created anew",
       .change = Same,
       .act = Act::kRecreate,
       .udp_ends = "all",
       .upstream = "UDP goes on while it doesn't pause (kubernetes#141371)"},
      {.name = "no endpoint is left",
       .change = [](Wanted* w) { w->service.endpoints = {}; },
       .fresh = {"REFUSED"},
       .udp_ends = "all",
       .upstream = "UDP goes on to dead addresses (kubernetes#139628)"},
      {.name = "there are endpoints again",
       .change = [](Wanted* w) {
         w->service.endpoints = {"l1", "l2", "r1", "r2"};
       },
       .fresh = {"l1+l2+r1+r2"}},
      // ---- topology, the node ----
      {.name = "zone hints, on a node with a zone",
       .change = [](Wanted* w) {
         w->service.endpoints = {"l1/zone=a", "l2/zone=b", "r1/zone=a",
                                 "r2/zone=b"};
         w->service.traffic_distribution = "PreferSameZone";
         w->zone = "a";
       },
       .fresh = {"l1+r1"}},
      {.name = "the node is in another zone",
       .change = [](Wanted* w) { w->zone = "b"; },
       .fresh = {"l2+r2"}},
      {.name = "node hints",
       .change = [](Wanted* w) {
         w->service.endpoints = {"l1/zone=a/node=node1", "l2/zone=b/node=n3",
                                 "r1/zone=a/node=node2",
                                 "r2/zone=b/node=node2"};
         w->service.traffic_distribution = "PreferSameNode";
       },
       .fresh = {"l1"}},
      {.name = "no hints, and a node that is about to go",
       .change = [](Wanted* w) {
         w->service.endpoints = {"l1", "l2", "r1", "r2"};
         w->service.traffic_distribution = "";
         w->node_spec =
             R"(,"taints":[{"key":"ToBeDeletedByClusterAutoscaler",)"
             R"("effect":"NoSchedule"}])";
       },
       .fresh = {"l1+l2+r1+r2"}},
      {.name = "it stays",
       .change = [](Wanted* w) { w->node_spec = ""; }},
      // ---- slices, ranges ----
      {.name = "a slice for each endpoint",
       .change = [](Wanted* w) {
         w->service.slices = ServiceSpec::Slices::kOneEach;
       }},
      {.name = "every endpoint in two slices",
       .change = [](Wanted* w) {
         w->service.slices = ServiceSpec::Slices::kTwice;
       }},
      {.name = "one slice",
       .change = [](Wanted* w) {
         w->service.slices = ServiceSpec::Slices::kOne;
       }},
      {.name = "ServiceCIDRs",
       .change = [](Wanted* w) {
         w->service_cidrs = {"10.96.0.0/16", "fd96::/112"};
       }},
      {.name = "other ServiceCIDRs",
       .change = [](Wanted* w) {
         w->service_cidrs = {"10.97.0.0/16", "fd97::/112"};
       }},
      // ---- the agent, the API server ----
      {.name = "the agent is restarted", .change = Same, .act = Act::kRestart},
      {.name = "the agent is killed", .change = Same, .act = Act::kKill},
      // Without a detector, endpoints elsewhere would answer a client outside
      // past this node.
      {.name = "those elsewhere go",
       .change = [](Wanted* w) { w->service.endpoints = {"l1", "l2"}; },
       .fresh = {"l1+l2"},
       .udp_ends = "r1, r2"},
      {.name = "--masquerade-all",
       .change = [](Wanted* w) { w->flags.push_back("--masquerade-all"); },
       .act = Act::kRestart},
      {.name = "no local detector",
       .change = [](Wanted* w) { w->flags = {}; },
       .act = Act::kRestart},
      {.name = "another local detector",
       .change = [](Wanted* w) {
         w->flags = {"--detect-local-mode", "InterfaceNamePrefix",
                     "--pod-interface-name-prefix", "pod-"};
       },
       .act = Act::kRestart},
      {.name = "the first one again",
       .change = [](Wanted* w) { w->flags = ServiceBed::ClusterCidrs(); },
       .act = Act::kRestart},
      {.name = "those elsewhere are back",
       .change = [](Wanted* w) {
         w->service.endpoints = {"l1", "l2", "r1", "r2"};
       },
       .fresh = {"l1+l2+r1+r2"}},
      {.name = "--nodeport-addresses without any of this node",
       .change = [](Wanted* w) {
         w->flags.insert(w->flags.end(),
                         {"--nodeport-addresses", "192.0.2.128/25"});
       },
       .act = Act::kRestart,
       .closed = "NodePort",
       .upstream = "unconnected UDP sockets go on while they don't pause"},
      {.name = "--nodeport-addresses as before",
       .change = [](Wanted* w) { w->flags = ServiceBed::ClusterCidrs(); },
       .act = Act::kRestart},
      {.name = "the VIPs go",
       .change = [](Wanted* w) { w->service.vip = 240; },
       .gone = "LB VIP",
       .upstream = "UDP through them goes on while it doesn't pause"},
      {.name = "another version of the maps, and back",
       .change = Same,
       .act = Act::kOtherVersion,
       .gone = "LB VIP"},
      {.name = "the VIPs are back",
       .change = [](Wanted* w) { w->service.vip = 0; }},
      {.name = "the API server goes", .change = Same, .act = Act::kLoseApi},
      {.name = "the agent is killed without it; it comes back, one gone",
       .change = [](Wanted* w) {
         w->service.endpoints = {"l1", "l2", "r1"};
       },
       .act = Act::kKillAlone,
       .fresh = {"l1+l2+r1"},
       .udp_ends = "r2"},
      {.name = "the API server goes once more",
       .change = Same,
       .act = Act::kLoseApi},
      {.name = "the ports are renamed, and no agent sees how",
       .change = [](Wanted* w) {
         w->service.port_names = "-other";
         w->service.slice_port_names = {"-other"};
       },
       .act = Act::kKillAlone,
       .sockets_move = true,
       .upstream = "unconnected UDP sockets stay with their endpoint"},
  };
  return rows;
}

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_LASTING_ROWS_H_
