// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/server/tunnel.h"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/websocket.hpp>
#include <utility>

#include "userspace/base/strings.h"
#include "userspace/pki/tls_websocket.h"

namespace fairlead::kubelet {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = boost::beast::websocket;
using ErrorCode = boost::system::error_code;

constexpr size_t kChunk = 32u << 10;

class WebSocketTunnel : public Tunnel,
                        public std::enable_shared_from_this<WebSocketTunnel> {
 public:
  WebSocketTunnel(const ConnectionRef& connection, std::string protocol)
      : message_(connection->message()),
        stream_(connection->TakeStream()),
        socket_(*stream_),
        protocol_(std::move(protocol)) {
    // It is never held as a whole.
    socket_.read_message_max(0);
    socket_.auto_fragment(false);
    socket_.binary(true);
  }

  void Accept(std::function<void(bool)> done) override {
    socket_.set_option(websocket::stream_base::decorator(
        [protocol = protocol_](websocket::response_type& response) {
          response.set(beast::http::field::sec_websocket_protocol, protocol);
        }));
    socket_.async_accept(
        message_, [self = shared_from_this(), done = std::move(done)](
                      ErrorCode error) { done(!error); });
  }

  void Read(std::function<void(bool, std::string_view)> done) override {
    socket_.async_read_some(
        asio::buffer(chunk_),
        [self = shared_from_this(), done = std::move(done)](ErrorCode error,
                                                            size_t n) {
          done(!error && self->socket_.got_binary(),
               std::string_view(self->chunk_.data(), n));
        });
  }

  void Write(std::string bytes, std::function<void(bool)> done) override {
    auto text = std::make_shared<std::string>(std::move(bytes));
    socket_.async_write(
        asio::buffer(*text),
        [self = shared_from_this(), text, done = std::move(done)](
            ErrorCode error, size_t) { done(!error); });
  }

  void Close() override {
    ErrorCode ignored;
    stream_->socket().close(ignored);
  }

 private:
  Connection::Message message_;
  Connection::Stream stream_;
  websocket::stream<pki::ServerStream&> socket_;
  std::string protocol_;
  std::array<char, kChunk> chunk_;
};

class PlainTunnel : public Tunnel,
                    public std::enable_shared_from_this<PlainTunnel> {
 public:
  PlainTunnel(const ConnectionRef& connection, std::string upgrade,
              std::string protocol)
      : stream_(connection->TakeStream()),
        head_(StrCat("HTTP/1.1 101 Switching Protocols\r\nConnection: "
                     "Upgrade\r\nUpgrade: ",
                     upgrade, "\r\nX-Stream-Protocol-Version: ", protocol,
                     "\r\n\r\n")) {}

  void Accept(std::function<void(bool)> done) override {
    Write(std::exchange(head_, {}), std::move(done));
  }

  void Read(std::function<void(bool, std::string_view)> done) override {
    stream_->async_read_some(
        asio::buffer(chunk_),
        [self = shared_from_this(), done = std::move(done)](ErrorCode error,
                                                            size_t n) {
          done(!error, std::string_view(self->chunk_.data(), n));
        });
  }

  void Write(std::string bytes, std::function<void(bool)> done) override {
    auto text = std::make_shared<std::string>(std::move(bytes));
    asio::async_write(
        *stream_, asio::buffer(*text),
        [self = shared_from_this(), text, done = std::move(done)](
            ErrorCode error, size_t) { done(!error); });
  }

  void Close() override {
    ErrorCode ignored;
    stream_->socket().close(ignored);
  }

 private:
  Connection::Stream stream_;
  std::string head_;
  std::array<char, kChunk> chunk_;
};

}  // namespace

std::shared_ptr<Tunnel> MakeWebSocketTunnel(const ConnectionRef& connection,
                                            std::string protocol) {
  return std::make_shared<WebSocketTunnel>(connection, std::move(protocol));
}

std::shared_ptr<Tunnel> MakePlainTunnel(const ConnectionRef& connection,
                                        std::string upgrade,
                                        std::string protocol) {
  return std::make_shared<PlainTunnel>(connection, std::move(upgrade),
                                       std::move(protocol));
}

}  // namespace fairlead::kubelet
