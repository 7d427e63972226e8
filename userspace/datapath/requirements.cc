// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/requirements.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::datapath {
namespace {

struct RequiredHelper {
  bpf_prog_type program;
  bpf_func_id function;
  std::string_view name;
  std::string_view since;
};

constexpr RequiredHelper kHelpers[] = {
    {BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_set_retval, "bpf_set_retval",
     "5.18"},
    {BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_loop, "bpf_loop", "5.17"},
    {BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_ktime_get_coarse_ns,
     "bpf_ktime_get_coarse_ns", "5.11"},
    {BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_ringbuf_reserve, "bpf_ringbuf_reserve",
     "5.8"},
};

std::string KernelRelease() {
  utsname name;
  return uname(&name) == 0 ? name.release : "unknown";
}

absl::StatusOr<uint64_t> EffectiveCapabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2] = {};
  if (syscall(SYS_capget, &header, sets) != 0) {
    return ErrnoStatus(errno, "capget");
  }
  return sets[0].effective | static_cast<uint64_t>(sets[1].effective) << 32;
}

}  // namespace

absl::Status CheckPrivileges() {
  FL_ASSIGN_OR_RETURN(uint64_t caps, EffectiveCapabilities());
  auto has = [&](int cap) { return (caps >> cap & 1) != 0; };
  std::vector<std::string> missing;
  bool admin = has(CAP_SYS_ADMIN);
  if (!admin && !has(CAP_BPF)) missing.push_back("CAP_BPF");
  if (!admin && !has(CAP_PERFMON)) missing.push_back("CAP_PERFMON");
  if (!has(CAP_NET_ADMIN)) missing.push_back("CAP_NET_ADMIN");
  if (missing.empty()) return absl::OkStatus();
  return absl::PermissionDeniedError(
      StrCat("loading BPF programs needs ", absl::StrJoin(missing, ", "),
             ": run as root, or grant it (systemd: AmbientCapabilities=, "
             "Kubernetes: securityContext.capabilities.add)"));
}

absl::Status CheckCgroupRoot(const std::string& path) {
  struct statfs fs;
  if (statfs(path.c_str(), &fs) != 0) {
    return absl::FailedPreconditionError(
        StrCat("the cgroup root ", path, " can't be used: ",
               ErrnoStatus(errno, "statfs", path).message()));
  }
  if (static_cast<unsigned long>(fs.f_type) != CGROUP2_SUPER_MAGIC) {
    return absl::FailedPreconditionError(StrCat(
        path, " is not a cgroup v2 directory: give one with --cgroup-root "
              "(`findmnt -t cgroup2` lists the mounts; `mount -t cgroup2 none "
              "DIR` makes one)"));
  }
  return absl::OkStatus();
}

absl::Status CheckKernelFeatures() {
  for (const RequiredHelper& helper : kHelpers) {
    int result =
        libbpf_probe_bpf_helper(helper.program, helper.function, nullptr);
    if (result == 1) continue;
    if (result < 0) {
      return ErrnoStatus(-result, "probe for", helper.name);
    }
    return absl::FailedPreconditionError(
        StrCat("this kernel (", KernelRelease(), ") lacks ", helper.name,
               ", which Linux has since ", helper.since,
               ": a newer kernel is needed"));
  }
  return absl::OkStatus();
}

}  // namespace fairlead::datapath
