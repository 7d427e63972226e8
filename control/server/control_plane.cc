// SPDX-License-Identifier: Apache-2.0
#include "control/server/control_plane.h"

#include <spdlog/spdlog.h>

#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/time/clock.h"
#include "control/api/allocator.h"
#include "control/api/kinds.h"
#include "control/api/priority.h"
#include "control/api/service_account_admission.h"
#include "control/api/usage_metrics.h"
#include "control/controllers/controllers.h"
#include "control/controllers/informers.h"
#include "control/scheduler/scheduler.h"
#include "control/server/kubelet_client.h"
#include "control/server/serving_certificate.h"
#include "control/store/sqlite_store.h"
#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/write_file.h"
#include "userspace/kube/kubeconfig.h"
#include "userspace/pki/authority.h"

namespace fairlead::server {
namespace {

namespace fs = std::filesystem;

// All kinds but those of which there are many and that nobody plans from.
std::vector<kube::Resource> WatchedKinds(const api::KindTable& kinds) {
  std::vector<kube::Resource> resources;
  for (const api::Kind& kind : kinds.kinds()) {
    // Nothing is stored.
    if (kind.review || api::IsUsageMetrics(kind)) continue;
    if (kind.resource.kind == "Event" || kind.resource.kind == "IPAddress") {
      continue;
    }
    resources.push_back(kind.resource);
  }
  return resources;
}

std::string UrlOf(const api::ListenAddress& listen, Port port) {
  std::string host = listen.address.ToString();
  if (listen.address.is_unspecified()) {
    host = listen.address.is_v4() ? "127.0.0.1" : "::1";
  }
  if (host.find(':') != std::string::npos) host = StrCat("[", host, "]");
  return StrCat(listen.tls ? "https://" : "http://", host, ":", port);
}

// Whether the store can be written to, as /readyz wants to know: tried at the
// start, and again when somebody asks, but not more often than this.
class StoreProbe {
 public:
  explicit StoreProbe(store::Store* store) : store_(store) { Try(); }

  // As of the last try.
  absl::Status Check() {
    if (!trying_ && Clock::Real().Monotonic() - tried_ >= kProbePeriod) Try();
    return status_;
  }

 private:
  static constexpr absl::Duration kProbePeriod = absl::Seconds(2);

  void Try() {
    trying_ = true;
    tried_ = Clock::Real().Monotonic();
    store_->Commit({}, [this](const absl::StatusOr<store::Revision>& done) {
      trying_ = false;
      status_ = done.status();
    });
  }

  store::Store* store_;
  absl::Duration tried_;  // monotonic
  bool trying_ = false;
  absl::Status status_;
};

class ControlPlaneImpl : public ControlPlane {
 public:
  ControlPlaneImpl(EventLoop* loop, const ControllerConfig& config,
                   std::function<void()> on_ready)
      : loop_(loop),
        config_(config),
        on_ready_(std::move(on_ready)),
        kinds_(api::MakeKindTable()) {}

  void BackUp() override { backups_->Make(); }

  absl::Status Start() {
    FL_RETURN_IF_ERROR(OpenStore());
    api::ServiceAllocatorOptions ranges;
    ranges.service_cidrs = config_.service_cidrs;
    ranges.node_port_first = config_.node_port_first;
    ranges.node_port_last = config_.node_port_last;
    FL_ASSIGN_OR_RETURN(allocator_, api::MakeServiceAllocator(ranges));
    FL_RETURN_IF_ERROR(OpenAuthority());
    api::ServerOptions options;
    options.client_authority = authority_->certificate();
    options.token_key = authority_->token_key();
    if (kubelet_client_ != nullptr) {
      options.kubelet_tls = [this] { return kubelet_client_->current(); };
    }
    // Nodes are where they reach this server from.
    for (const api::ListenAddress& address : config_.listen) {
      if (options.kubelet_netns.empty()) options.kubelet_netns = address.netns;
    }
    std::vector<api::Admission*> admissions = {allocator_.get(),
                                               priorities_.get()};
    // Without TLS a token would tell nobody anything.
    if (config_.serves_tls()) admissions.push_back(accounts_.get());
    server_ = std::make_unique<api::ApiServer>(loop_, store_.get(), &kinds_,
                                               admissions, options);
    FL_RETURN_IF_ERROR(server_->Load());
    for (const api::ListenAddress& address : config_.listen) {
      FL_RETURN_IF_ERROR(server_->Listen(
          address, address.tls
                       ? [this] { return serving_->current(); }
                       : pki::TlsSource()));
    }
    LogAddresses();
    StartControllers();
    return absl::OkStatus();
  }

 private:
  absl::Status OpenStore() {
    std::error_code error;
    fs::path folder = fs::path(config_.store).parent_path();
    if (!folder.empty()) fs::create_directories(folder, error);
    if (error) return ErrnoStatus(error.value(), "mkdir", folder.string());
    FL_ASSIGN_OR_RETURN(store_, store::OpenSqliteStore(loop_, config_.store));
    store_probe_ = std::make_unique<StoreProbe>(store_.get());
    backups_ = std::make_unique<Backups>(loop_, store_.get(), config_.backups);
    return absl::OkStatus();
  }

  absl::Status OpenAuthority() {
    FL_ASSIGN_OR_RETURN(
        authority_, pki::Authority::Open(config_.cert_dir, absl::Now()));
    if (!config_.serves_tls()) return absl::OkStatus();
    FL_ASSIGN_OR_RETURN(
        serving_, ServingCertificate::Create(loop_, &*authority_, config_));
    FL_ASSIGN_OR_RETURN(kubelet_client_,
                        KubeletClient::Create(loop_, &*authority_,
                                              config_.kubelet_client));
    return absl::OkStatus();
  }

