// SPDX-License-Identifier: Apache-2.0
// What a container says about its end: the start of the file that it may write
// to, or the end of its log.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_TERMINATION_MESSAGE_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_TERMINATION_MESSAGE_H_

#include <string>

namespace fairlead::kubelet {

// The file is the run's prefix (pod_dir.h) and this.
inline constexpr char kMessageEnding[] = ".message";

// At most 4096 bytes of `file`; when it is empty and `from_log`, the last 80
// lines of `log`, at most 2048 bytes of them (Kubernetes' limits).
std::string TerminationMessage(const std::string& file, const std::string& log,
                               bool from_log);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_TERMINATION_MESSAGE_H_
