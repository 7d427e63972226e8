// SPDX-License-Identifier: Apache-2.0
// Sends a container's log, and what is added to it if it is followed.
//
// Threads: the event loop's only. Lives as long as its connection.
#ifndef FAIRLEAD_USERSPACE_KUBELET_SERVER_LOG_SESSION_H_
#define FAIRLEAD_USERSPACE_KUBELET_SERVER_LOG_SESSION_H_

#include <functional>
#include <string>

#include "userspace/kubelet/runtime/log_reader.h"
#include "userspace/kubelet/server/connection.h"

namespace fairlead::kubelet {

// `running`: whether more may come; null: the log isn't followed.
void SendLog(const ConnectionRef& connection, const std::string& path,
             const LogQuery& query, std::function<bool()> running);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_SERVER_LOG_SESSION_H_
