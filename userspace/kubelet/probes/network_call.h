// SPDX-License-Identifier: Apache-2.0
// An httpGet or tcpSocket action: one TCP connection; for HTTP one request, of
// whose answer only the status line is read. HTTPS believes any certificate,
// as Kubernetes' probes do.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_USERSPACE_KUBELET_PROBES_NETWORK_CALL_H_
#define FAIRLEAD_USERSPACE_KUBELET_PROBES_NETWORK_CALL_H_

#include <memory>
#include <string>

#include "userspace/kubelet/probes/action.h"

namespace fairlead::kubelet {

inline constexpr char kProbeUserAgent[] = "kube-probe/1.32";
inline constexpr char kHookUserAgent[] = "kube-lifecycle/1.32";

// "192.0.2.1:80", "[2001:db8::1]:80"
std::string HostPort(const std::string& host, Port port);

// `host` is an address.
[[nodiscard]] std::unique_ptr<ActionCall> RunNetworkCall(
    EventLoop* loop, const Action& action, const std::string& host,
    absl::Duration timeout, ActionDone done);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_PROBES_NETWORK_CALL_H_
