// SPDX-License-Identifier: Apache-2.0
// fairlead-agent: Kubernetes Services in eBPF, on one node.
#include <malloc.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstring>
#include <fstream>
#include <map>

#include "absl/time/time.h"
#include "userspace/agent/admin_service.h"
#include "userspace/agent/agent.h"
#include "userspace/agent/config.h"
#include "userspace/agent/hand_over.h"
#include "userspace/agent/kube_proxy.h"
#include "userspace/agent/kube_proxy_cleanup.h"
#include "userspace/agent/library_versions.h"
#include "userspace/base/event_loop.h"
#include "userspace/base/program.h"
#include "userspace/base/sd_notify.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/version.h"
#include "userspace/datapath/datapath.h"

namespace fairlead::agent {
namespace {

constexpr char kProgram[] = "fairlead-agent";

constexpr char kExamples[] = R"(Examples:
  # Against a cluster, with a kubeconfig, for pods in 10.244.0.0/16:
  fairlead-agent --kubeconfig /etc/kubernetes/kubelet.conf \
      --cluster-cidr 10.244.0.0/16

  # An API server without TLS; attach to these devices only:
  fairlead-agent --server http://127.0.0.1:8080 --devices 'eth0,veth*'

  # Kube-proxy is gone: remove its rules, too.
  fairlead-agent --cleanup-kube-proxy

  # Back to kube-proxy, which runs again:
  fairlead-agent --hand-over

  # Take everything out of the kernel at once:
  fairlead-agent --cleanup

Stopping the agent leaves its programs in the kernel: Services go on working.
)";

void AddNetworkFlags(CLI::App* app, Flags* flags) {
  app->add_option("--node-ip", flags->node_ip,
                  "Addresses that masqueraded flows get, one of each family "
                  "(default: of the default route's device)");
  app->add_option("--cgroup-root", flags->cgroup_root,
                  "Processes of this cgroup v2 directory use the socket path; "
                  "\"none\" for no socket path (default: the cgroup2 mount)");
  app->add_option("--bpf-root", flags->bpf_root,
                  "Directory of a BPF file system for this node's maps and "
                  "links (default: <bpf mount>/fairlead)");
  app->add_option("--devices", flags->devices,
                  "Names or globs of the devices that carry pod or outside "
                  "traffic (default: all but loopback)");
  app->add_option("--cluster-cidr", flags->cluster_cidrs,
                  "Pod addresses of the cluster, one range of each family; "
                  "without it ClusterIP traffic is never masqueraded");
  app->add_option("--service-cidr", flags->service_cidrs,
                  "Ranges that ClusterIPs are taken from, one of each family, "
                  "for an API server without ServiceCIDR objects, or that "
                  "won't show them: a port that no Service has is refused "
                  "there, an address that none has is dropped");
  app->add_option("--node-pod-cidr", flags->node_pod_cidrs,
                  "Addresses of this node's pods, or \"auto\" for its Node's "
                  "spec.podCIDRs: pods of other nodes then use this node's "
                  "NodePorts and load balancers as clients from outside do "
                  "(default: not known)");
  app->add_option("--detect-local-mode", flags->detect_local_mode,
                  "How pods are told from other clients: ClusterCIDR, "
                  "NodeCIDR, BridgeInterface or InterfaceNamePrefix")
      ->capture_default_str();
  app->add_option("--pod-bridge-interface", flags->pod_bridge_interface,
                  "With BridgeInterface: pods come in through this bridge");
  app->add_option("--pod-interface-name-prefix",
                  flags->pod_interface_name_prefix,
                  "With InterfaceNamePrefix: pods come in through devices "
                  "whose names begin so");
  app->add_option("--nodeport-addresses", flags->nodeport_addresses,
                  "Local addresses that take NodePorts: ranges, \"primary\" "
                  "(the node's own; the default), \"localhost\", "
                  "\"non-loopback\" or \"all\"");
  app->add_option("--node-port-range", flags->node_port_range,
                  "NodePorts of the cluster")
      ->capture_default_str();
  app->add_option("--masquerade-source-ports", flags->masquerade_source_ports,
                  "Source ports for masqueraded flows; keep clear of "
                  "net.ipv4.ip_local_port_range")
      ->capture_default_str();
  app->add_flag("--masquerade-all", flags->masquerade_all,
                "Masquerade all traffic to ClusterIPs");
  app->add_option("--masquerade-bit", flags->masquerade_bit,
                  "Bit of the packet mark that says \"translate the source\"")
      ->capture_default_str();
  app->add_option("--map-size", flags->map_sizes,
                  "NAME=ENTRIES: room in a map, such as flows=1048576; what is "
                  "it is copied (names and defaults: docs/INSTALL.md)");
  app->add_option("--tc-mode", flags->tc_mode, "How to attach to devices")
      ->check(CLI::IsMember({"auto", "tcx", "clsact"}))
      ->capture_default_str();
  app->add_option("--takeover", flags->takeover,
                  "Leave to netfilter what kube-proxy's rules have opened: "
                  "while there is any (auto), always (on) or never (off)")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->capture_default_str();
}

void AddFlags(CLI::App* app, Flags* flags) {
  app->add_option("--kubeconfig", flags->kubeconfig,
                  "File that says where the API server is (default: the "
                  "pod's service account)");
  app->add_option("--server", flags->server,
                  "The API server's URL, with the kubeconfig's credentials or, "
                  "in a pod and by https, its service account's; several, "
                  "separated by commas, are asked in turn when one can't be "
                  "reached");
  app->add_option("--node-name", flags->node_name,
                  "This node's name in the API (default: the host's name)");
  AddNetworkFlags(app, flags);
  app->add_option("--admin-socket", flags->admin_socket,
                  "Unix socket for fairleadctl; empty for none")
      ->capture_default_str();
  app->add_option("--healthz-bind-address", flags->healthz_bind_address,
                  "Serves /healthz and /livez; empty for none")
      ->capture_default_str();
  app->add_option("--metrics-bind-address", flags->metrics_bind_address,
                  "Serves /metrics; empty for none")
      ->capture_default_str();
  app->add_option("--log-level", flags->log_level, "What is logged")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
}

void SetOomScore(int score) {
  std::ofstream file("/proc/self/oom_score_adj");
  file << score << std::flush;
  if (!file) {
    spdlog::warn("msg=\"cannot set the OOM score\" score={} error=\"{}\"", score,
                 strerror(errno));
  }
}

// kube-proxy's flags that the agent hasn't under the same name and with the
// same meaning: their texts, by the flag.
class KubeProxyFlags {
 public:
  void AddTo(CLI::App* app) {
    app->add_option("--config", file_,
                    "A KubeProxyConfiguration (v1alpha1), YAML or JSON: what "
                    "it says goes before flags");
    for (const KubeProxySetting& row : KubeProxySettings()) {
      if (row.flag.empty() || row.own_flag) continue;
      CLI::Option* option = app->add_option_function<std::string>(
          StrCat(row.flag.size() == 1 ? "-v,--v" : StrCat("--", row.flag)),
          [this, &row](const std::string& text) { texts_[&row] = text; },
          row.apply == nullptr ? StrCat("Means nothing here: ", row.why)
                               : "As kube-proxy's");
      option->group("kube-proxy's flags");
      if (row.shape == KubeProxySetting::Shape::kBool) {
        option->expected(0, 1)->default_str("true");
      }
    }
  }

