// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/config.h"

#include <fnmatch.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "userspace/base/mounts.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/service_account.h"

namespace fairlead::agent {
namespace {

// Collects problems, so that people see them all at once.
class Problems {
 public:
  void Add(std::string_view flag, std::string_view why) {
    lines_.push_back(StrCat("  ", flag, ": ", why));
  }
  template <typename T>
  T Take(std::string_view flag, absl::StatusOr<T> value) {
    if (value.ok()) return *std::move(value);
    Add(flag, Std(value.status().message()));
    return T();
  }
  absl::Status ToStatus() const {
    if (lines_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        StrCat("bad configuration:\n", absl::StrJoin(lines_, "\n")));
  }

 private:
  std::vector<std::string> lines_;
};

std::vector<std::string> Split(const std::vector<std::string>& values) {
  std::vector<std::string> parts;
  for (const std::string& value : values) {
    for (absl::string_view part : absl::StrSplit(value, ',')) {
      part = absl::StripAsciiWhitespace(part);
      if (!part.empty()) parts.emplace_back(part);
    }
  }
  return parts;
}

// A pod's token never goes over a connection that anybody may read.
absl::StatusOr<kube::ApiServer> CredentialsFor(
    const std::vector<std::string>& urls) {
  const bool tls = std::all_of(urls.begin(), urls.end(), [](const auto& url) {
    return absl::StartsWith(url, "https://");
  });
  if (!tls || !kube::HasServiceAccount(kube::kServiceAccountFolder)) {
    return kube::ApiServer();
  }
  return kube::LoadServiceAccount(kube::kServiceAccountFolder);
}

absl::StatusOr<kube::ApiServer> ServerOf(const Flags& flags) {
  const std::vector<std::string> urls = Split({flags.server});
  kube::ApiServer server;
  if (!flags.kubeconfig.empty()) {
    FL_ASSIGN_OR_RETURN(server, kube::LoadKubeconfig(flags.kubeconfig));
  } else if (urls.empty()) {
    return kube::InClusterServer(kube::kServiceAccountFolder);
  } else {
    FL_ASSIGN_OR_RETURN(server, CredentialsFor(urls));
  }
  // With a kubeconfig or an account too: its credentials, at these addresses.
  if (!urls.empty()) {
    server.url = urls[0];
    server.more_urls.assign(urls.begin() + 1, urls.end());
  }
  return server;
}

std::string HostName() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return absl::AsciiStrToLower(name);
}

// One of each family at most; that is what the programs can match.
std::vector<IpPrefix> Ranges(std::string_view flag,
                             const std::vector<std::string>& values,
                             Problems* problems) {
  std::vector<IpPrefix> prefixes;
  for (const std::string& text : Split(values)) {
    auto prefix = IpPrefix::Parse(text);
    if (!prefix.ok()) {
      problems->Add(flag, Std(prefix.status().message()));
      continue;
    }
    for (const IpPrefix& other : prefixes) {
      if (other.family() == prefix->family()) {
        problems->Add(flag,
                      StrCat(other.ToString(), " and ", prefix->ToString(),
                             ": only one range of each family"));
      }
    }
    prefixes.push_back(*prefix);
  }
  return prefixes;
}

void AddRanges(std::initializer_list<const char*> ranges,
               std::vector<IpPrefix>* to) {
  for (const char* text : ranges) to->push_back(*IpPrefix::Parse(text));
}

void DetectPods(const Flags& flags, AgentConfig* config, Problems* problems) {
  const std::string& mode = flags.detect_local_mode;
  if (mode == "ClusterCIDR") {
    config->pod_detection = PodDetection::kClusterCidr;
  } else if (mode == "NodeCIDR") {
    config->pod_detection = PodDetection::kNodeCidr;
  } else if (mode == "BridgeInterface") {
    config->pod_detection = PodDetection::kBridgeInterface;
    config->pod_interface = flags.pod_bridge_interface;
    if (config->pod_interface.empty()) {
      problems->Add("--pod-bridge-interface",
                    "needed with --detect-local-mode BridgeInterface");
    }
  } else if (mode == "InterfaceNamePrefix") {
    config->pod_detection = PodDetection::kInterfaceNamePrefix;
    config->pod_interface = flags.pod_interface_name_prefix;
    if (config->pod_interface.empty()) {
      problems->Add("--pod-interface-name-prefix",
                    "needed with --detect-local-mode InterfaceNamePrefix");
    }
  } else {
    problems->Add("--detect-local-mode",
                  StrCat("\"", mode, "\": want ClusterCIDR, NodeCIDR, "
                         "BridgeInterface or InterfaceNamePrefix"));
  }
}

std::string CgroupRoot(const Flags& flags, Problems* problems) {
  if (!flags.cgroup_root.empty()) return flags.cgroup_root;
  auto mount = FindMount("cgroup2");
  if (mount.ok()) return *mount;
  problems->Add("--cgroup-root",
                "cgroup v2 is not mounted; mount it (mount -t cgroup2 none "
                "/sys/fs/cgroup/unified) or give \"none\" to go without the "
                "socket path");
  return "";
}

std::string BpfRoot(const Flags& flags) {
  if (!flags.bpf_root.empty()) return flags.bpf_root;
  auto mount = FindMount("bpf");
  // Without a mount the data path's own check says how to make one.
  return StrCat(mount.ok() ? *mount : "/sys/fs/bpf", "/fairlead");
}

std::optional<SocketAddress> Listen(std::string_view flag,
                                    const std::string& text,
                                    Problems* problems) {
  if (text.empty()) return std::nullopt;
  return problems->Take(flag, ParseSocketAddress(text));
}

template <typename T>
std::string Join(const std::vector<T>& values) {
  return absl::StrJoin(values, ",", [](std::string* out, const T& value) {
    out->append(value.ToString());
  });
}

}  // namespace

