// SPDX-License-Identifier: Apache-2.0
// Runs one pod from its first sight to its removal. Whatever happens (a change
// of the object, the end of a process, a probe's verdict, a timer) leads to
// one Sync, which compares what should be with what is.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_USERSPACE_KUBELET_POD_WORKER_H_
#define FAIRLEAD_USERSPACE_KUBELET_POD_WORKER_H_

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/client.h"
#include "userspace/kube/events.h"
#include "userspace/kube/informer.h"
#include "userspace/kubelet/crash_backoff.h"
#include "userspace/kubelet/network/host_ports.h"
#include "userspace/kubelet/object_cache.h"
#include "userspace/kubelet/options.h"
#include "userspace/kubelet/pod_plan.h"
#include "userspace/kubelet/pod_spec.h"
#include "userspace/kubelet/probes/prober.h"
#include "userspace/kubelet/runtime/container_process.h"
#include "userspace/kubelet/runtime/pod_dir.h"
#include "userspace/kubelet/volumes/pod_volumes.h"

namespace fairlead::kubelet {

// What a pod needs from its node. All pointers outlive the workers.
struct NodeServices {
  EventLoop* loop = nullptr;
  kube::Client* client = nullptr;
  kube::EventRecorder* events = nullptr;
  const Options* options = nullptr;
  const PodCgroups* cgroups = nullptr;
  ResourceAmounts allocatable;
  // service_env.h; nullopt while the Services aren't known yet.
  std::function<
      std::optional<std::vector<std::pair<std::string, std::string>>>(
          const PodSpec& pod)>
      service_variables;
  // Addresses, one of each family; FailedPrecondition while the node has no
  // pod CIDR yet.
  std::function<absl::StatusOr<std::vector<IpAddress>>()> allocate_ips;
  std::function<void(const std::vector<IpAddress>&)> release_ips;
  // A pod's network came or went: see PodWorker::OpenPorts().
  std::function<void()> on_network;
  // Nothing is left of the pod: the worker may be destroyed (later).
  std::function<void(const std::string& uid)> on_gone;
};

class PodWorker {
 public:
  PodWorker(const NodeServices& node, kube::Object pod, PodSpec spec);
  ~PodWorker();
  PodWorker(const PodWorker&) = delete;
  PodWorker& operator=(const PodWorker&) = delete;

  // Takes over what an earlier kubelet left in the pod's directory. Before
  // the first Sync.
  void Recover();
  // A newer version of the object.
  void Update(kube::Object pod, PodSpec spec);
  // The API has the object no more.
  void Remove();
  // The pod had ended before this kubelet saw it: its status stays as it is,
  // the object is only let go.
  void ReleaseOnly() { release_only_ = true; }
  // The node can't take the pod.
  void Reject(std::string reason, std::string message);
  // Soon, once, however often it is asked for.
  void ScheduleSync();

  const PodSpec& spec() const { return spec_; }
  const std::vector<IpAddress>& ips() const { return view_.ips; }
  // What of the node's ports leads to it now.
  PodPorts OpenPorts() const;
  bool removed() const { return removed_; }    // the API has it no more
  bool finished() const { return finished_; }  // only its record is left
  const PodView& view() const { return view_; }
  // Nothing of it runs on: it has failed, for a reason of the node's.
  void End(std::string reason, std::string message, absl::Duration grace);
  // Likewise, at once and with an event.
  void Evict(const std::string& message);
  bool stopping() const { return StopWanted(); }

  // For the kubelet's server. The run whose log is meant; InvalidArgument with
  // a kubelet's words.
  [[nodiscard]] absl::StatusOr<ContainerRun> LogRun(
      const std::string& container, bool previous) const;
  std::string LogPath(const std::string& container, int attempt) const;
  bool IsRunning(const std::string& container, const std::string& id) const;
  // What, put before a command, runs it inside the container; empty: the
  // container doesn't run.
  std::vector<std::string> EnterCommand(const std::string& container,
                                        bool terminal) const;
  // Path of its network namespace, "" when it has the node's; nullopt: it has
  // none now.
  std::optional<std::string> Netns() const;

