// SPDX-License-Identifier: Apache-2.0
// A cluster in a box: names and addresses, as a pure function of the box's
// name and its number of nodes.
//
//   fabric (namespace, router)        172.30.0.1     fd00:172:30::1
//     bridge fabric0 -- eth0 node-1   172.30.0.11    fd00:172:30::11
//                    -- eth0 node-2   172.30.0.12    fd00:172:30::12
//     veth client0   -- eth0 outside  198.51.100.2   fd00:198:51::2
//
// The controller runs in the caller's own namespace and listens on loopback
// there and on the fabric's address inside the fabric. Boxes of other names
// use the same addresses: they never meet.
#ifndef FAIRLEAD_USERSPACE_CLI_BOX_H_
#define FAIRLEAD_USERSPACE_CLI_BOX_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"

namespace fairlead::cli {

// An address of each family with its prefix length.
struct DualAddress {
  IpAddress v4, v6;
  int v4_bits = 24, v6_bits = 64;
};

struct Box {
  std::string name = "box";
  std::string root = "/var/lib/fairlead";  // of all boxes
  int nodes = 2;
  Port api_port = 0;  // on 127.0.0.1; chosen at the first start

  std::string Dir() const { return root + "/" + name; }
  std::string Kubeconfig() const { return Dir() + "/kubeconfig"; }
  std::string LogDir() const { return Dir() + "/logs"; }
  std::string BpfDir() const { return Dir() + "/bpf"; }
  std::string LogFile(const std::string& component) const;
  std::string PidFile(const std::string& component) const;

  static std::string NodeName(int node) { return "node-" + std::to_string(node); }
  std::string NodeDir(int node) const { return Dir() + "/" + NodeName(node); }
  std::string AdminSocket(int node) const;
  // Below the root of cgroup v2.
  std::string CgroupName() const { return "fairlead-" + name; }

  // Names of network namespaces.
  std::string Fabric() const { return "fl-" + name + "-fabric"; }
  std::string Outside() const { return "fl-" + name + "-outside"; }
  std::string NodeNetns(int node) const;
  // The kubelet's pods have namespaces with this prefix.
  std::string PodNetnsPrefix(int node) const;

  static DualAddress FabricAddress();
  static DualAddress RouterOfOutside();
  static DualAddress OutsideAddress();
  static DualAddress NodeAddress(int node);

  static std::string FabricApiUrl();  // for nodes

  // The authority's folder (pki/authority.h).
  std::string PkiDir() const { return Dir() + "/pki"; }
  // What a node's daemons show the API server (credentials.h).
  std::string AgentKubeconfig(int node) const;
  std::string KubeletKubeconfig(int node) const;
  // What its kubelet shows whoever connects.
  std::string KubeletCertificate(int node) const;
  std::string KubeletKey(int node) const;
};

inline constexpr char kClusterCidrs[] = "10.244.0.0/16,fd00:10:244::/56";
inline constexpr char kServiceCidrs[] = "10.96.0.0/16,fd00:10:96::/108";
inline constexpr int kMaxNodes = 16;

// A name becomes part of namespaces' names; a dash would let one box's prefix
// be another's.
[[nodiscard]] absl::Status ValidateBox(const Box& box);

// state.json in the box's folder: NotFound when there is no such box.
[[nodiscard]] absl::StatusOr<Box> LoadBox(const std::string& root,
                                          const std::string& name);
[[nodiscard]] absl::Status SaveBox(const Box& box);
// Names of the boxes under `root`.
std::vector<std::string> ListBoxes(const std::string& root);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_BOX_H_
