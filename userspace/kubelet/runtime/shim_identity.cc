// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/shim_identity.h"

#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace fairlead::shim {

namespace {

// What is not in the bounding set is gone after the next exec, for root too.
void DropCapabilities(int report, const Spec& spec) {
  for (int i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; ++i) {
    if ((spec.capabilities >> i & 1) == 0 &&
        prctl(PR_CAPBSET_DROP, i, 0, 0, 0) != 0) {
      Fail(report, "drop capabilities", errno);
    }
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  bool ok = syscall(SYS_capget, &header, data) == 0;
  for (__user_cap_data_struct& word : data) word.inheritable = 0;
  ok = ok && syscall(SYS_capset, &header, data) == 0;
  if (!ok) Fail(report, "drop inheritable capabilities", errno);
}

}  // namespace

// The group first: a process that is no longer root can't change it.
void TakeIdentity(int report, const Spec& spec) {
  DropCapabilities(report, spec);
  if (spec.has_identity) {
    if (setgroups(spec.extra_groups.size(), spec.extra_groups.data()) != 0)
      Fail(report, "set groups", errno);
    if (setresgid(spec.group, spec.group, spec.group) != 0)
      Fail(report, "set group", errno);
    if (setresuid(spec.user, spec.user, spec.user) != 0)
      Fail(report, "set user", errno);
    // A change of user clears it.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  if (spec.no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    Fail(report, "set no_new_privs", errno);
}

}  // namespace fairlead::shim
