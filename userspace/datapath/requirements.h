// SPDX-License-Identifier: Apache-2.0
// What the machine must offer, checked before anything is touched. Each
// failure is one message: what is missing and how to get it.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_REQUIREMENTS_H_
#define FAIRLEAD_USERSPACE_DATAPATH_REQUIREMENTS_H_

#include <linux/bpf.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace fairlead::datapath {

// A function of the kernel that a program calls.
struct RequiredHelper {
  bpf_prog_type program;
  bpf_func_id function;
  std::string_view name;
  std::string_view since;  // Linux version, for people
};

// CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (or CAP_SYS_ADMIN for the first two).
[[nodiscard]] absl::Status CheckPrivileges();
// Is it a directory of cgroup v2?
[[nodiscard]] absl::Status CheckCgroupRoot(const std::string& path);
// Asks the running kernel for each. Needs the privileges.
[[nodiscard]] absl::Status CheckHelpers(
    absl::Span<const RequiredHelper> helpers);
// bpf(2), and the map types, program types and functions that the programs
// use. Needs the privileges.
[[nodiscard]] absl::Status CheckKernelFeatures();

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_REQUIREMENTS_H_
