// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/pod_worker.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"
#include "userspace/kubelet/network/pod_network.h"
#include "userspace/kubelet/pod_status.h"
#include "userspace/kubelet/runtime/files.h"

namespace fairlead::kubelet {
namespace {

constexpr absl::Duration kRetry = absl::Seconds(1);
constexpr absl::Duration kMaxRetry = absl::Seconds(30);
constexpr absl::Duration kForcedGrace = absl::Seconds(2);

std::string HostsFile(const PodSpec& spec, const std::vector<IpAddress>& ips) {
  std::string text =
      "# Written by fairlead-kubelet.\n127.0.0.1\tlocalhost\n"
      "::1\tlocalhost ip6-localhost ip6-loopback\n";
  for (const IpAddress& ip : ips)
    StrAppend(&text, ip.ToString(), "\t", spec.hostname, "\n");
  return text;
}

// A Call must not be destroyed from inside its own callback.
void DropLater(EventLoop* loop, std::unique_ptr<kube::Call> call) {
  loop->Post([call = std::shared_ptr<kube::Call>(std::move(call))] {});
}

}  // namespace

PodWorker::PodWorker(const NodeServices& node, kube::Object pod, PodSpec spec)
    : node_(node),
      pod_(std::move(pod)),
      spec_(std::move(spec)),
      dir_(PodDir::For(node.options->PodsDir(), spec_.ns, spec_.name,
                       spec_.uid)),
      env_objects_(node.loop, node.client, spec_.ns,
                   [this] { ScheduleSync(); }),
      volumes_({.loop = node.loop,
                .client = node.client,
                .pod_dir = dir_.path(),
                .refresh = node.options->sync_frequency,
                .on_change = [this] { ScheduleSync(); },
                .on_failed =
                    [this](const std::string& why) {
                      Event(kube::EventType::kWarning, "FailedMount", why);
                    }},
               spec_.ns) {
  view_.start_time = Clock::Real().Now();
  view_.host_ips = node_.options->node_ips;
  for (const auto* list : {&spec_.init_containers, &spec_.containers}) {
    for (const ContainerSpec& c : *list) {
      containers_[c.name].backoff = CrashBackoff(
          node_.options->crash_backoff, node_.options->max_crash_backoff);
      view_.containers[c.name];
    }
  }
  Update(pod_, spec_);
}

PodWorker::~PodWorker() = default;

void PodWorker::ScheduleSync() {
  if (sync_scheduled_ || gone_) return;
  sync_scheduled_ = true;
  node_.loop->Post([this, alive = std::weak_ptr<int>(alive_)] {
    if (alive.expired()) return;
    sync_scheduled_ = false;
    Sync();
  });
}

void PodWorker::WakeAt(absl::Time when) {
  if (when == absl::InfiniteFuture()) return;
  const absl::Duration delay =
      std::max(when - Clock::Real().Now(), absl::Milliseconds(1));
  wake_ = node_.loop->After(delay, [this] { ScheduleSync(); });
}

void PodWorker::Update(kube::Object pod, PodSpec spec) {
  pod_ = std::move(pod);
  spec_ = std::move(spec);
  if (spec_.deletion_deadline) {
    // The API's time has whole seconds only, so the grace counts from here.
    stop_deadline_ = std::min(stop_deadline_,
                              Clock::Real().Now() + spec_.deletion_grace);
  }
  ScheduleSync();
}

void PodWorker::Remove() {
  if (removed_) return;
  removed_ = true;
  // Only a forced deletion takes the object away before its kubelet does.
  const absl::Duration grace = std::min(spec_.grace, kForcedGrace);
  stop_deadline_ = std::min(stop_deadline_, Clock::Real().Now() + grace);
  ScheduleSync();
}

void PodWorker::Reject(std::string reason, std::string message) {
  view_.rejected_reason = std::move(reason);
  view_.rejected_message = std::move(message);
  Event(kube::EventType::kWarning, view_.rejected_reason,
        view_.rejected_message);
  ScheduleSync();
}

void PodWorker::End(std::string reason, std::string message,
                    absl::Duration grace) {
  if (StopWanted() || finished_) return;
  view_.ended_reason = std::move(reason);
  view_.ended_message = std::move(message);
  stop_deadline_ = Clock::Real().Now() + grace;
  ScheduleSync();
}

void PodWorker::Evict(const std::string& message) {
  Event(kube::EventType::kWarning, "Evicted", message);
  End("Evicted", message, absl::ZeroDuration());
}

// When to look again.
absl::Time PodWorker::CheckDeadline(absl::Time now) {
  if (!spec_.active_deadline || StopWanted() || finished_)
    return absl::InfiniteFuture();
  const absl::Time until = view_.start_time + *spec_.active_deadline;
  if (now < until) return until;
  const char* const text =
      "Pod was active on the node longer than the specified deadline";
  Event(kube::EventType::kNormal, "DeadlineExceeded", text);
  End("DeadlineExceeded", text, spec_.grace);
  return absl::InfiniteFuture();
}

void PodWorker::Event(kube::EventType type, std::string_view reason,
                      std::string_view message, std::string_view container) {
  std::string field;
  if (!container.empty()) {
    const bool init = std::any_of(
        spec_.init_containers.begin(), spec_.init_containers.end(),
        [&](const ContainerSpec& c) { return c.name == container; });
    field = StrCat(init ? "spec.initContainers{" : "spec.containers{",
                   container, "}");
  }
  node_.events->Record(kube::ReferenceTo(kube::Pods(), *pod_, field), type,
                       reason, message);
}

void PodWorker::Sync() {
  if (gone_) return;
  const absl::Time now = Clock::Real().Now();
  wake_.Cancel();
  deadline_ = CheckDeadline(now);
  view_.stopping = StopWanted();
  RefreshViews();
  if (StopWanted()) {
    SyncStop(now);
  } else {
    SyncRun(now);
  }
  if (!gone_ && !removed_) Publish(now);
}

void PodWorker::SyncRun(absl::Time now) {
  PodPlan plan = PlanPod(spec_, view_, now);
  if (!plan.finished && !MountVolumes()) {
    plan.create_sandbox = false;
    plan.start.clear();
  }
  if (plan.create_sandbox) {
    EnsureSandbox();
    if (!view_.sandbox_ready) return;
    plan = PlanPod(spec_, view_, now);
  }
  if (plan.finished) {
    TearDownSandbox();
    finished_ = true;
    return;
  }
  for (const std::string& name : plan.start) StartContainer(*spec_.Find(name));
  for (const std::string& name : plan.stop)
    StopContainer(name, now + spec_.grace, StrCat("Stopping container ", name));
  absl::Time wake = std::min(plan.wake, deadline_);
  for (auto& [name, container] : containers_) {
    if (container.stopping) wake = std::min(wake, AdvanceStop(name, now));
  }
  WakeAt(wake);
}

void PodWorker::SyncStop(absl::Time now) {
  for (const std::string& name : NextToStop(spec_, view_))
    StopContainer(name, stop_deadline_, StrCat("Stopping container ", name));
  absl::Time wake = stop_deadline_ > now ? stop_deadline_ : now + kRetry;
  for (auto& [name, container] : containers_) {
    // Sidecars wait for the others, but not longer than the grace.
    if (!container.stopping && now >= stop_deadline_ &&
        view_.Of(name).Running()) {
      StopContainer(name, now, StrCat("Stopping container ", name));
    }
    if (container.stopping) wake = std::min(wake, AdvanceStop(name, now));
  }
  if (view_.AnyRunning()) {
    WakeAt(wake);
    return;
  }
  TearDownSandbox();
  finished_ = true;
  if (removed_) CleanUp();
}

// Nothing is started before all of them are there.
bool PodWorker::MountVolumes() {
  if (spec_.volumes.empty()) return true;
  // First: without a manifest the directory is nobody's.
  absl::Status status;
  if (!sandboxed_) status = dir_.Create();
  if (!sandboxed_ && status.ok()) status = dir_.SaveManifest(pod_->dump());
  if (!status.ok()) {
    spdlog::warn("pod directory not made pod={}/{} error=\"{}\"", spec_.ns,
                 spec_.name, status.ToString());
    sandbox_retry_ = node_.loop->After(kRetry, [this] { ScheduleSync(); });
    return false;
  }
  return volumes_.SetUp(MakeEnvContext());
}

NamespacePaths PodWorker::Namespaces() const {
  NamespacePaths paths;
  paths.ipc = dir_.NamespacePath("ipc");
  if (!spec_.host_network) {
    paths.net = node_.options->NetnsOf(spec_.uid);
    paths.uts = dir_.NamespacePath("uts");
  }
  return paths;
}

void PodWorker::EnsureSandbox() {
  if (sandbox_retry_.pending()) return;
  const absl::Status status = CreateSandbox();
  if (status.ok()) return;
  // No pod CIDR yet: the node tells when there is one.
  if (absl::IsFailedPrecondition(status)) return;
  spdlog::warn("pod sandbox failed pod={}/{} error=\"{}\"", spec_.ns,
               spec_.name, status.ToString());
  Event(kube::EventType::kWarning, "FailedCreatePodSandBox",
        StrCat("Failed to create pod sandbox: ", Std(status.message())));
  sandbox_retry_ = node_.loop->After(kRetry, [this] { ScheduleSync(); });
}

absl::Status PodWorker::CreateSandbox() {
  // Addresses re-learnt from disk are kept.
  if (!sandboxed_) {
    if (spec_.host_network) {
      view_.ips = view_.host_ips;
    } else {
      FL_ASSIGN_OR_RETURN(view_.ips, node_.allocate_ips());
    }
    sandboxed_ = true;
  }
  // On disk before the kernel: what is in the kernel can then be recognised.
  FL_RETURN_IF_ERROR(dir_.Create());
  FL_RETURN_IF_ERROR(dir_.SaveManifest(pod_->dump()));
  FL_RETURN_IF_ERROR(dir_.SaveSandbox({view_.ips, view_.start_time}));
  FL_RETURN_IF_ERROR(CreateNamespaces(Namespaces(), spec_.hostname));
  if (!spec_.host_network) {
    FL_RETURN_IF_ERROR(
        SetUpPodNetwork({.uid = spec_.uid,
                         .netns = node_.options->NetnsOf(spec_.uid),
                         .addresses = view_.ips,
                         .node_addresses = view_.host_ips,
                         .mtu = MtuOf(node_.options->uplink)}));
    FL_RETURN_IF_ERROR(
        WriteFileWhole(dir_.HostsPath(), HostsFile(spec_, view_.ips)));
  }
  view_.sandbox_ready = true;
  node_.on_network();
  return absl::OkStatus();
}

// The addresses stay in the status, as the last that the pod had.
void PodWorker::TearDownSandbox() {
  if (const absl::Status removed = volumes_.TearDown(); !removed.ok()) {
    spdlog::warn("pod volumes left behind pod={}/{} error=\"{}\"", spec_.ns,
                 spec_.name, removed.ToString());
  }
  if (!sandboxed_) return;
  absl::Status status = RemoveNamespaces(Namespaces());
  if (!spec_.host_network) {
    status.Update(TearDownPodNetwork(spec_.uid));
    node_.release_ips(view_.ips);
  }
  status.Update(dir_.ForgetSandbox());
  if (!status.ok()) {
    spdlog::warn("pod sandbox left behind pod={}/{} error=\"{}\"", spec_.ns,
                 spec_.name, status.ToString());
  }
  sandboxed_ = false;
  view_.sandbox_ready = false;
  node_.on_network();
}

PodPorts PodWorker::OpenPorts() const {
  // With the node's network its ports are the node's already.
  if (spec_.host_network || !view_.sandbox_ready) return {};
  return {spec_.host_ports, view_.ips};
}

std::optional<std::string> PodWorker::Netns() const {
  if (!view_.sandbox_ready) return std::nullopt;
  return spec_.host_network ? "" : node_.options->NetnsOf(spec_.uid);
}

void PodWorker::Publish(absl::Time now) {
  if (publish_call_ != nullptr || publish_retry_.pending()) return;
  if (release_only_) {
    DeleteFromApi();
    return;
  }
  const Json& current = At(*pod_, {"status"});
  Json status = BuildPodStatus(spec_, view_, current, published_, now);
  if (status == published_) {
    if (DeleteWanted() && !view_.AnyRunning()) DeleteFromApi();
    return;
  }
  const Json patch = StatusPatch(
      spec_, published_.is_object() ? published_ : current, status);
  sending_ = std::move(status);
  publish_call_ = node_.client->Patch(
      kube::Pods(), spec_.ns, spec_.name, "status",
      kube::PatchType::kStrategicMerge, patch,
      [this](absl::StatusOr<Json> result) { OnPublished(result.status()); });
}

void PodWorker::OnPublished(const absl::Status& status) {
  DropLater(node_.loop, std::move(publish_call_));
  if (status.ok()) {
    published_ = std::move(sending_);
    publish_delay_ = absl::ZeroDuration();
    SaveManifest();
    ScheduleSync();
    return;
  }
  // NotFound: the object has just gone, the watch is about to say so.
  if (!absl::IsNotFound(status)) {
    spdlog::warn("pod status not sent pod={}/{} error=\"{}\"", spec_.ns,
                 spec_.name, status.ToString());
  }
  publish_delay_ =
      std::clamp(2 * publish_delay_, absl::Milliseconds(250), kMaxRetry);
  publish_retry_ =
      node_.loop->After(publish_delay_, [this] { ScheduleSync(); });
}

// With the status that the API has now: a restarted kubelet takes from it which
// containers were ready, and that the pod was ended.
void PodWorker::SaveManifest() {
  if (!sandboxed_ && view_.ended_reason.empty()) return;
  Json manifest = *pod_;
  manifest["status"] = published_;
  if (const absl::Status saved = dir_.SaveManifest(manifest.dump());
      !saved.ok()) {
    spdlog::warn("pod manifest not saved pod={}/{} error=\"{}\"", spec_.ns,
                 spec_.name, saved.ToString());
  }
}

void PodWorker::DeleteFromApi() {
  if (delete_call_ != nullptr || publish_retry_.pending()) return;
  delete_call_ = node_.client->Delete(
      kube::Pods(), spec_.ns, spec_.name,
      {.grace_period_seconds = 0, .precondition_uid = spec_.uid},
      [this](absl::StatusOr<Json> result) {
        // With finalizers the object stays; in any case the watch tells when
        // it has gone, and only then its record goes too.
        if (result.ok() || absl::IsNotFound(result.status())) return;
        spdlog::warn("pod not deleted pod={}/{} error=\"{}\"", spec_.ns,
                     spec_.name, result.status().ToString());
        DropLater(node_.loop, std::move(delete_call_));
        publish_retry_ = node_.loop->After(kRetry, [this] { ScheduleSync(); });
      });
}

void PodWorker::CleanUp() {
  if (clean_retry_.pending()) return;
  absl::Status status = node_.cgroups->Remove(spec_.uid);
  if (status.ok()) status = volumes_.TearDown();
  if (status.ok()) status = dir_.Remove();
  if (!status.ok()) {
    clean_delay_ =
        std::clamp(2 * clean_delay_, absl::Milliseconds(20), kMaxRetry);
    if (clean_delay_ > kRetry) {
      spdlog::warn("pod not cleaned up pod={}/{} error=\"{}\"", spec_.ns,
                   spec_.name, status.ToString());
    }
    clean_retry_ = node_.loop->After(clean_delay_, [this] { ScheduleSync(); });
    return;
  }
  gone_ = true;
  spdlog::info("pod gone pod={}/{} uid={}", spec_.ns, spec_.name, spec_.uid);
  node_.on_gone(spec_.uid);
}

}  // namespace fairlead::kubelet
