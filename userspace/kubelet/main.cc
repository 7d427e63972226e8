// SPDX-License-Identifier: Apache-2.0
// fairlead-kubelet: flags, wiring, the loop.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <filesystem>

#include "absl/strings/str_split.h"
#include "userspace/base/event_loop.h"
#include "userspace/base/program.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/version.h"
#include "userspace/kube/http_transport.h"
#include "userspace/kube/kubeconfig.h"
#include "userspace/kubelet/kubelet.h"

namespace fairlead::kubelet {
namespace {

constexpr char kProgram[] = "fairlead-kubelet";

constexpr char kExamples[] = R"(Examples:
  On a machine of a cluster:
    fairlead-kubelet --kubeconfig /etc/fairlead/kubelet.conf \
      --node-ip 192.0.2.11,2001:db8::11 --uplink eth0 \
      --cgroup-root /sys/fs/cgroup/fairlead
  A second node on the same machine, in a network namespace of its own:
    ip netns exec node-2 fairlead-kubelet --server http://192.0.2.1:8080 \
      --node-name node-2 --node-ip 192.0.2.12 --uplink eth0 \
      --cgroup-root /sys/fs/cgroup/fairlead/node-2 \
      --root-dir /run/node-2 --netns-prefix node-2-

Stopping it stops no pod: a kubelet that is started again with the same
--root-dir takes them over.)";

struct Flags {
  std::string kubeconfig, server, node_name, node_ips, root_dir, cgroup_root;
  std::string netns_dir, netns_prefix, pod_cidrs, uplink, log_level, shim;
  std::string address;
  TlsFiles tls;
  std::vector<std::string> labels;
  int64_t pod_max_pids = 0;
  int max_pods = 110, port = 10250, log_max_files = 5;
  size_t log_max_size = 10u << 20;
  double crash_backoff = 10, max_crash_backoff = 300, lease_interval = 10;
  double sync_frequency = 60, pressure_transition = 300;
  double status_frequency = 10;
  std::string system_reserved;
  std::string eviction_hard = "memory.available<100Mi,nodefs.available<5%";
};

std::string ProgramFolder() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error)
      .parent_path()
      .string();
}

std::string HostName() {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  return name;
}

void AddServerFlags(CLI::App* app, Flags* f) {
  app->add_option("--address", f->address,
                  "address of the kubelet's server; default: with TLS the "
                  "first of --node-ip, without it loopback");
  app->add_option("--tls-cert-file", f->tls.certificate,
                  "PEM certificate of the kubelet's server, for the node's "
                  "address, of the authority that the API server trusts; read "
                  "again when it changes");
  app->add_option("--tls-private-key-file", f->tls.private_key,
                  "PEM key to it");
  app->add_option("--client-ca-file", f->tls.client_authority,
                  "PEM certificate of the authority that signs clients': the "
                  "API server's and those of system:masters are served, all "
                  "others refused");
}

