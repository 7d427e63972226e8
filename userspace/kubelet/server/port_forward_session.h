// SPDX-License-Identifier: Apache-2.0
// kubectl port-forward: many TCP connections to the ports of a pod, as streams
// of SPDY/3.1 on one HTTP upgrade: inside the messages of a WebSocket
// (kubectl since 1.31, "SPDY/3.1+portforward.k8s.io") or directly. A
// connection is two streams with the same `requestid`: one of streamtype
// "data", and one of streamtype "error" on which the kubelet says why there is
// no connection.
//
// A half that is closed is closed at the other side too. As SPDY's clients
// have no windows, one connection whose program doesn't read holds up all
// others of the same kubectl once 4 MiB wait for it.
//
// Threads: the event loop's only. The session lives as long as its connection,
// and all its connections to the pod end with it.
#ifndef FAIRLEAD_USERSPACE_KUBELET_SERVER_PORT_FORWARD_SESSION_H_
#define FAIRLEAD_USERSPACE_KUBELET_SERVER_PORT_FORWARD_SESSION_H_

#include <string>

#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"
#include "userspace/kubelet/server/connection.h"
#include "userspace/kubelet/spdy/frames.h"

namespace fairlead::kubelet {

struct PortForwardTarget {
  std::string netns;  // path; "": the node's own
  std::string pod;    // as error messages name it
};

// Answers the connection: an upgrade, or an error in plain text.
void StartPortForward(const ConnectionRef& connection,
                      PortForwardTarget target);

// What a new stream is for. InvalidArgument: not for this.
struct ForwardStream {
  bool data = false;  // else it is the one for errors
  Port port = 0;
  std::string request;  // "" from clients that don't number them
};
[[nodiscard]] absl::StatusOr<ForwardStream> ParseForwardStream(
    const spdy::Headers& headers);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_SERVER_PORT_FORWARD_SESSION_H_
