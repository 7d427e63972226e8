// SPDX-License-Identifier: Apache-2.0
// What an agent is told at its start: parsed once, checked as a whole, then
// constant. Values only.
#ifndef FAIRLEAD_USERSPACE_AGENT_CONFIG_H_
#define FAIRLEAD_USERSPACE_AGENT_CONFIG_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/agent/takeover_mode.h"
#include "userspace/base/ip_address.h"
#include "userspace/datapath/map_sizes.h"
#include "userspace/kube/kubeconfig.h"

namespace fairlead::agent {

struct PortRange {
  Port first = 0;
  Port last = 0;
};

struct SocketAddress {
  IpAddress address;
  Port port = 0;
};

// Of the packet mark. kube-proxy's rules would take packets with its own bit for
// theirs; 13 is the CNI plugin portmap's, 15 the kubelet's.
inline constexpr int kDefaultMasqueradeBit = 12;
inline constexpr int kKubeProxyMasqueradeBit = 14;

// The flags as they were given; text that nobody has looked at yet.
struct Flags {
  std::string kubeconfig;
  std::string server;
  std::string node_name;
  std::string node_ip;
  std::string cgroup_root;
  std::string bpf_root;
  std::vector<std::string> devices;
  std::vector<std::string> cluster_cidrs;
  std::vector<std::string> service_cidrs;
  std::vector<std::string> node_pod_cidrs;
  std::string detect_local_mode = "ClusterCIDR";
  std::string pod_bridge_interface;
  std::string pod_interface_name_prefix;
  std::vector<std::string> nodeport_addresses;  // empty: the next one
  std::string default_nodeport_addresses = "primary";
  std::string node_port_range = "30000-32767";
  std::string masquerade_source_ports = "10240-29999";
  bool masquerade_all = false;
  int64_t masquerade_bit = kDefaultMasqueradeBit;
  // What kube-proxy has, by its own settings.
  std::optional<int64_t> kube_proxy_masquerade_bit;
  std::optional<int> oom_score_adj;
  bool bind_address_hard_fail = false;
  std::string admin_socket = "/run/fairlead/agent.sock";
  std::string healthz_bind_address = "0.0.0.0:10256";
  std::string metrics_bind_address = "127.0.0.1:10249";
  std::string log_level = "info";
  std::vector<std::string> map_sizes;
  std::string tc_mode = "auto";
  std::string takeover = "auto";
  uint32_t event_sample = 0;
};

// How clients that are pods of this cluster are told from others, as
// kube-proxy's --detect-local-mode.
enum class PodDetection : uint8_t {
  kClusterCidr,
  kNodeCidr,             // the Node's spec.podCIDRs
  kBridgeInterface,      // they come in through this bridge
  kInterfaceNamePrefix,  // ... through devices whose names begin so
};

struct AgentConfig {
  kube::ApiServer api_server;
  std::string node_name;
  // Becomes the source of masqueraded flows; a family without one is found
  // on the device of the default route.
  std::vector<IpAddress> node_ips;
  std::optional<std::string> cgroup_root;  // nullopt: no socket path
  std::string bpf_root;
  std::vector<std::string> devices;  // globs; empty: all but loopback
  std::vector<IpPrefix> cluster_cidrs;  // at most one of each family
  // Ranges that only ClusterIPs are from; at most one of each family.
  std::vector<IpPrefix> service_cidrs;
  // This node's own pods: those of the cluster's range that aren't in it come
  // from other nodes. Empty: not known, all are taken for this node's.
  std::vector<IpPrefix> node_pod_cidrs;
  bool node_pods_from_api = false;  // the Node's spec.podCIDRs instead
  PodDetection pod_detection = PodDetection::kClusterCidr;
  std::string pod_interface;  // the bridge's name, or the prefix
  bool nodeport_primary = true;  // the node's own addresses take NodePorts
  bool nodeport_non_loopback = false;  // all do but loopback
  std::vector<IpPrefix> nodeport_cidrs;
  PortRange node_ports;
  PortRange masquerade_ports;
  bool masquerade_all = false;
  int masquerade_bit = kDefaultMasqueradeBit;  // of the packet mark
  int kube_proxy_masquerade_bit = kKubeProxyMasqueradeBit;
  std::optional<int> oom_score_adj;  // nullopt: as it is
  // False: an address that can't be listened on costs what is served there.
  bool bind_address_hard_fail = false;
  std::string admin_socket;  // "": none
  std::optional<SocketAddress> healthz;
  std::optional<SocketAddress> metrics;
  std::string log_level;
  datapath::MapSizes map_sizes;
  std::string tc_mode;  // "auto", "tcx", "clsact"
  TakeoverMode takeover = TakeoverMode::kAuto;
  uint32_t event_sample = 0;

  // Without, no client is a pod, and ClusterIP traffic is never masqueraded.
  bool detects_pods() const;

  // Flag and effective value, for people; without secrets.
  std::vector<std::pair<std::string, std::string>> ToText() const;
};

// Checks everything and reports all problems in one Status (kInvalidArgument),
// a line each. Reads the kubeconfig, /proc/self/mountinfo and the host's name.
[[nodiscard]] absl::StatusOr<AgentConfig> MakeConfig(const Flags& flags);

// Is the device one that the agent takes care of?
bool WantsDevice(const AgentConfig& config, const std::string& name,
                 bool loopback);

// Is what comes in through the device from a pod? `master`: the name of the
// bridge that it belongs to, or "".
bool IsPodDevice(const AgentConfig& config, const std::string& name,
                 const std::string& master);
// "ClusterCIDR", as the flag has it.
std::string_view PodDetectionName(PodDetection detection);

// What /proxyMode says.
inline constexpr char kProxyMode[] = "ebpf";

// "0.0.0.0:10256", "[::]:10256"; "" for none.
std::string ToText(const std::optional<SocketAddress>& address);
[[nodiscard]] absl::StatusOr<SocketAddress> ParseSocketAddress(
    const std::string& text);
// "30000-32767"
[[nodiscard]] absl::StatusOr<PortRange> ParsePortRange(const std::string& text);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_CONFIG_H_
