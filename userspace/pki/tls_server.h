// SPDX-License-Identifier: Apache-2.0
// The serving side of a byte stream: TCP, or TLS 1.2 and newer over it.
//
// A client's certificate is asked for and taken as it comes: whether it is
// worth anything is the request's question (pki::VerifyClient), so that a bad
// one gets an answer and not a broken handshake.
//
// Threads: the I/O context's.
#ifndef FAIRLEAD_USERSPACE_PKI_TLS_SERVER_H_
#define FAIRLEAD_USERSPACE_PKI_TLS_SERVER_H_

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/role.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "userspace/pki/authority.h"
#include "userspace/pki/certificate.h"

namespace fairlead::pki {

using TlsContext = std::shared_ptr<boost::asio::ssl::context>;
// What a new connection is served with; it may be another each time.
using TlsSource = std::function<TlsContext()>;

// Serves with `credential` and asks clients for a certificate of
// `client_authority`.
[[nodiscard]] absl::StatusOr<TlsContext> MakeServerContext(
    const Credential& credential, const Certificate& client_authority);

// An AsyncReadStream and AsyncWriteStream of Boost.Asio.
class ServerStream {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using executor_type = Socket::executor_type;
  using ErrorCode = boost::system::error_code;

  // Null `context`: plain TCP.
  ServerStream(Socket socket, TlsContext context);

  bool secure() const { return tls_.has_value(); }
  Socket& socket() { return socket_; }
  executor_type get_executor() { return socket_.get_executor(); }

  // `done` runs at once for plain TCP. A client that spoke plain HTTP is told
  // so before `done` says that it failed.
  void Handshake(std::function<void(ErrorCode)> done);
  // Says that no more will be sent. Reading from socket() is all that may
  // follow.
  void ShutdownSend(std::function<void()> done);
  // For a WebSocket over it: tls_websocket.h.
  template <typename Handler>
  void Teardown(boost::beast::role_type role, Handler&& handler);
  // The client's certificate, verified by nobody.
  std::optional<Certificate> client_certificate();

  template <typename Buffers, typename Handler>
  void async_read_some(const Buffers& buffers, Handler&& handler) {
    if (tls_) {
      tls_->async_read_some(buffers, std::forward<Handler>(handler));
    } else {
      socket_.async_read_some(buffers, std::forward<Handler>(handler));
    }
  }
  template <typename Buffers, typename Handler>
  void async_write_some(const Buffers& buffers, Handler&& handler) {
    if (tls_) {
      tls_->async_write_some(buffers, std::forward<Handler>(handler));
    } else {
      socket_.async_write_some(buffers, std::forward<Handler>(handler));
    }
  }

 private:
  TlsContext context_;
  Socket socket_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
};

}  // namespace fairlead::pki

#endif  // FAIRLEAD_USERSPACE_PKI_TLS_SERVER_H_
