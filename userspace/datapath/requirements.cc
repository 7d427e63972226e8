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
#include "userspace/base/unique_fd.h"

namespace fairlead::datapath {
namespace {

constexpr RequiredHelper kHelpers[] = {
    {BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_set_retval, "bpf_set_retval",
     "5.18"},
    {BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_loop, "bpf_loop", "5.17"},
    {BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_ktime_get_coarse_ns,
     "bpf_ktime_get_coarse_ns", "5.11"},
    {BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_ringbuf_reserve, "bpf_ringbuf_reserve",
     "5.8"},
};

constexpr bpf_prog_type kProgramTypes[] = {BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
                                          BPF_PROG_TYPE_SCHED_CLS};
constexpr bpf_map_type kMapTypes[] = {
    BPF_MAP_TYPE_HASH,     BPF_MAP_TYPE_ARRAY,    BPF_MAP_TYPE_PERCPU_ARRAY,
    BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LPM_TRIE, BPF_MAP_TYPE_RINGBUF};

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

absl::Status Lacking(std::string_view what) {
  return absl::FailedPreconditionError(
      StrCat("this kernel (", KernelRelease(), ") lacks ", what));
}

// libbpf's probes take a refused bpf(2) for a missing feature (or for none):
// so this is asked first. The map has a type that no unprivileged process may
// make, and is gone with its descriptor.
absl::Status CheckSystemCall() {
  UniqueFd map(bpf_map_create(BPF_MAP_TYPE_LRU_HASH, nullptr, sizeof(uint32_t),
                              sizeof(uint32_t), 1, nullptr));
  if (map.valid()) return absl::OkStatus();
  if (errno == ENOSYS) {
    return Lacking("bpf(2): use one with CONFIG_BPF_SYSCALL, such as Debian's "
                   "own");
  }
  if (errno == EPERM) {
    return absl::PermissionDeniedError(
        "bpf(2) is forbidden here though the capabilities are there: by a "
        "user namespace, a container's seccomp profile or the kernel's "
        "lockdown; run outside of it");
  }
  return absl::OkStatus();  // the probes below say which type it is
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
        StrCat("the cgroup root can't be used: ",
               ErrnoStatus(errno, "statfs", path).message(),
               "; make it (mkdir) or give another with --cgroup-root"));
  }
  if (static_cast<unsigned long>(fs.f_type) != CGROUP2_SUPER_MAGIC) {
    return absl::FailedPreconditionError(StrCat(
        path, " is not a cgroup v2 directory: give one with --cgroup-root "
              "(`findmnt -t cgroup2` lists the mounts; `mount -t cgroup2 none "
              "DIR` makes one)"));
  }
  return absl::OkStatus();
}

absl::Status CheckHelpers(absl::Span<const RequiredHelper> helpers) {
  for (const RequiredHelper& helper : helpers) {
    int result =
        libbpf_probe_bpf_helper(helper.program, helper.function, nullptr);
    if (result == 1) continue;
    if (result < 0) {
      return ErrnoStatus(-result, "probe for", helper.name);
    }
    return Lacking(StrCat(helper.name, ", which Linux has since ", helper.since,
                          ": a newer kernel is needed"));
  }
  return absl::OkStatus();
}

absl::Status CheckKernelFeatures() {
  FL_RETURN_IF_ERROR(CheckSystemCall());
  for (bpf_map_type type : kMapTypes) {
    if (libbpf_probe_bpf_map_type(type, nullptr) == 1) continue;
    return Lacking(StrCat("the BPF map type ", libbpf_bpf_map_type_str(type),
                          ": a kernel as Debian 12's or newer is needed"));
  }
  for (bpf_prog_type type : kProgramTypes) {
    if (libbpf_probe_bpf_prog_type(type, nullptr) == 1) continue;
    return Lacking(StrCat("the BPF program type ",
                          libbpf_bpf_prog_type_str(type),
                          ": use one with CONFIG_CGROUP_BPF and "
                          "CONFIG_NET_CLS_ACT, such as Debian's own"));
  }
  return CheckHelpers(kHelpers);
}

}  // namespace fairlead::datapath
