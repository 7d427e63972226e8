// SPDX-License-Identifier: Apache-2.0
// A stream of bytes to whoever asked for one with an HTTP upgrade: the
// connection itself, or the binary messages of a WebSocket on it, whose bounds
// mean nothing.
//
// Threads: the event loop's only. One read and one write at a time. Held by
// its handlers until they have run.
#ifndef FAIRLEAD_USERSPACE_KUBELET_SERVER_TUNNEL_H_
#define FAIRLEAD_USERSPACE_KUBELET_SERVER_TUNNEL_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "userspace/kubelet/server/connection.h"

namespace fairlead::kubelet {

class Tunnel {
 public:
  virtual ~Tunnel() = default;
  // Says yes to the upgrade.
  virtual void Accept(std::function<void(bool ok)> done) = 0;
  // `bytes` until `done` returns; not ok: there are no more.
  virtual void Read(
      std::function<void(bool ok, std::string_view bytes)> done) = 0;
  virtual void Write(std::string bytes, std::function<void(bool ok)> done) = 0;
  // What is under way ends with an error.
  virtual void Close() = 0;
};

// `connection` is of no more use then. `protocol`: what is said to have been
// agreed on.
std::shared_ptr<Tunnel> MakeWebSocketTunnel(const ConnectionRef& connection,
                                            std::string protocol);
// An upgrade to `upgrade`, without a WebSocket.
std::shared_ptr<Tunnel> MakePlainTunnel(const ConnectionRef& connection,
                                        std::string upgrade,
                                        std::string protocol);

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_SERVER_TUNNEL_H_