void AddFlags(CLI::App* app, Flags* f) {
  f->node_name = HostName();
  const Options defaults;
  f->root_dir = defaults.root_dir;
  f->netns_dir = defaults.netns_dir;
  f->netns_prefix = defaults.netns_prefix;
  f->log_level = "info";
  f->shim = ProgramFolder() + "/fairlead-shim";
  app->footer(kExamples);
  auto* config = app->add_option("--kubeconfig", f->kubeconfig,
                                 "file that says where the API server is");
  app->add_option("--server", f->server, "the API server's URL instead")
      ->excludes(config);
  app->add_option("--node-name", f->node_name, "this node's name")
      ->capture_default_str();
  app->add_option("--node-ip", f->node_ips,
                  "this node's addresses: IPv4, IPv6 or both, with a comma")
      ->required();
  app->add_option("--cgroup-root", f->cgroup_root,
                  "cgroup v2 directory; pods get cgroups below it")
      ->required();
  app->add_option("--root-dir", f->root_dir, "state and logs of the pods")
      ->capture_default_str();
  app->add_option("--netns-dir", f->netns_dir,
                  "where pods' network namespaces are mounted")
      ->capture_default_str();
  app->add_option("--netns-prefix", f->netns_prefix,
                  "their names are this and the pod's uid")
      ->capture_default_str();
  app->add_option("--pod-cidr", f->pod_cidrs,
                  "pods' addresses, with a comma between families; default: "
                  "from the Node's spec.podCIDRs");
  app->add_option("--uplink", f->uplink,
                  "device that leads to the other nodes; without one there "
                  "are no routes to their pods");
  app->add_option("--max-pods", f->max_pods, "pods at the same time")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app->add_option("--pod-max-pids", f->pod_max_pids,
                  "processes and threads of one pod; 0: any number")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 22))
      ->capture_default_str();
  app->add_option("--port", f->port,
                  "port of the kubelet's server; 0: any")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  AddServerFlags(app, f);
  app->add_option("--container-log-max-size", f->log_max_size,
                  "bytes of a container's log file before it is rotated")
      ->check(CLI::Range(size_t{1024}, size_t{1} << 40))
      ->capture_default_str();
  app->add_option("--container-log-max-files", f->log_max_files,
                  "files kept of a container's log")
      ->check(CLI::Range(1, 99))
      ->capture_default_str();
  app->add_option("--labels", f->labels, "KEY=VALUE of the Node, repeatable")
      ->delimiter(',');
  app->add_option("--crash-backoff", f->crash_backoff,
                  "seconds before a crashing container's second restart; "
                  "doubles with each further one")
      ->capture_default_str();
  app->add_option("--max-crash-backoff", f->max_crash_backoff,
                  "seconds that it grows to")
      ->capture_default_str();
  app->add_option("--lease-interval", f->lease_interval,
                  "seconds between renewals of the node's lease")
      ->capture_default_str();
  app->add_option("--eviction-hard", f->eviction_hard,
                  "what the node must have left; with less memory pods are "
                  "evicted")
      ->capture_default_str();
  app->add_option("--system-reserved", f->system_reserved,
                  "what of the machine isn't for pods: "
                  "cpu=500m,memory=1Gi,ephemeral-storage=1Gi")
      ->capture_default_str();
  app->add_option("--node-status-update-frequency", f->status_frequency,
                  "seconds between two looks at what the node has left")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  app->add_option("--eviction-pressure-transition-period",
                  f->pressure_transition,
                  "seconds that a node's pressure condition outlives its cause")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  app->add_option("--sync-frequency", f->sync_frequency,
                  "seconds between two looks at the ConfigMaps and Secrets of "
                  "mounted volumes")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  app->add_option("--shim", f->shim, "the program that starts containers")
      ->capture_default_str();
  app->add_option("--log-level", f->log_level,
                  "trace, debug, info, warn or error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}))
      ->capture_default_str();
}

template <typename T>
absl::Status ParseList(const std::string& text, const char* flag,
                       std::vector<T>* out) {
  for (const auto& word : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    auto value = T::Parse(Std(word));
    if (!value.ok()) return WithContext(value.status(), flag);
    out->push_back(*value);
  }
  return absl::OkStatus();
}

absl::Status SetServer(const Flags& f, Options* o) {
  if (!f.address.empty()) {
    auto address = IpAddress::Parse(f.address);
    if (!address.ok()) return WithContext(address.status(), "--address");
    o->address = *address;
  }
  o->tls = f.tls;
  const bool none = f.tls.certificate.empty() && f.tls.private_key.empty() &&
                    f.tls.client_authority.empty();
  if (none || f.tls.complete()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "--tls-cert-file, --tls-private-key-file and --client-ca-file belong "
      "together: give all three or none");
}

