// SPDX-License-Identifier: Apache-2.0
// The part of PodWorker that deals with single containers.
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/env.h"
#include "userspace/kubelet/json.h"
#include "userspace/kubelet/pod_status.h"
#include "userspace/kubelet/pod_streams.h"
#include "userspace/kubelet/pod_worker.h"
#include "userspace/kubelet/runtime/files.h"
#include "userspace/kubelet/runtime/termination_message.h"

namespace fairlead::kubelet {
namespace {

// Of a postStart hook, which Kubernetes gives any time it wants.
constexpr absl::Duration kHookLimit = absl::Hours(24);
constexpr absl::Duration kConfigRetry = absl::Seconds(2);

// Each object that a container's environment comes from.
std::vector<std::pair<bool, std::string>> EnvObjects(
    const ContainerSpec& container) {
  std::vector<std::pair<bool, std::string>> objects;
  for (const EnvFrom& from : container.env_from)
    objects.emplace_back(from.secret, from.object);
  for (const EnvVar& env : container.env) {
    if (env.source == EnvVar::Source::kConfigMap ||
        env.source == EnvVar::Source::kSecret) {
      objects.emplace_back(env.source == EnvVar::Source::kSecret, env.object);
    }
  }
  return objects;
}

// The pod's own volume wins over the kubelet's file.
void AddUnlessMounted(const std::string& source, const std::string& target,
                      std::vector<Mount>* mounts) {
  for (const Mount& mount : *mounts) {
    if (mount.target == target) return;
  }
  mounts->push_back({.source = source, .sub_path = "", .target = target,
                     .read_only = false});
}

}  // namespace

ContainerConfig PodWorker::ConfigOf(const std::string& container,
                                    int attempt) const {
  const ContainerSpec* spec = spec_.Find(container);
  ContainerConfig config;
  config.shim = node_.options->shim;
  config.prefix = dir_.RunPrefix(container, attempt);
  config.log = LogPath(container, attempt);
  config.log_bytes = node_.options->log_max_bytes;
  config.log_files = node_.options->log_max_files;
  config.cgroups = node_.cgroups->Plan(
      spec_.uid, LimitsOfPod(), container,
      spec != nullptr ? LimitsOf(spec->resources) : ContainerLimits());
  config.shim_cgroup = node_.cgroups->Pod(spec_.uid) + "/_shim";
  config.namespaces = Namespaces();
  config.hide_below = node_.options->PodsDir();
  config.message_from_log = spec != nullptr && spec->message_from_log;
  return config;
}

PodLimits PodWorker::LimitsOfPod() const {
  PodLimits limits{.pids = node_.options->pod_max_pids};
  for (const auto* list : {&spec_.init_containers, &spec_.containers}) {
    for (const ContainerSpec& c : *list) {
      // Init containers are through when the others run.
      if (c.role != ContainerRole::kInit)
        limits.cpu_request_milli += LimitsOf(c.resources).cpu_request_milli;
    }
  }
  return limits;
}

void PodWorker::StartContainer(const ContainerSpec& container) {
  ContainerView& view = view_.containers[container.name];
  if (!IsHostImage(container.image)) {
    const std::string message = StrCat(
        "image \"", container.image, "\" can't be pulled: this runtime "
        "doesn't pull images; image \"host\" runs a program of the node's own "
        "file system");
    if (view.waiting_reason.empty()) {
      Event(kube::EventType::kWarning, "Failed",
            StrCat("Failed to pull image \"", container.image, "\": ", message),
            container.name);
    }
    view.waiting_reason = "ErrImagePull";
    view.waiting_message = message;
    return;
  }
  // The node tells when they are known.
  if (!HaveEnvObjects(container) || !node_.service_variables(spec_)) return;
  const int attempt = view.run ? view.run->attempt + 1 : 0;
  const absl::Status status = Launch(container, attempt);
  env_objects_.Forget();
  if (status.ok()) {
    view.waiting_reason.clear();
    view.waiting_message.clear();
    return;
  }
  // What the spec refers to may appear, and the machine may recover.
  const bool config =
      absl::IsNotFound(status) || absl::IsInvalidArgument(status);
  const std::string message(status.message());
  if (view.waiting_message != message) {
    Event(kube::EventType::kWarning, "Failed", StrCat("Error: ", message),
          container.name);
  }
  view.waiting_reason =
      config ? "CreateContainerConfigError" : "CreateContainerError";
  view.waiting_message = message;
  env_retry_ = node_.loop->After(kConfigRetry, [this] { ScheduleSync(); });
}

absl::Status PodWorker::Launch(const ContainerSpec& container, int attempt) {
  FL_RETURN_IF_ERROR(CheckSecurityContext(container.security, spec_.LongName(),
                                          container.name));
  EnvContext context = MakeEnvContext();
  if (auto services = node_.service_variables(spec_))
    context.service_variables = *std::move(services);
  ContainerConfig config = ConfigOf(container.name, attempt);
  FL_ASSIGN_OR_RETURN(config.env, BuildEnv(container, context));
  FL_ASSIGN_OR_RETURN(config.args, BuildArgs(container, config.env));
  FL_ASSIGN_OR_RETURN(config.mounts,
                      volumes_.MountsOf(container, context, config.env));
  if (!spec_.host_network)
    AddUnlessMounted(dir_.HostsPath(), "/etc/hosts", &config.mounts);
  const std::string message = config.prefix + kMessageEnding;
  AddUnlessMounted(message, container.message_path, &config.mounts);
  config.cwd = container.working_dir;
  config.security = container.security;
  FL_RETURN_IF_ERROR(dir_.CreateContainer(container.name));
  dir_.Prune(container.name, 1);
  FL_RETURN_IF_ERROR(WriteFileWhole(message, ""));
  // Whoever the container runs as may write it.
  if (chmod(message.c_str(), 0666) != 0)
    return ErrnoStatus(errno, "set mode of", message);

  Container& c = containers_[container.name];
  FL_ASSIGN_OR_RETURN(auto process,
                      ContainerProcess::Start(node_.loop, attempt, config,
                                              [this] { ScheduleSync(); }));
  c.process = std::move(process);
  c.exit_seen = c.started_seen = c.stopping = false;
  c.stop_by = c.term_at = c.killed_at = absl::InfiniteFuture();
  ContainerView& view = view_.containers[container.name];
  if (view.run) view.last = std::move(view.run);
  view.run = c.process->run();
  Event(kube::EventType::kNormal, "Pulled",
        StrCat("Container image \"", container.image,
               "\" already present on machine"),
        container.name);
  Event(kube::EventType::kNormal, "Created",
        StrCat("Created container: ", container.name), container.name);
  return absl::OkStatus();
}

void PodWorker::RefreshViews() {
  for (const auto* list : {&spec_.init_containers, &spec_.containers}) {
    for (const ContainerSpec& container : *list) {
      Container& c = containers_[container.name];
      ContainerView& view = view_.containers[container.name];
      if (c.process == nullptr) continue;
      view.run = c.process->run();
      if (view.run->state == ContainerRun::State::kRunning &&
          !c.started_seen) {
        OnStarted(container, &c);
      }
      if (view.Exited() && !c.exit_seen) OnExit(container, &c, &view);
      SyncProbes(container, &c, &view);
    }
  }
}

void PodWorker::OnStarted(const ContainerSpec& container, Container* c) {
  const std::string& name = container.name;
  const ContainerRun& run = c->process->run();
  c->started_seen = true;
  spdlog::info("container started pod={}/{} container={} attempt={} pid={}",
               spec_.ns, spec_.name, name, run.attempt, run.pid);
  Event(kube::EventType::kNormal, "Started",
        StrCat("Started container ", name), name);
  if (!container.post_start) return;
  c->post_start = RunHook(container, *container.post_start, "PostStart",
                          kHookLimit);
}

void PodWorker::OnExit(const ContainerSpec& container, Container* c,
                       ContainerView* view) {
  const std::string& name = container.name;
  const ContainerRun& run = *view->run;
  c->exit_seen = true;
  c->stopping = false;
  c->pre_stop.reset();
  c->post_start.reset();
  view->backoff = c->backoff.OnExit(run.finished - run.started);
  view->restart_at = run.finished + view->backoff;
  spdlog::info("container ended pod={}/{} container={} attempt={} code={} "
               "signal={} error=\"{}\"", spec_.ns, spec_.name, name,
               run.attempt, run.exit_code, run.signal, run.start_error);
  if (!run.start_error.empty()) {
    Event(kube::EventType::kWarning, "Failed",
          StrCat("Error: failed to start container \"", name,
                 "\": ", run.start_error),
          name);
  }
  const bool again =
      !view_.stopping &&
      IsRestarted(spec_.restart_policy, container, run);
  if (again && view->backoff > absl::ZeroDuration()) {
    Event(kube::EventType::kWarning, "BackOff",
          StrCat("Back-off restarting failed container ", name, " in pod ",
                 spec_.LongName()),
          name);
  }
}

std::vector<std::string> PodWorker::EnterCommand(const std::string& container,
                                                 bool terminal) const {
  const ContainerView& view = view_.Of(container);
  if (!view.run || view.run->pid == 0) return {};
  return {node_.options->shim, terminal ? "exec-tty" : "exec",
          dir_.RunPrefix(container, view.run->attempt) + ".spec",
          StrCat(view.run->pid)};
}

std::string PodWorker::LogPath(const std::string& container,
                               int attempt) const {
  return dir_.RunPrefix(container, attempt) + ".log";
}

bool PodWorker::IsRunning(const std::string& container,
                          const std::string& id) const {
  const ContainerView& view = view_.Of(container);
  return view.Running() && view.run->id == id;
}

absl::StatusOr<ContainerRun> PodWorker::LogRun(const std::string& container,
                                               bool previous) const {
  return RunForLog(spec_.name, container, previous, view_,
                   BuildPodStatus(spec_, view_, At(*pod_, {"status"}),
                                  published_, Clock::Real().Now()));
}

bool PodWorker::HaveEnvObjects(const ContainerSpec& container) {
  bool all = true;
  for (const auto& [secret, name] : EnvObjects(container))
    all = env_objects_.Find(secret, name) != nullptr && all;
  return all;
}

EnvContext PodWorker::MakeEnvContext() {
  EnvContext context{
      .pod = &spec_,
      .pod_ips = view_.ips,
      .host_ips = view_.host_ips,
      .default_path = node_.options->default_path,
      .allocatable = node_.allocatable,
      .lookup = [this](bool secret, const std::string& name)
          -> absl::StatusOr<std::map<std::string, std::string>> {
        const auto* object = env_objects_.Find(secret, name);
        if (object == nullptr)
          return absl::UnavailableError(StrCat(name, " is being fetched"));
        if (!object->ok()) return object->status();
        return (*object)->text;
      }};
  return context;
}

void PodWorker::Recover() {
  const auto record = dir_.LoadSandbox();
  if (record.ok()) {
    view_.ips = record->ips;
    view_.start_time = record->start_time;
    sandboxed_ = true;
  }
  const Json& status = At(*pod_, {"status"});
  if (!sandboxed_) {
    absl::ParseTime(absl::RFC3339_full, StringAt(status, {"startTime"}),
                    &view_.start_time, nullptr);
  }
  if (StringAt(status, {"phase"}) == "Failed") {
    view_.ended_reason = StringAt(status, {"reason"});
    view_.ended_message = StringAt(status, {"message"});
  }
  // The grace began when the API said, not when this kubelet did.
  if (spec_.deletion_deadline)
    stop_deadline_ = *spec_.deletion_deadline + absl::Seconds(1);
  int alive = 0;
  for (const auto* list : {&spec_.init_containers, &spec_.containers}) {
    for (const ContainerSpec& container : *list) {
      RecoverContainer(container);
      const ContainerView& view = view_.Of(container.name);
      if (view.Running() && view.run->pid != 0) alive = view.run->pid;
    }
  }
  if (!sandboxed_) return;
  view_.sandbox_ready = NamespacesExist(Namespaces());
  if (!view_.sandbox_ready && alive != 0)
    view_.sandbox_ready = AdoptNamespaces(Namespaces(), alive).ok();
}

void PodWorker::RecoverContainer(const ContainerSpec& container) {
  const std::vector<int> runs = dir_.Runs(container.name);
  if (runs.empty()) return;
  ContainerView& view = view_.containers[container.name];
  Container& c = containers_[container.name];
  const auto recover = [&](int attempt) {
    auto process = ContainerProcess::Recover(
        node_.loop, attempt, ConfigOf(container.name, attempt),
        [this] { ScheduleSync(); });
    if (!process.ok()) {
      spdlog::warn("container not recovered pod={}/{} container={} "
                   "error=\"{}\"", spec_.ns, spec_.name, container.name,
                   process.status().ToString());
    }
    return process;
  };
  if (runs.size() > 1) {
    const auto last = recover(runs[runs.size() - 2]);
    if (last.ok() && (*last)->exited()) view.last = (*last)->run();
  }
  auto process = recover(runs.back());
  if (!process.ok()) return;
  c.process = *std::move(process);
  c.started_seen = true;
  // Told of before; and a back-off begins anew with the kubelet.
  c.exit_seen = c.process->exited();
  view.run = c.process->run();
}

}  // namespace fairlead::kubelet
