// SPDX-License-Identifier: Apache-2.0
#include "userspace/pki/tls_server.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <string_view>

#include "userspace/base/strings.h"

namespace fairlead::pki {
namespace {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;

constexpr std::string_view kNotTls =
    "HTTP/1.0 400 Bad Request\r\n\r\n"
    "Client sent an HTTP request to an HTTPS server.\n";

}  // namespace

absl::StatusOr<TlsContext> MakeServerContext(
    const Credential& credential, const Certificate& client_authority) {
  auto context =
      std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  SSL_CTX* native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  // Each connection shows its certificate itself; idle ones keep no buffers.
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(native, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_verify(native, SSL_VERIFY_PEER,
                     [](int, X509_STORE_CTX*) { return 1; });
  if (SSL_CTX_add_client_CA(native, client_authority.native()) != 1) {
    return absl::InternalError(StrCat("TLS: ", LastError()));
  }
  ErrorCode error;
  context->use_certificate_chain(asio::buffer(credential.certificate_pem),
                                 error);
  if (error) {
    return absl::InvalidArgumentError(
        StrCat("serving certificate: ", error.message()));
  }
  context->use_private_key(asio::buffer(credential.key_pem),
                           asio::ssl::context::pem, error);
  if (error) {
    return absl::InvalidArgumentError(
        StrCat("serving key: ", error.message()));
  }
  return context;
}

ServerStream::ServerStream(Socket socket, TlsContext context)
    : context_(std::move(context)), socket_(std::move(socket)) {
  if (context_ != nullptr) tls_.emplace(socket_, *context_);
}

void ServerStream::Handshake(std::function<void(ErrorCode)> done) {
  if (!tls_) return done({});
  tls_->async_handshake(
      asio::ssl::stream_base::server,
      [this, done = std::move(done)](ErrorCode error) {
        const bool plain =
            error.category() == asio::error::get_ssl_category() &&
            ERR_GET_REASON(static_cast<unsigned long>(error.value())) ==
                SSL_R_HTTP_REQUEST;
        if (!plain) return done(error);
        asio::async_write(socket_, asio::buffer(kNotTls),
                          [done, error](ErrorCode, size_t) { done(error); });
      });
}

void ServerStream::ShutdownSend(std::function<void()> done) {
  auto finish = [this, done = std::move(done)](ErrorCode) {
    ErrorCode ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
    done();
  };
  if (!tls_) return finish({});
  tls_->async_shutdown(std::move(finish));
}

std::optional<Certificate> ServerStream::client_certificate() {
  if (!tls_) return std::nullopt;
  X509* certificate = SSL_get0_peer_certificate(tls_->native_handle());
  if (certificate == nullptr) return std::nullopt;
  return Certificate::FromNative(certificate);
}

}  // namespace fairlead::pki
