// SPDX-License-Identifier: Apache-2.0
// A pod's directory: what a restarted kubelet needs to know its pods again.
//
//   ROOT/pods/NAMESPACE_NAME_UID/
//     pod.json           the manifest as last seen
//     sandbox            addresses and start time ("key=value" lines)
//     hosts              /etc/hosts of its containers
//     _volumes/NAME      pod_volumes.h
//     ns/{ipc,uts}       namespaces (the network's is below --netns-dir)
//     CONTAINER/N.log    output of run N (log_writer.h), N.log.1 what was
//                        rotated; N.id, N.spec, N.state, N.exit as
//                        shim_spec.h says; N.message (termination_message.h)
//
// Threads: any, one at a time for a pod.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_POD_DIR_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_POD_DIR_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/base/ip_address.h"

namespace fairlead::kubelet {

struct SandboxRecord {
  std::vector<IpAddress> ips;
  absl::Time start_time;
};

class PodDir {
 public:
  explicit PodDir(std::string path) : path_(std::move(path)) {}
  // Under `pods_dir`.
  static PodDir For(const std::string& pods_dir, const std::string& ns,
                    const std::string& name, const std::string& uid);

  const std::string& path() const { return path_; }
  std::string NamespacePath(const std::string& kind) const;
  std::string HostsPath() const { return path_ + "/hosts"; }
  // Without an ending: ".../CONTAINER/N".
  std::string RunPrefix(const std::string& container, int attempt) const;

  [[nodiscard]] absl::Status Create() const;
  [[nodiscard]] absl::Status CreateContainer(const std::string& name) const;
  [[nodiscard]] absl::Status Remove() const;

  [[nodiscard]] absl::Status SaveManifest(const std::string& json) const;
  [[nodiscard]] absl::StatusOr<std::string> LoadManifest() const;
  [[nodiscard]] absl::Status SaveSandbox(const SandboxRecord& record) const;
  // NotFound when the pod had none.
  [[nodiscard]] absl::StatusOr<SandboxRecord> LoadSandbox() const;
  [[nodiscard]] absl::Status ForgetSandbox() const;

  // Attempt numbers of a container's runs, ascending.
  std::vector<int> Runs(const std::string& container) const;
  // Removes all but the latest `keep` runs.
  void Prune(const std::string& container, int keep) const;

 private:
  std::string path_;
};

// Every pod's directory.
std::vector<PodDir> ListPodDirs(const std::string& pods_dir);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_POD_DIR_H_
