// SPDX-License-Identifier: Apache-2.0
// Who a container runs as: the parts of a pod's and a container's
// securityContext (core/v1) that this runtime obeys. Values and pure functions.
#ifndef FAIRLEAD_USERSPACE_KUBELET_SECURITY_CONTEXT_H_
#define FAIRLEAD_USERSPACE_KUBELET_SECURITY_CONTEXT_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace fairlead::kubelet {

struct SecurityContext {
  std::optional<int64_t> user, group;  // absent: the kubelet's own, root
  std::vector<int64_t> extra_groups;   // supplementalGroups, then fsGroup
  bool non_root = false;               // runAsNonRoot
  bool no_new_privs = false;           // allowPrivilegeEscalation: false
  bool read_only_root = false;         // readOnlyRootFilesystem
  // Bit N: capability N of capabilities(7) may be had. Without a word about
  // them these are the ones that container runtimes give.
  uint64_t capabilities = 0;
  std::string unknown_capability;  // the first that has no such number

  // Whether the process gives up the kubelet's user and groups.
  bool ChangesIdentity() const {
    return user || group || !extra_groups.empty();
  }
};

// The container's fields win over the pod's. `pod` and `container` are the two
// securityContext objects; a null is an empty one.
[[nodiscard]] SecurityContext DecodeSecurityContext(
    const nlohmann::json& pod, const nlohmann::json& container);

// InvalidArgument, in the kubelet's words, for a container that must not run
// as root and would, and for ids that no process can have; FailedPrecondition
// for a capability that isn't one.
[[nodiscard]] absl::Status CheckSecurityContext(const SecurityContext& context,
                                                std::string_view pod,
                                                std::string_view container);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_SECURITY_CONTEXT_H_