 private:
  struct Container {
    std::unique_ptr<ContainerProcess> process;
    CrashBackoff backoff;
    bool exit_seen = false;     // of `process`, for back-off and events
    bool started_seen = false;  // likewise
    std::unique_ptr<Prober> readiness, liveness, startup;
    std::unique_ptr<ActionCall> post_start;  // not ready while it runs
    // Being stopped: its hook; when the grace ends; when signals were sent.
    bool stopping = false;
    std::unique_ptr<ActionCall> pre_stop;
    absl::Time stop_by = absl::InfiniteFuture();
    absl::Time term_at = absl::InfiniteFuture();
    absl::Time killed_at = absl::InfiniteFuture();
  };
  // pod_worker.cc: the pod as a whole.
  void Sync();
  void SyncRun(absl::Time now);
  void SyncStop(absl::Time now);
  bool MountVolumes();
  void EnsureSandbox();
  absl::Status CreateSandbox();
  void TearDownSandbox();
  void Publish(absl::Time now);
  void OnPublished(const absl::Status& status);
  void SaveManifest();
  void DeleteFromApi();
  void CleanUp();
  void WakeAt(absl::Time when);
  bool StopWanted() const {
    return DeleteWanted() || !view_.ended_reason.empty();
  }
  bool DeleteWanted() const { return removed_ || spec_.deletion_deadline; }
  absl::Time CheckDeadline(absl::Time now);
  NamespacePaths Namespaces() const;
  void Event(kube::EventType type, std::string_view reason,
             std::string_view message, std::string_view container = "");

  // pod_worker_containers.cc: its containers.
  void StartContainer(const ContainerSpec& container);
  absl::Status Launch(const ContainerSpec& container, int attempt);
  void RefreshViews();
  void OnStarted(const ContainerSpec& container, Container* c);
  void OnExit(const ContainerSpec& container, Container* c,
              ContainerView* view);
  ContainerConfig ConfigOf(const std::string& container, int attempt) const;
  PodLimits LimitsOfPod() const;
  // False while objects that `container` takes its environment from are
  // being fetched.
  bool HaveEnvObjects(const ContainerSpec& container);
  EnvContext MakeEnvContext();
  void RecoverContainer(const ContainerSpec& container);

  // pod_worker_probes.cc: their probes, hooks and ends.
  void StopContainer(const std::string& name, absl::Time stop_by,
                     std::string_view why);
  absl::Time AdvanceStop(const std::string& name, absl::Time now);
  std::unique_ptr<ActionCall> RunHook(const ContainerSpec& container,
                                      const Action& action,
                                      const std::string& which,
                                      absl::Duration limit);
  void OnHookFailed(const std::string& container, const std::string& which,
                    const std::string& why);
  void SyncProbes(const ContainerSpec& container, Container* c,
                  ContainerView* view);
  std::unique_ptr<Prober> MakeProber(const ContainerSpec& container,
                                     const Probe& probe,
                                     std::string_view purpose, bool initial);
  void OnProbe(const std::string& container, std::string_view purpose,
               const Prober::Result& result);
  ActionTarget TargetOf(const std::string& container) const;
  bool WasReady(const std::string& container, const std::string& id) const;

  NodeServices node_;
  kube::Object pod_;
  PodSpec spec_;
  PodDir dir_;
  PodView view_;
  std::map<std::string, Container> containers_;
  ObjectCache env_objects_;
  PodVolumes volumes_;

  bool removed_ = false, finished_ = false, gone_ = false, sandboxed_ = false;
  bool release_only_ = false;
  absl::Time stop_deadline_ = absl::InfiniteFuture();
  absl::Time deadline_ = absl::InfiniteFuture();  // activeDeadlineSeconds
  bool sync_scheduled_ = false;
  Timer wake_, sandbox_retry_, publish_retry_, env_retry_, clean_retry_;
  absl::Duration publish_delay_, clean_delay_;
  nlohmann::json published_;
  nlohmann::json sending_;
  std::unique_ptr<kube::Call> publish_call_, delete_call_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // for posted calls
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_POD_WORKER_H_