  void LogAddresses() {
    std::vector<Port> ports = server_->ports();
    for (size_t i = 0; i < ports.size(); ++i) {
      spdlog::info("msg=listening url={} netns=\"{}\"",
                   UrlOf(config_.listen[i], ports[i]),
                   config_.listen[i].netns);
    }
  }

  void StartControllers() {
    informers_ = std::make_unique<controllers::Informers>(
        loop_, server_->transport(), WatchedKinds(kinds_));
    controllers::Context context{.loop = loop_,
                                 .transport = server_->transport(),
                                 .informers = informers_.get()};
    controllers::ControllersOptions options;
    options.cluster_cidrs = config_.cluster_cidrs;
    options.node_lifecycle.grace_period = config_.node_monitor_grace_period;
    options.node_lifecycle.eviction_timeout = config_.pod_eviction_timeout;
    options.essentials = Essentials();
    options.root_ca_pem = authority_->certificate().ToPem();
    controllers_ =
        std::make_unique<controllers::Controllers>(context, options);
    scheduler_ = std::make_unique<scheduler::Scheduler>(context);
    server_->AddMetrics([this] { return Metrics(); });
    server_->AddHealthCheck("store", [this] { return store_probe_->Check(); });
    server_->AddHealthCheck("informer-sync", [this] {
      return informers_->has_synced()
                 ? absl::OkStatus()
                 : absl::UnavailableError("informers have not synced");
    });
    // Who is told that this is ready may create in "default" at once.
    informers_->OnSynced(
        [this] { server_->OnBootstrapped([this] { Ready(); }); });
    informers_->Start();
  }

  // The API server as pods reach it: where it is told to be or its first
  // address that is no loopback and, if there is TLS, speaks it.
  controllers::EssentialsOptions Essentials() const {
    controllers::EssentialsOptions essentials;
    essentials.service_cidrs = config_.service_cidrs;
    std::vector<Port> ports = server_->ports();
    essentials.port = ports.empty() ? Port{0} : ports[0];
    for (size_t i = 0; i < ports.size(); ++i) {
      const IpAddress& address = config_.listen[i].address;
      if (config_.serves_tls() && !config_.listen[i].tls) continue;
      if (!config_.advertise.has_value() &&
          (address.is_loopback() || address.is_unspecified())) {
        continue;
      }
      essentials.advertise = config_.advertise.value_or(address);
      essentials.port = ports[i];
      break;
    }
    return essentials;
  }

  void Ready() {
    if (!config_.write_kubeconfig.empty()) {
      absl::Status status = WriteKubeconfig();
      if (!status.ok()) spdlog::error("error=\"{}\"", status.ToString());
    }
    if (on_ready_) on_ready_();
  }

  // For the first address that is in this process' own network namespace.
  absl::Status WriteKubeconfig() {
    std::vector<Port> ports = server_->ports();
    size_t chosen = 0;
    while (chosen + 1 < ports.size() &&
           !config_.listen[chosen].netns.empty()) {
      ++chosen;
    }
    if (ports.empty()) return absl::OkStatus();
    kube::ApiServer server;
    server.url = UrlOf(config_.listen[chosen], ports[chosen]);
    if (config_.listen[chosen].tls) {
      server.ca_pem = authority_->certificate().ToPem();
      FL_ASSIGN_OR_RETURN(
          const pki::Credential admin,
          authority_->IssueClient({"admin", {"system:masters"}},
                                  absl::Now()));
      server.client_certificate_pem = admin.certificate_pem;
      server.client_key_pem = admin.key_pem;
    }
    // It holds a key, and readers wait for this file.
    return WriteFile(config_.write_kubeconfig,
                     kube::MakeKubeconfig("fairlead", server), 0600);
  }

  std::string Metrics() const {
    const scheduler::Scheduler::Stats& stats = scheduler_->stats();
    std::string text = controllers_->Metrics();
    auto metric = [&](const char* name, uint64_t value) {
      StrAppend(&text, "# TYPE ", name, " counter\n", name, " ", value, "\n");
    };
    metric("fl_scheduler_bound_total", stats.bound);
    metric("fl_scheduler_unschedulable_total", stats.unschedulable);
    metric("fl_scheduler_errors_total", stats.errors);
    text += backups_->Metrics();
    return text;
  }

  // In the order in which each needs the ones before it.
  EventLoop* loop_;
  ControllerConfig config_;
  std::function<void()> on_ready_;
  api::KindTable kinds_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<StoreProbe> store_probe_;
  std::unique_ptr<Backups> backups_;
  std::optional<pki::Authority> authority_;
  std::unique_ptr<ServingCertificate> serving_;
  std::unique_ptr<KubeletClient> kubelet_client_;  // null: without TLS
  std::unique_ptr<api::Admission> allocator_;
  std::unique_ptr<api::Admission> priorities_ = api::MakePriorityAdmission();
  std::unique_ptr<api::Admission> accounts_ =
      api::MakeServiceAccountAdmission();
  std::unique_ptr<api::ApiServer> server_;
  std::unique_ptr<controllers::Informers> informers_;
  std::unique_ptr<controllers::Controllers> controllers_;
  std::unique_ptr<scheduler::Scheduler> scheduler_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ControlPlane>> ControlPlane::Create(
    EventLoop* loop, const ControllerConfig& config,
    std::function<void()> on_ready) {
  auto plane =
      std::make_unique<ControlPlaneImpl>(loop, config, std::move(on_ready));
  FL_RETURN_IF_ERROR(plane->Start());
  return plane;
}

}  // namespace fairlead::server
