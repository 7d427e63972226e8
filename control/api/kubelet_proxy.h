// SPDX-License-Identifier: Apache-2.0
// pods/log, pods/exec and pods/portforward: asks the kubelet of the pod's node
// and passes on what it says. A WebSocket (or what else a connection is
// upgraded to) is the client's and the kubelet's: its bytes are passed through
// as they are.
//
// With TLS the API server shows the kubelet its own certificate, not the
// user's, whose rights it has looked at before; and the kubelet's certificate
// has to be for the address that is dialled.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_KUBELET_PROXY_H_
#define FAIRLEAD_CONTROL_API_KUBELET_PROXY_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "control/api/http.h"
#include "control/api/registry.h"
#include "control/api/verbs.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/byte_stream.h"

namespace fairlead::api {

class KubeletProxy {
 public:
  // What a new connection shows and trusts.
  using Tls = std::function<std::shared_ptr<kube::TlsSettings>()>;

  // `netns`: from where the nodes can be reached, "" for this process' own.
  // Null `tls`: plain HTTP.
  KubeletProxy(EventLoop* loop, Registry* registry, std::string netns, Tls tls)
      : loop_(loop),
        registry_(registry),
        netns_(std::move(netns)),
        tls_(std::move(tls)) {}

  // Whether `subresource` of a pod is served here.
  static bool Serves(std::string_view subresource);
  // Answers, now or later. An error is answered by the caller.
  [[nodiscard]] absl::Status Serve(const ApiRequestRef& request,
                                   const ResponderRef& responder);

 private:
  EventLoop* loop_;
  Registry* registry_;
  std::string netns_;
  Tls tls_;
};

// The container that a request means. `wanted` is its parameter; errors are
// the API's 400s.
[[nodiscard]] absl::StatusOr<std::string> ChooseContainer(
    const Json& pod, std::string_view wanted);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_KUBELET_PROXY_H_