  // Into `flags`. What means nothing here is named in one sentence.
  absl::StatusOr<std::string> Apply(Flags* flags) const {
    KubeProxyValues values;
    for (const auto& [row, text] : texts_) {
      FL_ASSIGN_OR_RETURN(values[row], ParseKubeProxyFlag(*row, text));
    }
    if (!file_.empty()) {
      FL_ASSIGN_OR_RETURN(KubeProxyValues file, ReadKubeProxyFile(file_));
      for (auto& [row, value] : file) {
        // As with kube-proxy, the name of the node is the flag's.
        if (row->flag == "hostname-override" && values.contains(row)) continue;
        values[row] = std::move(value);
      }
    }
    return ApplyKubeProxyValues(values, flags);
  }

 private:
  std::string file_;
  std::map<const KubeProxySetting*, std::string> texts_;
};

// What is done instead of serving, if anything.
struct Errand {
  bool cleanup = false;
  bool cleanup_kube_proxy = false;
  bool hand_over = false;
  double timeout_seconds = -1;

  bool any() const { return cleanup || cleanup_kube_proxy || hand_over; }
  absl::Duration timeout(absl::Duration unless_given) const {
    return timeout_seconds < 0 ? unless_given : absl::Seconds(timeout_seconds);
  }
  void AddTo(CLI::App* app) {
    CLI::Option* own = app->add_flag(
        "--cleanup", cleanup,
        "Remove programs and maps from the kernel, and end");
    CLI::Option* theirs = app->add_flag(
        "--cleanup-kube-proxy", cleanup_kube_proxy,
        "Remove kube-proxy's rules, and end; what they had opened goes on");
    CLI::Option* back = app->add_flag(
        "--hand-over", hand_over,
        "Leave new flows to kube-proxy's rules, wait until ours have ended, "
        "remove programs and maps, and end");
    own->excludes(theirs)->excludes(back);
    theirs->excludes(back);
    app->add_option("--timeout", timeout_seconds,
                    "Of --hand-over (default: none) and --cleanup-kube-proxy "
                    "(for IPVS; default: 600): seconds to wait");
  }
  absl::Status Run(const AgentConfig& config) const {
    if (hand_over) {
      return HandOverToKubeProxy(config.bpf_root,
                                 timeout(absl::InfiniteDuration()));
    }
    if (cleanup_kube_proxy) return CleanUpKubeProxy(timeout(absl::Minutes(10)));
    FL_RETURN_IF_ERROR(datapath::Cleanup(config.bpf_root));
    spdlog::info("msg=\"cleaned up\" bpf_root={}", config.bpf_root);
    return absl::OkStatus();
  }
};

int Serve(const AgentConfig& config) {
  // Kernels before 5.11 count BPF maps against this.
  rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  (void)setrlimit(RLIMIT_MEMLOCK, &unlimited);
  std::signal(SIGPIPE, SIG_IGN);
  // Else each large block that is freed raises the bound from which blocks are
  // given back to the kernel one by one.
  mallopt(M_MMAP_THRESHOLD, 128 * 1024);
  if (config.oom_score_adj.has_value()) SetOomScore(*config.oom_score_adj);
  EventLoop loop;
  auto agent = Agent::Create(&loop, &config);
  if (!agent.ok()) return Fail(kProgram, agent.status(), kExitFailure);
  std::unique_ptr<AdminServer> admin;
  if (!config.admin_socket.empty()) {
    auto started = AdminServer::Start(config.admin_socket, &loop, agent->get());
    if (!started.ok()) return Fail(kProgram, started.status(), kExitFailure);
    admin = *std::move(started);
  }
  loop.OnTermination([&](int signal) {
    spdlog::info("msg=\"stopping\" signal={}", signal);
    loop.Stop();
  });
  (*agent)->Start();
  NotifyReady();
  loop.Run();
  admin.reset();
  if (!(*agent)->status().ok()) {
    return Fail(kProgram, (*agent)->status(), kExitFailure);
  }
  spdlog::info("msg=\"stopped\" kernel_state=kept");
  return 0;
}

int Run(int argc, char** argv) {
  Flags flags;
  Errand errand;
  CLI::App app(
      "Replaces kube-proxy on a node: watches the Kubernetes API and balances "
      "Services in eBPF.",
      kProgram);
  app.footer(kExamples);
  app.set_version_flag("--version", StrCat(kProgram, " ", kVersion, "\n",
                                           LibraryVersions()));
  errand.AddTo(&app);
  AddFlags(&app, &flags);
  KubeProxyFlags kube_proxy;
  kube_proxy.AddTo(&app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  // An errand needs no API server.
  if (errand.any() && flags.kubeconfig.empty() && flags.server.empty()) {
    flags.server = "http://127.0.0.1:1";
  }
  if (errand.any() && flags.cgroup_root.empty()) flags.cgroup_root = "none";
  absl::StatusOr<std::string> unused = kube_proxy.Apply(&flags);
  if (!unused.ok()) return Fail(kProgram, unused.status(), kExitUsage);
  absl::StatusOr<AgentConfig> config = MakeConfig(flags);
  if (!config.ok()) return Fail(kProgram, config.status(), kExitUsage);
  OpenLog("agent", config->log_level);
  if (errand.any()) {
    absl::Status status = errand.Run(*config);
    return status.ok() ? 0 : Fail(kProgram, status, kExitFailure);
  }
  std::string text;
  for (const auto& [flag, value] : config->ToText()) {
    StrAppend(&text, " ", flag, "=", value.empty() ? "\"\"" : value);
  }
  spdlog::info("msg=\"starting\" version={}{}", kVersion, text);
  if (!unused->empty()) {
    spdlog::warn("msg=\"settings of kube-proxy that mean nothing here\" "
                 "settings=\"{}\"",
                 *unused);
  }
  return Serve(*config);
}

}  // namespace
}  // namespace fairlead::agent

int main(int argc, char** argv) { return fairlead::agent::Run(argc, argv); }
