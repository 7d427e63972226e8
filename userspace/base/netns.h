// SPDX-License-Identifier: Apache-2.0
// Running code in another network namespace.
#ifndef FAIRLEAD_USERSPACE_BASE_NETNS_H_
#define FAIRLEAD_USERSPACE_BASE_NETNS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace fairlead {

// Runs `fn` on a new thread that has entered the network namespace at `path`
// (such as /run/netns/NAME), and waits for it. Sockets that `fn` opens belong
// to that namespace for their whole life. The caller's thread is not moved.
// Needs CAP_SYS_ADMIN, but for the namespace that the caller is in.
[[nodiscard]] absl::Status RunInNetns(const std::string& path,
                                      const std::function<absl::Status()>& fn);

// The calling thread's network namespace, as BPF programs see it
// (bpf_get_netns_cookie). nullopt before Linux 5.14.
std::optional<uint64_t> NetnsCookie();

// A path for each network namespace that can be found: this process' own
// first, those of all processes that it sees in /proc, and those with a name
// under /run/netns. Not found: one that only has sockets or descriptors left,
// or whose processes are hidden by a PID namespace.
std::vector<std::string> AllNetns();

// Named namespaces as `ip netns` has them: a bind mount at /run/netns/NAME.
std::string NetnsPath(const std::string& name);
// Makes one with its loopback up. AlreadyExists when there is one.
[[nodiscard]] absl::Status CreateNetns(const std::string& name);
// OK when there is none. Its processes keep it until they end.
[[nodiscard]] absl::Status DeleteNetns(const std::string& name);

}  // namespace fairlead

#endif  // FAIRLEAD_USERSPACE_BASE_NETNS_H_
