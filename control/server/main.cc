// SPDX-License-Identifier: Apache-2.0
// fairlead-controller: a compact Kubernetes control plane in one process.
#ifdef FAIRLEAD_JEMALLOC
#include <jemalloc/jemalloc.h>
#else
#include <malloc.h>
#endif
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <functional>
#include <memory>

#include "control/server/config.h"
#include "control/server/control_plane.h"
#include "control/store/backup.h"
#include "userspace/base/clock.h"
#include "userspace/base/event_loop.h"
#include "userspace/base/program.h"
#include "userspace/base/sd_notify.h"
#include "userspace/base/strings.h"
#include "userspace/base/version.h"

namespace fairlead::server {
namespace {

constexpr char kProgram[] = "fairlead-controller";

constexpr char kExamples[] = R"(Examples:
  # On this machine only, with a kubeconfig for kubectl:
  fairlead-controller --store /tmp/fairlead.db --write-kubeconfig /tmp/kc
  kubectl --kubeconfig /tmp/kc get nodes

  # With TLS and roles; the kubeconfig holds an administrator's certificate:
  fairlead-controller --store /tmp/fairlead.db \
      --listen https://127.0.0.1:6443 --write-kubeconfig /tmp/kc

  # For nodes in network namespaces, dual stack:
  fairlead-controller --listen 127.0.0.1:6443 \
      --listen 172.30.0.1:6443@/run/netns/fabric \
      --cluster-cidr 10.244.0.0/16,fd00:10:244::/56 \
      --service-cidr 10.96.0.0/16,fd00:10:96::/108

  # After the disk was lost, or the file damaged:
  fairlead-controller --store /tmp/fairlead.db \\
      --restore /tmp/fairlead.db.backups/20261123T044500Z.db

All state is in the store: the process may be killed at any moment. SIGUSR1
makes a backup at once.
)";

void AddFlags(CLI::App* app, Flags* flags) {
  app->add_option("--listen", flags->listen,
                  "[https://]ADDRESS:PORT[@NETNS-PATH] to serve the API on; "
                  "without https:// whoever connects is the administrator; "
                  "port 0 lets the kernel choose (repeatable)")
      ->capture_default_str();
  app->add_option("--store", flags->store,
                  "SQLite file that holds the cluster's state")
      ->capture_default_str();
  app->add_option("--backup-dir", flags->backup_dir,
                  "Where backups of the store go (default: STORE.backups)");
  app->add_option("--backup-interval", flags->backup_interval,
                  "How often one is made; 0: only on SIGUSR1")
      ->capture_default_str();
  app->add_option("--backup-keep", flags->backup_keep, "How many stay")
      ->capture_default_str();
  app->add_option("--restore", flags->restore,
                  "Puts this backup in the place of the store, keeps what was "
                  "there as STORE.replaced, and ends");
  app->add_option("--service-cidr", flags->service_cidrs,
                  "Ranges of ClusterIPs, one of each family; the first is the "
                  "default family")
      ->capture_default_str();
  app->add_option("--cluster-cidr", flags->cluster_cidrs,
                  "Ranges of pod addresses, one of each family; each node "
                  "gets a /24 and a /64 of them")
      ->capture_default_str();
  app->add_option("--node-port-range", flags->node_port_range,
                  "Ports that NodePorts are chosen from")
      ->capture_default_str();
  app->add_option("--node-monitor-grace-period",
                  flags->node_monitor_grace_period,
                  "A node that is silent for this long is unreachable")
      ->capture_default_str();
  app->add_option("--pod-eviction-timeout", flags->pod_eviction_timeout,
                  "How long pods stay on a node that is lost, where they "
                  "don't say so themselves (default: 5m)");
  app->add_option("--write-kubeconfig", flags->write_kubeconfig,
                  "Writes a kubeconfig for the first address when ready");
  app->add_option("--cert-dir", flags->cert_dir,
                  "Folder of the cluster's certificate authority and of the "
                  "key that signs service account tokens; made at the first "
                  "start (default: pki beside the store)");
  app->add_option("--tls-san", flags->tls_sans,
                  "A further name or address that clients know this server "
                  "by (repeatable)");
  app->add_option("--advertise-address", flags->advertise_address,
                  "The endpoint of the Service default/kubernetes (default: "
                  "the first --listen address that isn't loopback)");
  app->add_option("--kubelet-client-certificate",
                  flags->kubelet_client_certificate,
                  "PEM file: what is shown to kubelets (default: a certificate "
                  "of the cluster's authority)");
  app->add_option("--kubelet-client-key", flags->kubelet_client_key,
                  "PEM file: the key to it");
  app->add_option("--kubelet-certificate-authority",
                  flags->kubelet_certificate_authority,
                  "PEM file: who signs kubelets' serving certificates "
                  "(default: the cluster's authority)");
  app->add_option("--log-level", flags->log_level, "What is logged")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
}

int Restore(const ControllerConfig& config) {
  auto revision = store::RestoreSqliteStore(config.restore, config.store);
  if (!revision.ok()) return Fail(kProgram, revision.status(), kExitFailure);
  std::printf("%s is restored from %s; resourceVersions go on from %lld\n",
              config.store.c_str(), config.restore.c_str(),
              static_cast<long long>(*revision));
  return 0;
}

// What can be done about a store that is damaged.
absl::Status WithNewestBackup(const absl::Status& status,
                              const ControllerConfig& config) {
  if (!absl::IsDataLoss(status)) return status;
  auto backup = NewestBackup(config.backups.folder);
  const std::string hint =
      backup.ok() ? StrCat("the newest backup is ", *backup,
                           ": bring it back with --restore ", *backup)
                  : StrCat("there is no backup in ", config.backups.folder);
  return absl::DataLossError(StrCat(status.message(), "\n", hint));
}

// A connection is a file descriptor, and the usual limit of 1,024 would let
// that many idle clients keep all others out.
void RaiseFileLimit() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &files) != 0) {
    spdlog::warn("msg=file_limit_stays errno={}", errno);
  }
}

