// SPDX-License-Identifier: Apache-2.0
// What Boost.Beast's WebSocket asks of the stream below it, by
// argument-dependent lookup: how it ends. Include it where a
// websocket::stream<ServerStream&> is made.
//
// Threads: the I/O context's.
#ifndef FAIRLEAD_USERSPACE_PKI_TLS_WEBSOCKET_H_
#define FAIRLEAD_USERSPACE_PKI_TLS_WEBSOCKET_H_

#include <boost/beast/core/role.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <boost/beast/websocket/teardown.hpp>
#include <utility>

#include "userspace/pki/tls_server.h"

namespace fairlead::pki {

inline void beast_close_socket(ServerStream& stream) {
  ServerStream::ErrorCode ignored;
  stream.socket().close(ignored);
}

template <typename Handler>
void async_teardown(boost::beast::role_type role, ServerStream& stream,
                    Handler&& handler) {
  stream.Teardown(role, std::forward<Handler>(handler));
}

template <typename Handler>
void ServerStream::Teardown(boost::beast::role_type role, Handler&& handler) {
  using boost::beast::websocket::async_teardown;
  if (tls_) {
    tls_->async_shutdown(std::forward<Handler>(handler));
  } else {
    async_teardown(role, socket_, std::forward<Handler>(handler));
  }
}

}  // namespace fairlead::pki

#endif  // FAIRLEAD_USERSPACE_PKI_TLS_WEBSOCKET_H_
