// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/byte_stream.h"

#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "userspace/base/strings.h"

namespace fairlead::kube {

namespace asio = boost::asio;
using asio::ip::tcp;
using Error = ByteStream::Error;

namespace {

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(asio::io_context& io) : socket_(io) {}
  tcp::socket& socket() override { return socket_; }
  void Handshake(std::function<void(absl::Status)> done) override {
    done(absl::OkStatus());
  }
  void Read(asio::mutable_buffer buffer, Done done) override {
    socket_.async_read_some(buffer, std::move(done));
  }
  void Write(asio::const_buffer buffer, Done done) override {
    asio::async_write(socket_, buffer, std::move(done));
  }

 private:
  tcp::socket socket_;
};

}  // namespace

class TlsStream : public ByteStream {
 public:
  TlsStream(asio::io_context& io, std::shared_ptr<TlsSettings> settings,
            const std::string& host)
      : settings_(std::move(settings)),
        name_(settings_->server_name_.empty() ? host
                                              : settings_->server_name_),
        stream_(io, settings_->context_) {
    // Server name indication is for names only (RFC 6066).
    Error not_an_address;
    asio::ip::make_address(name_, not_an_address);
    if (not_an_address) {
      SSL_set_tlsext_host_name(stream_.native_handle(), name_.c_str());
    }
    if (!settings_->verify_) return;
    stream_.set_verify_callback([this](bool chain_is_good,
                                       asio::ssl::verify_context& context) {
      if (!chain_is_good) {
        refusal_ = X509_verify_cert_error_string(
            X509_STORE_CTX_get_error(context.native_handle()));
        return false;
      }
      if (asio::ssl::host_name_verification(name_)(true, context)) return true;
      refusal_ = StrCat("it is not for \"", name_, "\"");
      return false;
    });
  }
  tcp::socket& socket() override { return stream_.next_layer(); }
  void Handshake(std::function<void(absl::Status)> done) override {
    stream_.async_handshake(
        asio::ssl::stream_base::client,
        [this, done = std::move(done)](Error error) {
          if (!error) return done(absl::OkStatus());
          done(absl::UnavailableError(
              refusal_.empty()
                  ? StrCat("TLS handshake: ", error.message())
                  : StrCat("TLS: the server's certificate is refused: ",
                           refusal_)));
        });
  }
  void Read(asio::mutable_buffer buffer, Done done) override {
    stream_.async_read_some(buffer, std::move(done));
  }
  void Write(asio::const_buffer buffer, Done done) override {
    asio::async_write(stream_, buffer, std::move(done));
  }

 private:
  std::shared_ptr<TlsSettings> settings_;
  std::string name_;
  std::string refusal_;  // why the certificate isn't good
  asio::ssl::stream<tcp::socket> stream_;
};

absl::StatusOr<std::shared_ptr<TlsSettings>> TlsSettings::Make(
    const ApiServer& server) {
  std::shared_ptr<TlsSettings> settings(new TlsSettings);
  asio::ssl::context& context = settings->context_;
  Error error;
  context.set_options(asio::ssl::context::no_sslv3 |
                          asio::ssl::context::no_tlsv1 |
                          asio::ssl::context::no_tlsv1_1,
                      error);
  settings->server_name_ = server.tls_server_name;
  settings->verify_ = !server.insecure_skip_verify;
  context.set_verify_mode(settings->verify_ ? asio::ssl::verify_peer
                                            : asio::ssl::verify_none,
                          error);
  auto bad = [&](std::string_view what) {
    return absl::InvalidArgumentError(StrCat(what, ": ", error.message()));
  };
  if (server.ca_pem.empty()) {
    context.set_default_verify_paths(error);
  } else {
    context.add_certificate_authority(asio::buffer(server.ca_pem), error);
    if (error) return bad("certificate-authority");
  }
  if (server.client_certificate_pem.empty()) return settings;
  context.use_certificate_chain(asio::buffer(server.client_certificate_pem),
                                error);
  if (error) return bad("client-certificate");
  context.use_private_key(asio::buffer(server.client_key_pem),
                          asio::ssl::context::pem, error);
  if (error) return bad("client-key");
  return settings;
}

std::unique_ptr<ByteStream> MakeByteStream(
    asio::io_context& io, const std::shared_ptr<TlsSettings>& tls,
    const std::string& host) {
  if (tls == nullptr) return std::make_unique<PlainStream>(io);
  return std::make_unique<TlsStream>(io, tls, host);
}

}  // namespace fairlead::kube