absl::StatusOr<Options> MakeOptions(const Flags& f) {
  Options o;
  o.node_name = f.node_name;
  o.root_dir = std::filesystem::absolute(f.root_dir).lexically_normal();
  o.cgroup_root = f.cgroup_root;
  o.netns_dir = f.netns_dir;
  o.netns_prefix = f.netns_prefix;
  o.uplink = f.uplink;
  o.max_pods = f.max_pods;
  o.pod_max_pids = f.pod_max_pids;
  o.port = static_cast<Port>(f.port);
  o.log_max_bytes = f.log_max_size;
  o.log_max_files = f.log_max_files;
  o.crash_backoff = absl::Seconds(f.crash_backoff);
  o.max_crash_backoff = absl::Seconds(f.max_crash_backoff);
  o.lease_interval = absl::Seconds(f.lease_interval);
  o.sync_frequency = absl::Seconds(f.sync_frequency);
  o.pressure_transition = absl::Seconds(f.pressure_transition);
  o.status_interval = absl::Seconds(f.status_frequency);
  auto reserved = ParseReserved(f.system_reserved);
  if (!reserved.ok())
    return WithContext(reserved.status(), "--system-reserved");
  o.reserved = *std::move(reserved);
  auto thresholds = ParseThresholds(f.eviction_hard);
  if (!thresholds.ok())
    return WithContext(thresholds.status(), "--eviction-hard");
  o.eviction_hard = *std::move(thresholds);
  o.shim = f.shim;
  // A container without a PATH finds what this program's user finds, and what
  // is installed beside it.
  const char* path = getenv("PATH");
  o.default_path = StrCat(path != nullptr ? path : "/usr/bin:/bin", ":",
                          ProgramFolder());
  FL_RETURN_IF_ERROR(SetServer(f, &o));
  FL_RETURN_IF_ERROR(ParseList(f.node_ips, "--node-ip", &o.node_ips));
  FL_RETURN_IF_ERROR(ParseList(f.pod_cidrs, "--pod-cidr", &o.pod_cidrs));
  for (const std::string& label : f.labels) {
    const size_t eq = label.find('=');
    if (eq == std::string::npos || eq == 0) {
      return absl::InvalidArgumentError(
          StrCat("--labels: \"", label, "\" is not KEY=VALUE"));
    }
    o.labels[label.substr(0, eq)] = label.substr(eq + 1);
  }
  if (o.netns_prefix.empty())
    return absl::InvalidArgumentError("--netns-prefix can't be empty");
  if (o.node_ips.empty())
    return absl::InvalidArgumentError("--node-ip names no address");
  return o;
}

absl::StatusOr<kube::ApiServer> FindServer(const Flags& flags) {
  if (!flags.server.empty()) return kube::ApiServer{.url = flags.server};
  if (!flags.kubeconfig.empty()) return kube::LoadKubeconfig(flags.kubeconfig);
  return absl::InvalidArgumentError("--kubeconfig or --server is needed");
}

absl::Status Run(const Flags& flags) {
  // A client or a command that no longer reads is an error of its stream.
  std::signal(SIGPIPE, SIG_IGN);
  FL_ASSIGN_OR_RETURN(Options options, MakeOptions(flags));
  FL_ASSIGN_OR_RETURN(const kube::ApiServer server, FindServer(flags));
  EventLoop loop;
  FL_ASSIGN_OR_RETURN(auto transport, kube::MakeHttpTransport(&loop, server));
  Kubelet kubelet(&loop, transport.get(), std::move(options));
  absl::Status status;
  loop.OnTermination([&](int signal) {
    spdlog::info("kubelet ends, pods stay signal={}", signal);
    loop.Stop();
  });
  loop.Post([&] {
    status = kubelet.Start();
    if (!status.ok()) loop.Stop();
  });
  loop.Run();
  return status;
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Runs the pods of one node of a Fairlead cluster, each in "
               "namespaces and a cgroup of its own, without a container "
               "engine.",
               kProgram);
  app.set_version_flag("--version", StrCat(kProgram, " ", kVersion));
  AddFlags(&app, &flags);
  CLI11_PARSE(app, argc, argv);
  OpenLog("kubelet", flags.log_level);
  const absl::Status status = Run(flags);
  return status.ok() ? 0 : Fail(kProgram, status, kExitFailure);
}

}  // namespace
}  // namespace fairlead::kubelet

int main(int argc, char** argv) {
  return fairlead::kubelet::Main(argc, argv);
}
