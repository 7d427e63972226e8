// SPDX-License-Identifier: Apache-2.0
// One run of one container: its shim, its processes and what became of them.
//
// Threads: the event loop's only; callbacks come from the loop, never from
// inside a call. Destroying a ContainerProcess leaves the processes alone;
// Recover() finds them again.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_CONTAINER_PROCESS_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_CONTAINER_PROCESS_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/base/event_loop.h"
#include "userspace/kubelet/runtime/fd_watch.h"
#include "userspace/kubelet/runtime/namespaces.h"
#include "userspace/kubelet/runtime/pod_cgroups.h"
#include "userspace/kubelet/security_context.h"

namespace fairlead::kubelet {

// A file or folder of the node that the container sees somewhere else.
struct Mount {
  std::string source, sub_path;  // `sub_path` within it; "": all of it
  std::string target;
  bool read_only = false;
};

struct ContainerConfig {
  std::string shim;    // path of fairlead-shim
  std::string prefix;  // OUT of the spec: ".../CONTAINER/ATTEMPT"
  bool message_from_log = false;  // where it left no message itself
  std::string log;
  size_t log_bytes = 10u << 20;  // of one file
  int log_files = 5;             // kept, with the newest
  CgroupPlan cgroups;
  std::string shim_cgroup;
  NamespacePaths namespaces;
  std::vector<std::string> args, env;
  std::string cwd;
  SecurityContext security;
  std::vector<Mount> mounts;
  // The node's mounts below this folder are other pods' and not shown.
  std::string hide_below;
};

// What is known of a run; a value.
struct ContainerRun {
  enum class State { kStarting, kRunning, kExited };
  State state = State::kStarting;
  int attempt = 0;
  std::string id;  // 64 hex digits
  int pid = 0;     // as the node sees it; 0 when not running
  absl::Time started, finished;
  int exit_code = 0;
  int signal = 0;
  std::string start_error;  // the program could not be started: why
  std::string message;      // its last words (termination_message.h)
  bool oom_killed = false;
};

class ContainerProcess {
 public:
  using OnChange = std::function<void()>;  // state() became another

  // Starts the process. `on_change` runs when it runs, and when it has ended.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ContainerProcess>> Start(
      EventLoop* loop, int attempt, const ContainerConfig& config,
      OnChange on_change);
  // Finds the run that was started with the same `config` by an earlier
  // kubelet. Of the config `prefix`, `cgroups` and what the message needs are
  // used.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ContainerProcess>>
  Recover(EventLoop* loop, int attempt, const ContainerConfig& config,
          OnChange on_change);

  const ContainerRun& run() const { return run_; }
  bool exited() const { return run_.state == ContainerRun::State::kExited; }
  // To the container's first process; OK when it has ended.
  [[nodiscard]] absl::Status Signal(int signal);
  // SIGKILL to all of its processes.
  [[nodiscard]] absl::Status Kill();

 private:
  ContainerProcess(EventLoop* loop, int attempt, ContainerConfig config,
                   OnChange on_change);
  absl::Status MakeCgroups();
  absl::Status Spawn();
  void OnReadyLine();
  void OnShimEnd();
  bool LoadState();
  absl::Status WatchShim(int pid);
  void Finish();
  void Adopt();

  EventLoop* loop_;
  ContainerConfig config_;
  OnChange on_change_;
  ContainerRun run_;
  int oom_kills_before_ = 0;  // of a run whose cgroup could not be removed
  UniqueFd process_;                 // pidfd of the first process
  std::unique_ptr<FdWatch> ready_;   // the shim's one line
  std::unique_ptr<FdWatch> shim_;    // pidfd of the shim
  Timer poll_;  // recovery while the shim has not written its state yet
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // for posted calls
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_CONTAINER_PROCESS_H_
