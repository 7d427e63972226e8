// SPDX-License-Identifier: Apache-2.0
// What the machine must offer, checked before anything is touched. Each
// failure is one message: what is missing and how to get it.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_REQUIREMENTS_H_
#define FAIRLEAD_USERSPACE_DATAPATH_REQUIREMENTS_H_

#include <string>

#include "absl/status/status.h"

namespace fairlead::datapath {

// CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (or CAP_SYS_ADMIN for the first two).
[[nodiscard]] absl::Status CheckPrivileges();
// Is it a directory of cgroup v2?
[[nodiscard]] absl::Status CheckCgroupRoot(const std::string& path);
// Map types and functions that the programs use. Needs the privileges.
[[nodiscard]] absl::Status CheckKernelFeatures();

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_REQUIREMENTS_H_