std::string ToText(const std::optional<SocketAddress>& address) {
  if (!address.has_value()) return "";
  bool v6 = !address->address.is_v4();
  return StrCat(v6 ? "[" : "", address->address.ToString(), v6 ? "]" : "", ":",
                address->port);
}

absl::StatusOr<SocketAddress> ParseSocketAddress(const std::string& text) {
  size_t colon = text.rfind(':');
  std::string host = text.substr(0, colon);
  uint32_t port = 0;
  if (colon == std::string::npos ||
      !absl::SimpleAtoi(text.substr(colon + 1), &port) || port > 65535) {
    return absl::InvalidArgumentError(
        StrCat("\"", text, "\": want ADDRESS:PORT"));
  }
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    return absl::InvalidArgumentError(
        StrCat("\"", text, "\": an IPv6 address goes in brackets"));
  }
  FL_ASSIGN_OR_RETURN(IpAddress address, IpAddress::Parse(host));
  return SocketAddress{address, static_cast<Port>(port)};
}

absl::StatusOr<PortRange> ParsePortRange(const std::string& text) {
  std::vector<std::string> ends = absl::StrSplit(text, '-');
  uint32_t first = 0, last = 0;
  if (ends.size() != 2 || !absl::SimpleAtoi(ends[0], &first) ||
      !absl::SimpleAtoi(ends[1], &last) || first == 0 || last > 65535 ||
      first > last) {
    return absl::InvalidArgumentError(
        StrCat("\"", text, "\": want FIRST-LAST, such as 30000-32767"));
  }
  return PortRange{static_cast<Port>(first), static_cast<Port>(last)};
}

absl::StatusOr<AgentConfig> MakeConfig(const Flags& flags) {
  Problems problems;
  AgentConfig config;
  config.api_server = problems.Take("API server", ServerOf(flags));
  config.node_name = flags.node_name.empty() ? HostName() : flags.node_name;
  if (config.node_name.empty()) problems.Add("--node-name", "missing");
  for (const std::string& text : Split({flags.node_ip})) {
    config.node_ips.push_back(
        problems.Take("--node-ip", IpAddress::Parse(text)));
  }
  if (flags.cgroup_root != "none") {
    config.cgroup_root = CgroupRoot(flags, &problems);
  }
  config.bpf_root = BpfRoot(flags);
  config.devices = Split(flags.devices);
  config.cluster_cidrs =
      Ranges("--cluster-cidr", flags.cluster_cidrs, &problems);
  config.service_cidrs =
      Ranges("--service-cidr", flags.service_cidrs, &problems);
  DetectPods(flags, &config, &problems);
  config.node_pods_from_api =
      flags.node_pod_cidrs == std::vector<std::string>{"auto"} ||
      config.pod_detection == PodDetection::kNodeCidr;
  if (!config.node_pods_from_api) {
    config.node_pod_cidrs =
        Ranges("--node-pod-cidr", flags.node_pod_cidrs, &problems);
  }
  config.nodeport_primary = false;
  std::vector<std::string> nodeports = Split(flags.nodeport_addresses);
  if (nodeports.empty()) nodeports = Split({flags.default_nodeport_addresses});
  for (const std::string& text : nodeports) {
    if (text == "primary") {
      config.nodeport_primary = true;
    } else if (text == "non-loopback") {
      config.nodeport_non_loopback = true;
    } else if (text == "localhost") {
      AddRanges({"127.0.0.0/8", "::1/128"}, &config.nodeport_cidrs);
    } else if (text == "all") {
      AddRanges({"0.0.0.0/0", "::/0"}, &config.nodeport_cidrs);
    } else {
      config.nodeport_cidrs.push_back(
          problems.Take("--nodeport-addresses", IpPrefix::Parse(text, true)));
    }
  }
  config.node_ports =
      problems.Take("--node-port-range", ParsePortRange(flags.node_port_range));
  config.masquerade_ports =
      problems.Take("--masquerade-source-ports",
                    ParsePortRange(flags.masquerade_source_ports));
  config.masquerade_all = flags.masquerade_all;
  if (flags.masquerade_bit < 0 || flags.masquerade_bit > 31) {
    problems.Add("--masquerade-bit",
                 StrCat(flags.masquerade_bit, ": want 0 to 31"));
  }
  config.masquerade_bit = static_cast<int>(flags.masquerade_bit);
  config.kube_proxy_masquerade_bit =
      static_cast<int>(flags.kube_proxy_masquerade_bit.value_or(
          kKubeProxyMasqueradeBit));
  config.oom_score_adj = flags.oom_score_adj;
  config.bind_address_hard_fail = flags.bind_address_hard_fail;
  config.admin_socket = flags.admin_socket;
  config.healthz = Listen("--healthz-bind-address", flags.healthz_bind_address,
                          &problems);
  config.metrics = Listen("--metrics-bind-address", flags.metrics_bind_address,
                          &problems);
  config.log_level = flags.log_level;
  for (const std::string& text : Split(flags.map_sizes)) {
    absl::Status status = datapath::SetMapSize(text, &config.map_sizes);
    if (!status.ok()) problems.Add("--map-size", Std(status.message()));
  }
  config.tc_mode = flags.tc_mode;
  config.takeover =
      problems.Take("--takeover", ParseTakeoverMode(flags.takeover));
  config.event_sample = flags.event_sample;
  FL_RETURN_IF_ERROR(problems.ToStatus());
  return config;
}

