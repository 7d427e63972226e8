// SPDX-License-Identifier: Apache-2.0
// A gRPC probe: one grpc.health.v1.Health/Check, without TLS, on a connection
// of its own.
//
// Threads: the event loop's only; a call under way has a thread of its own, which
// is never seen outside.
#ifndef FAIRLEAD_USERSPACE_KUBELET_PROBES_GRPC_CALL_H_
#define FAIRLEAD_USERSPACE_KUBELET_PROBES_GRPC_CALL_H_

#include <memory>
#include <string>

#include "userspace/kubelet/probes/action.h"

namespace fairlead::kubelet {

// `action` is a kGrpc one, `host` an address. Success is the answer SERVING.
[[nodiscard]] std::unique_ptr<ActionCall> RunGrpcCheck(
    EventLoop* loop, const Action& action, const std::string& host,
    absl::Duration timeout, ActionDone done);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_PROBES_GRPC_CALL_H_
