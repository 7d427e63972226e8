// SPDX-License-Identifier: Apache-2.0
// The rows. Paths are those of k8s:staging/src/k8s.io/kube-proxy/config/
// v1alpha1, flags those of kube-proxy 1.36.
#include "userspace/agent/kube_proxy.h"
#include "userspace/base/strings.h"

namespace fairlead::agent {
namespace {

using Json = nlohmann::json;
using Shape = KubeProxySetting::Shape;

constexpr std::string_view kNoSync =
    "changes are applied as they come, within a millisecond";
constexpr std::string_view kNoConntrack =
    "Services' flows are in a table of their own, not in the kernel's "
    "connection tracking, and packets out of window are forwarded";
constexpr std::string_view kNoIpvs = "there is no IPVS here";
constexpr std::string_view kLinux = "only for Windows";
constexpr std::string_view kFewRequests =
    "the agent watches, and sends next to no requests";
constexpr std::string_view kOneStream =
    "all lines go to the standard error, each at once";
constexpr std::string_view kMetricsOnly =
    "no metric is hidden, and there is no Go profile";

std::string Text(const Json& value) { return value.get<std::string>(); }

// kube-proxy takes an address without a port, too.
std::string WithPort(const std::string& address, int port) {
  const bool bare_v6 =
      address.find(':') != address.rfind(':') && address.front() != '[';
  if (bare_v6) return StrCat("[", address, "]:", port);
  const size_t colon = address.rfind(':');
  const size_t bracket = address.rfind(']');
  const bool has_port = colon != address.npos &&
                        (bracket == address.npos || colon > bracket);
  return has_port ? address : StrCat(address, ":", port);
}

template <std::string Flags::*field>
absl::Status SetText(const Json& value, Flags* flags) {
  if (!Text(value).empty()) flags->*field = Text(value);
  return absl::OkStatus();
}

template <std::string Flags::*field, int port>
absl::Status SetListener(const Json& value, Flags* flags) {
  if (!Text(value).empty()) flags->*field = WithPort(Text(value), port);
  return absl::OkStatus();
}
constexpr auto SetHealthz = SetListener<&Flags::healthz_bind_address, 10256>;
constexpr auto SetMetrics = SetListener<&Flags::metrics_bind_address, 10249>;

absl::Status SetBindAddress(const Json& value, Flags* flags) {
  // The unspecified address says: find it yourself.
  if (Text(value).empty()) return absl::OkStatus();
  auto address = IpAddress::Parse(Text(value));
  if (!address.ok()) return address.status();
  if (!address->is_unspecified()) flags->node_ip = Text(value);
  return absl::OkStatus();
}

absl::Status SetMode(const Json& value, Flags* flags) {
  // Services are in eBPF whatever it is called; its defaults count.
  const std::string mode = Text(value);
  if (mode == "nftables" || mode == kProxyMode) return absl::OkStatus();
  if (mode == "" || mode == "iptables" || mode == "ipvs") {
    flags->default_nodeport_addresses =
        mode == "ipvs" ? "non-loopback" : "non-loopback,127.0.0.0/8";
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      StrCat("\"", Text(value), "\": want iptables, ipvs or nftables"));
}

absl::Status SetMasqueradeAll(const Json& value, Flags* flags) {
  flags->masquerade_all = value.get<bool>();
  return absl::OkStatus();
}

absl::Status SetMasqueradeBit(const Json& value, Flags* flags) {
  flags->masquerade_bit = value.get<int64_t>();
  flags->kube_proxy_masquerade_bit = flags->masquerade_bit;
  return absl::OkStatus();
}

// After the mode and the addresses. IPVS never has NodePorts there.
absl::Status SetLocalhost(const Json& value, Flags* flags) {
  std::string& by_default = flags->default_nodeport_addresses;
  const bool by_mode = by_default != "primary";
  if (!value.get<bool>()) {
    if (by_mode) by_default = "non-loopback";
  } else if (!flags->nodeport_addresses.empty()) {
    flags->nodeport_addresses.push_back("localhost");
  } else if (!by_mode) {
    by_default = "primary,localhost";
  }
  return absl::OkStatus();
}

absl::Status SetClusterCidr(const Json& value, Flags* flags) {
  if (!Text(value).empty()) flags->cluster_cidrs = {Text(value)};
  return absl::OkStatus();
}

absl::Status SetNodePorts(const Json& value, Flags* flags) {
  auto addresses = value.get<std::vector<std::string>>();
  if (!addresses.empty()) flags->nodeport_addresses = std::move(addresses);
  return absl::OkStatus();
}

absl::Status SetOomScore(const Json& value, Flags* flags) {
  const auto score = value.get<int64_t>();
  if (score < -1000 || score > 1000) {
    return absl::InvalidArgumentError(
        StrCat(score, ": want -1000 to 1000"));
  }
  flags->oom_score_adj = static_cast<int>(score);
  return absl::OkStatus();
}

absl::Status SetVerbosity(const Json& value, Flags* flags) {
  // klog's 4 is what people turn on to debug.
  if (value.get<int64_t>() >= 4) flags->log_level = "debug";
  return absl::OkStatus();
}

absl::Status SetHardFail(const Json& value, Flags* flags) {
  flags->bind_address_hard_fail = value.get<bool>();
  return absl::OkStatus();
}

constexpr KubeProxySetting kRows[] = {
    {"clientConnection.kubeconfig", "kubeconfig", Shape::kString,
     SetText<&Flags::kubeconfig>, "", true},
    {"clientConnection.acceptContentTypes", "", Shape::kString, nullptr,
     "the agent asks for what it reads best"},
    {"clientConnection.contentType", "kube-api-content-type", Shape::kString,
     nullptr, "the agent asks for what it reads best"},
    {"clientConnection.qps", "kube-api-qps", Shape::kInteger, nullptr,
     kFewRequests},
    {"clientConnection.burst", "kube-api-burst", Shape::kInteger, nullptr,
     kFewRequests},
    {"", "master", Shape::kString, SetText<&Flags::server>, ""},
    {"configSyncPeriod", "config-sync-period", Shape::kDuration, nullptr,
     "what is watched needs no reading again"},
    {"hostnameOverride", "hostname-override", Shape::kString,
     SetText<&Flags::node_name>, ""},
    {"bindAddress", "bind-address", Shape::kString, SetBindAddress, ""},
    {"bindAddressHardFail", "bind-address-hard-fail", Shape::kBool,
     SetHardFail, ""},
    {"healthzBindAddress", "healthz-bind-address", Shape::kString, SetHealthz,
     "", true},
    {"metricsBindAddress", "metrics-bind-address", Shape::kString, SetMetrics,
     "", true},
    {"mode", "proxy-mode", Shape::kString, SetMode, ""},
    {"clusterCIDR", "cluster-cidr", Shape::kString, SetClusterCidr, "", true},
    {"nodePortAddresses", "nodeport-addresses", Shape::kStrings, SetNodePorts,
     "", true},
    {"detectLocalMode", "detect-local-mode", Shape::kString,
     SetText<&Flags::detect_local_mode>, "", true},
    {"detectLocal.bridgeInterface", "pod-bridge-interface", Shape::kString,
     SetText<&Flags::pod_bridge_interface>, "", true},
    {"detectLocal.interfaceNamePrefix", "pod-interface-name-prefix",
     Shape::kString, SetText<&Flags::pod_interface_name_prefix>, "", true},
    {"oomScoreAdj", "oom-score-adj", Shape::kInteger, SetOomScore, ""},
    {"iptables.masqueradeAll", "masquerade-all", Shape::kBool,
     SetMasqueradeAll, "", true},
    {"iptables.masqueradeBit", "iptables-masquerade-bit", Shape::kInteger,
     SetMasqueradeBit, ""},
    {"iptables.localhostNodePorts", "iptables-localhost-nodeports",
     Shape::kBool, SetLocalhost, ""},
    {"iptables.syncPeriod", "iptables-sync-period", Shape::kDuration, nullptr,
     kNoSync},
    {"iptables.minSyncPeriod", "iptables-min-sync-period", Shape::kDuration,
     nullptr, kNoSync},
    {"nftables.masqueradeAll", "", Shape::kBool, SetMasqueradeAll, ""},
    {"nftables.masqueradeBit", "", Shape::kInteger, SetMasqueradeBit, ""},
    {"nftables.syncPeriod", "", Shape::kDuration, nullptr, kNoSync},
    {"nftables.minSyncPeriod", "", Shape::kDuration, nullptr, kNoSync},
    {"ipvs.syncPeriod", "ipvs-sync-period", Shape::kDuration, nullptr,
     kNoSync},
    {"ipvs.minSyncPeriod", "ipvs-min-sync-period", Shape::kDuration, nullptr,
     kNoSync},
    {"ipvs.scheduler", "ipvs-scheduler", Shape::kString, nullptr, kNoIpvs},
    {"ipvs.excludeCIDRs", "ipvs-exclude-cidrs", Shape::kStrings, nullptr,
     kNoIpvs},
    {"ipvs.strictARP", "ipvs-strict-arp", Shape::kBool, nullptr, kNoIpvs},
    {"ipvs.tcpTimeout", "ipvs-tcp-timeout", Shape::kDuration, nullptr,
     kNoIpvs},
    {"ipvs.tcpFinTimeout", "ipvs-tcpfin-timeout", Shape::kDuration, nullptr,
     kNoIpvs},
    {"ipvs.udpTimeout", "ipvs-udp-timeout", Shape::kDuration, nullptr,
     kNoIpvs},
    {"conntrack.maxPerCore", "conntrack-max-per-core", Shape::kInteger,
     nullptr, kNoConntrack},
    {"conntrack.min", "conntrack-min", Shape::kInteger, nullptr, kNoConntrack},
    {"conntrack.tcpEstablishedTimeout", "conntrack-tcp-timeout-established",
     Shape::kDuration, nullptr, kNoConntrack},
    {"conntrack.tcpCloseWaitTimeout", "conntrack-tcp-timeout-close-wait",
     Shape::kDuration, nullptr, kNoConntrack},
    {"conntrack.tcpBeLiberal", "conntrack-tcp-be-liberal", Shape::kBool,
     nullptr, kNoConntrack},
    {"conntrack.udpTimeout", "conntrack-udp-timeout", Shape::kDuration,
     nullptr, kNoConntrack},
    {"conntrack.udpStreamTimeout", "conntrack-udp-timeout-stream",
     Shape::kDuration, nullptr, kNoConntrack},
    {"logging.verbosity", "v", Shape::kInteger, SetVerbosity, ""},
    {"logging.format", "logging-format", Shape::kString, nullptr,
     "logs are lines of key=value"},
    {"logging.flushFrequency", "log-flush-frequency", Shape::kDuration,
     nullptr, "each line is written at once"},
    {"logging.vmodule", "vmodule", Shape::kStrings, nullptr,
     "--log-level is for the whole agent"},
    {"logging.options", "", Shape::kMap, nullptr,
     "logs are lines of key=value"},
    {"enableProfiling", "profiling", Shape::kBool, nullptr, kMetricsOnly},
    {"showHiddenMetricsForVersion", "show-hidden-metrics-for-version",
     Shape::kString, nullptr, kMetricsOnly},
    {"featureGates", "feature-gates", Shape::kMap, nullptr,
     "what kube-proxy 1.36 does by default is done, nothing is behind a gate"},
    {"portRange", "proxy-port-range", Shape::kString, nullptr,
     "kube-proxy has no use for it either"},
    {"winkernel.networkName", "", Shape::kString, nullptr, kLinux},
    {"winkernel.sourceVip", "", Shape::kString, nullptr, kLinux},
    {"winkernel.enableDSR", "", Shape::kBool, nullptr, kLinux},
    {"winkernel.rootHnsEndpointName", "", Shape::kString, nullptr, kLinux},
    {"winkernel.forwardHealthCheckVip", "", Shape::kBool, nullptr, kLinux},
    {"windowsRunAsService", "windows-service", Shape::kBool, nullptr, kLinux},
    {"", "log-text-split-stream", Shape::kBool, nullptr, kOneStream},
    {"", "log-text-info-buffer-size", Shape::kString, nullptr, kOneStream},
    {"", "log-json-split-stream", Shape::kBool, nullptr, kOneStream},
    {"", "log-json-info-buffer-size", Shape::kString, nullptr, kOneStream},
    {"", "healthz-port", Shape::kString, nullptr,
     "--healthz-bind-address has the port"},
    {"", "metrics-port", Shape::kString, nullptr,
     "--metrics-bind-address has the port"},
    {"", "machine-id-file", Shape::kString, nullptr,
     "nothing here asks for the machine's id"},
    {"", "boot-id-file", Shape::kString, nullptr,
     "nothing here asks for the machine's id"},
    {"", "init-only", Shape::kBool, nullptr,
     "the agent needs nothing prepared by a privileged run"},
    {"", "write-config-to", Shape::kString, nullptr,
     "/configz shows what the agent runs with"},
};

}  // namespace

absl::Span<const KubeProxySetting> KubeProxySettings() { return kRows; }

}  // namespace fairlead::agent
