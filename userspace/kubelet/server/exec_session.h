// SPDX-License-Identifier: Apache-2.0
// A command run beside a container's processes, its streams on a WebSocket in
// Kubernetes' sub-protocols v4 and v5.channel.k8s.io: each message begins with
// its channel's number (0 stdin, 1 stdout, 2 stderr, 3 the end as a Status,
// 4 the terminal's size; v5: 255 closes the channel that follows).
//
// Threads: the event loop's only. The session lives as long as its connection;
// when the client goes away, the command is killed.
#ifndef FAIRLEAD_USERSPACE_KUBELET_SERVER_EXEC_SESSION_H_
#define FAIRLEAD_USERSPACE_KUBELET_SERVER_EXEC_SESSION_H_

#include <string>
#include <vector>

#include "userspace/kubelet/server/connection.h"

namespace fairlead::kubelet {

struct ExecOptions {
  std::vector<std::string> words;  // what to run, as the node sees it
  bool in = false, out = false, err = false, tty = false;
};

// Answers the connection: an upgrade, or an error in plain text.
void StartExec(const ConnectionRef& connection, ExecOptions options);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_SERVER_EXEC_SESSION_H_