std::vector<std::pair<std::string, std::string>> AgentConfig::ToText() const {
  std::vector<std::string> nodeports;
  if (nodeport_primary) nodeports.push_back("primary");
  if (nodeport_non_loopback) nodeports.push_back("non-loopback");
  for (const IpPrefix& p : nodeport_cidrs) nodeports.push_back(p.ToString());
  std::vector<std::string> servers = {api_server.url};
  servers.insert(servers.end(), api_server.more_urls.begin(),
                 api_server.more_urls.end());
  return {
      {"server", absl::StrJoin(servers, ",")},
      {"node-name", node_name},
      {"node-ip", Join(node_ips)},
      {"cgroup-root", cgroup_root.value_or("none")},
      {"bpf-root", bpf_root},
      {"devices", devices.empty() ? "all" : absl::StrJoin(devices, ",")},
      {"cluster-cidr", Join(cluster_cidrs)},
      {"service-cidr", Join(service_cidrs)},
      {"detect-local-mode", std::string(PodDetectionName(pod_detection))},
      {"pod-interface", pod_interface},
      {"node-pod-cidr", node_pods_from_api ? "auto" : Join(node_pod_cidrs)},
      {"nodeport-addresses", absl::StrJoin(nodeports, ",")},
      {"node-port-range", StrCat(node_ports.first, "-", node_ports.last)},
      {"masquerade-source-ports",
       StrCat(masquerade_ports.first, "-", masquerade_ports.last)},
      {"masquerade-all", masquerade_all ? "true" : "false"},
      {"masquerade-bit", StrCat(masquerade_bit)},
      {"admin-socket", admin_socket},
      {"healthz-bind-address", agent::ToText(healthz)},
      {"metrics-bind-address", agent::ToText(metrics)},
      {"log-level", log_level},
      {"map-size", datapath::ToText(map_sizes)},
      {"tc-mode", tc_mode},
      {"takeover", std::string(TakeoverModeName(takeover))},
  };
}

bool AgentConfig::detects_pods() const {
  return pod_detection != PodDetection::kClusterCidr || !cluster_cidrs.empty();
}

bool IsPodDevice(const AgentConfig& config, const std::string& name,
                 const std::string& master) {
  switch (config.pod_detection) {
    case PodDetection::kBridgeInterface:
      return name == config.pod_interface || master == config.pod_interface;
    case PodDetection::kInterfaceNamePrefix:
      return name.compare(0, config.pod_interface.size(),
                          config.pod_interface) == 0;
    default:
      return false;
  }
}

std::string_view PodDetectionName(PodDetection detection) {
  switch (detection) {
    case PodDetection::kClusterCidr:
      return "ClusterCIDR";
    case PodDetection::kNodeCidr:
      return "NodeCIDR";
    case PodDetection::kBridgeInterface:
      return "BridgeInterface";
    case PodDetection::kInterfaceNamePrefix:
      return "InterfaceNamePrefix";
  }
  return "";
}

bool WantsDevice(const AgentConfig& config, const std::string& name,
                 bool loopback) {
  if (config.devices.empty()) return !loopback;
  for (const std::string& glob : config.devices) {
    if (fnmatch(glob.c_str(), name.c_str(), 0) == 0) return true;
  }
  return false;
}

}  // namespace fairlead::agent
