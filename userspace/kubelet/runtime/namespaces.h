// SPDX-License-Identifier: Apache-2.0
// The namespaces that the containers of a pod share (network, IPC, UTS), each
// held by a bind mount, so that they need no process and outlive the kubelet.
//
// Threads: any; the calls start a thread and wait for it.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_NAMESPACES_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_NAMESPACES_H_

#include <string>

#include "absl/status/status.h"

namespace fairlead::kubelet {

struct NamespacePaths {
  std::string net, ipc, uts;  // an empty one is not made: the node's is used
};

// Makes the namespaces that are asked for, with `hostname` in the UTS one.
// What is mounted at the paths already is taken off first.
[[nodiscard]] absl::Status CreateNamespaces(const NamespacePaths& paths,
                                            const std::string& hostname);
// Whether each non-empty path is a namespace's mount in this mount namespace.
bool NamespacesExist(const NamespacePaths& paths);
// Mounts those of process `pid` at the paths: after a restart in another mount
// namespace, a living container still has them.
[[nodiscard]] absl::Status AdoptNamespaces(const NamespacePaths& paths,
                                           int pid);
// Unmounts and removes the files. OK if there are none.
[[nodiscard]] absl::Status RemoveNamespaces(const NamespacePaths& paths);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_NAMESPACES_H_
