// SPDX-License-Identifier: Apache-2.0
// kube::Transport straight into a request function on the same loop.
#ifndef FAIRLEAD_CONTROL_API_LOCAL_TRANSPORT_H_
#define FAIRLEAD_CONTROL_API_LOCAL_TRANSPORT_H_

#include <functional>
#include <memory>

#include "control/api/http.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/transport.h"

namespace fairlead::api {

using RequestFunction = std::function<void(kube::Request, ResponderRef)>;

std::unique_ptr<kube::Transport> MakeLocalTransport(EventLoop* loop,
                                                    RequestFunction serve);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_LOCAL_TRANSPORT_H_
