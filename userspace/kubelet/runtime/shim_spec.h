// SPDX-License-Identifier: Apache-2.0
// What fairlead-shim is told, and how it says what went wrong.
//
// SPEC is a file of NUL-ended "key=value" records:
//   net, ipc, uts     paths of namespaces to join (absent: the caller's)
//   cgroup            each directory of a cgroup for the processes, v2 first
//   shim_cgroup       of cgroup v2, for the shim
//   cwd, log          working directory; file for output (log_writer.h)
//   log_bytes, log_files  size of one log file, and how many are kept
//   user, group, extra_group, no_new_privs  whom the container's commands run
//                     as (absent: the caller); extra_group once per group
//   capabilities      a bit per capability(7) that they may have (absent: all)
//   read_only_root    what isn't mounted by this SPEC can't be written
//   arg, env          each once per word
//   mount             "SOURCE\nBELOW\nTARGET\nro|rw", once per mount: what is
//                     at BELOW (or "") in SOURCE is shown at TARGET
//   hide_below        mounts of the node below this folder aren't shown
//   out               prefix of the files written here:
//     OUT.state  shim, pid, pid_start (ticks), started (unix ns): running
//     OUT.exit   code, signal, finished (unix ns), error: it has ended
// Both are renamed into place, whole or not at all.
//
// For one-threaded programs that are about to exec.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_SHIM_SPEC_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_SHIM_SPEC_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace fairlead::shim {

constexpr int kCannotStart = 128;  // containerd's code for "StartError"

struct MountRecord {
  std::string source, below, target;
  bool read_only = false;
};

struct Spec {
  std::string net, ipc, uts, shim_cgroup, cwd, log, out;
  std::string hide_below;
  std::vector<std::string> args, env, cgroups;
  std::vector<MountRecord> mounts;
  size_t log_bytes = 10u << 20;
  int log_files = 5;
  bool has_identity = false;  // user, group and extra_groups are meant
  uid_t user = 0;
  gid_t group = 0;
  std::vector<gid_t> extra_groups;
  bool no_new_privs = false, read_only_root = false;
  unsigned long long capabilities = ~0ULL;
};

// Empty when it can't be read.
std::string ReadFile(const std::string& path);
bool ParseSpec(const std::string& path, Spec* spec);
// Ends the child with its reason on `report`.
[[noreturn]] void Fail(int report, const std::string& what, int error);

}  // namespace fairlead::shim

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_SHIM_SPEC_H_
