// SPDX-License-Identifier: Apache-2.0
// The volumes of one pod: made before its containers, kept true while it runs
// (ConfigMaps and Secrets are looked at again, tokens renewed), taken away
// after them. They are directories below POD/_volumes; what may hold a secret,
// and an emptyDir in memory, is a tmpfs.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_USERSPACE_KUBELET_VOLUMES_POD_VOLUMES_H_
#define FAIRLEAD_USERSPACE_KUBELET_VOLUMES_POD_VOLUMES_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/client.h"
#include "userspace/kubelet/env.h"
#include "userspace/kubelet/object_cache.h"
#include "userspace/kubelet/pod_spec.h"
#include "userspace/kubelet/runtime/container_process.h"
#include "userspace/kubelet/volumes/atomic_dir.h"
#include "userspace/kubelet/volumes/projection.h"

namespace fairlead::kubelet {

class PodVolumes {
 public:
  struct Host {
    EventLoop* loop = nullptr;
    kube::Client* client = nullptr;
    std::string pod_dir;
    absl::Duration refresh;  // between two looks at the API's objects
    std::function<void()> on_change;  // SetUp is to be called again
    // Text of a FailedMount event; once for each new reason.
    std::function<void(const std::string&)> on_failed;
  };
  PodVolumes(Host host, const std::string& ns);

  // Makes what isn't there yet and renews what is due. True: every volume is
  // there. Cheap when nothing is due.
  bool SetUp(const EnvContext& context);
  // What is put into the container's view of the file system. Errors are
  // CreateContainerConfigError's.
  [[nodiscard]] absl::StatusOr<std::vector<Mount>> MountsOf(
      const ContainerSpec& container, const EnvContext& context,
      const std::vector<std::string>& env) const;
  // Unmounts and removes; also what an earlier kubelet made.
  [[nodiscard]] absl::Status TearDown();
  [[nodiscard]] static absl::Status Remove(const std::string& pod_dir);

 private:
  struct State {
    bool ready = false, due = true;
    std::string failure;  // last told
  };
  struct Token {
    std::string text;
    absl::Time renew_at = absl::InfinitePast();
    absl::Status error;
    std::unique_ptr<kube::Call> call;
  };
  // nullopt: the API's answer is awaited.
  using Result = std::optional<absl::Status>;

  Result Make(const Volume& volume, const EnvContext& context);
  absl::Status MakeEmptyDir(const Volume& volume, const PodSpec& pod);
  Result MakeProjected(const Volume& volume, const EnvContext& context);
  Result AddToken(const std::string& key, const Projection& projection,
                  const Volume& volume, const EnvContext& context,
                  Payload* payload);
  void RequestToken(const std::string& key, const Projection& projection,
                    const PodSpec& pod);
  void OnToken(const std::string& key, const absl::StatusOr<kube::Json>& answer);
  void Retry();
  std::string PathOf(const Volume& volume) const;

  Host host_;
  ObjectCache objects_;
  std::map<std::string, State> states_;  // by the volume's name
  std::map<std::string, Token> tokens_;  // "VOLUME/N", N of the projection
  absl::Duration delay_;
  Timer retry_, refresh_;
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_VOLUMES_POD_VOLUMES_H_