// What was allocated for a while and freed goes back to the system.
void ReturnFreeMemory() {
#ifdef FAIRLEAD_JEMALLOC
  // An arena's number is part of the name: this one stands for all.
  static_assert(MALLCTL_ARENAS_ALL == 4096);
  mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0);
#else
  malloc_trim(0);
#endif
}

int Serve(const ControllerConfig& config) {
  std::signal(SIGPIPE, SIG_IGN);
  RaiseFileLimit();
  absl::Duration began = Clock::Real().Monotonic();
  EventLoop loop;
  auto plane = ControlPlane::Create(&loop, config, [began] {
    // What reading the schemas and the store left behind.
    ReturnFreeMemory();
    NotifyReady();
    spdlog::info("msg=ready after_ms={}",
                 absl::ToInt64Milliseconds(Clock::Real().Monotonic() - began));
  });
  if (!plane.ok()) {
    return Fail(kProgram, WithNewestBackup(plane.status(), config),
                kExitFailure);
  }
  boost::asio::signal_set backup_now(loop.io(), SIGUSR1);
  std::function<void()> wait_for_it = [&] {
    backup_now.async_wait([&](const boost::system::error_code& error, int) {
      if (error) return;
      (*plane)->BackUp();
      wait_for_it();
    });
  };
  wait_for_it();
  loop.OnTermination([&](int signal) {
    spdlog::info("msg=stopping signal={}", signal);
    loop.Stop();
  });
  loop.Run();
  plane->reset();
  spdlog::info("msg=stopped");
  return 0;
}

int Run(int argc, char** argv) {
  Flags flags;
  CLI::App app("A compact Kubernetes control plane: API server, store, "
               "controllers and scheduler in one process.",
               kProgram);
  app.footer(kExamples);
  app.set_version_flag("--version", StrCat(kProgram, " ", kVersion));
  AddFlags(&app, &flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    int code = app.exit(error);
    return code == 0 ? 0 : kExitUsage;
  }
  auto config = ParseConfig(flags);
  if (!config.ok()) return Fail(kProgram, config.status(), kExitUsage);
  if (!config->restore.empty()) return Restore(*config);
  OpenLog("controller", flags.log_level);
  return Serve(*config);
}

}  // namespace
}  // namespace fairlead::server

int main(int argc, char** argv) { return fairlead::server::Run(argc, argv); }
