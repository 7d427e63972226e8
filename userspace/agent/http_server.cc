// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/http_server.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>

#include "userspace/base/strings.h"

namespace fairlead::agent {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kMaxConnections = 32;
constexpr absl::Duration kTimeout = absl::Seconds(5);
constexpr size_t kMaxHead = 8 * 1024;

std::string_view Reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 503:
      return "Service Unavailable";
    default:
      return "Error";
  }
}

std::string Serialize(const HttpReply& reply, bool head_only) {
  std::string text = StrCat(
      "HTTP/1.1 ", reply.status, " ", Reason(reply.status),
      "\r\nContent-Type: ", reply.content_type,
      "\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n"
      "Content-Length: ",
      reply.body.size(), "\r\n");
  for (const auto& [name, value] : reply.headers) {
    StrAppend(&text, name, ": ", value, "\r\n");
  }
  text += "\r\n";
  if (!head_only) text += reply.body;
  return text;
}

}  // namespace

std::optional<RequestLine> ParseRequestLine(std::string_view head) {
  std::string_view line = head.substr(0, head.find("\r\n"));
  size_t first = line.find(' ');
  size_t second = line.find(' ', first + 1);
  if (first == line.npos || second == line.npos ||
      line.substr(second + 1).substr(0, 5) != "HTTP/") {
    return std::nullopt;
  }
  std::string_view target = line.substr(first + 1, second - first - 1);
  return RequestLine{std::string(line.substr(0, first)),
                     std::string(target.substr(0, target.find('?')))};
}

class HttpServer::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(EventLoop* loop, Answer answer)
      : loop_(loop), acceptor_(loop->io()), answer_(std::move(answer)) {}

  absl::Status Open(const SocketAddress& address) {
    error_code error;
    asio::ip::address ip =
        asio::ip::make_address(address.address.ToString(), error);
    tcp::endpoint endpoint(ip, address.port);
    if (!error) acceptor_.open(endpoint.protocol(), error);
    if (!error) {
      acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    }
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_connections, error);
    if (error) {
      return absl::UnavailableError(
          StrCat("listen on ", address.address.ToString(), " port ",
                 address.port, ": ", error.message()));
    }
    Accept();
    return absl::OkStatus();
  }

  void Close() {
    error_code ignored;
    acceptor_.close(ignored);
    answer_ = nullptr;
  }

  Port port() const {
    error_code ignored;
    return acceptor_.local_endpoint(ignored).port();
  }

 private:
  struct Connection {
    explicit Connection(tcp::socket s) : socket(std::move(s)) {}
    tcp::socket socket;
    std::string input;
    std::string output;
    Timer deadline;
  };

  void Accept() {
    acceptor_.async_accept(
        [self = shared_from_this()](error_code error, tcp::socket socket) {
          if (!self->acceptor_.is_open()) return;
          if (!error) self->Serve(std::move(socket));
          if (error == asio::error::no_descriptors) {
            // Would fail at once again.
            self->retry_ = self->loop_->After(absl::Seconds(1),
                                              [self] { self->Accept(); });
            return;
          }
          self->Accept();
        });
  }

  void Serve(tcp::socket socket) {
    if (open_ >= kMaxConnections) return;
    ++open_;
    auto connection = std::shared_ptr<Connection>(
        new Connection(std::move(socket)),
        [self = shared_from_this()](Connection* c) {
          --self->open_;
          delete c;
        });
    connection->deadline = loop_->After(
        kTimeout, [weak = std::weak_ptr<Connection>(connection)] {
          error_code ignored;
          if (auto late = weak.lock()) late->socket.close(ignored);
        });
    asio::async_read_until(
        connection->socket, asio::dynamic_buffer(connection->input, kMaxHead),
        "\r\n\r\n",
        [self = shared_from_this(), connection](error_code error, size_t) {
          if (!error) self->Reply(connection);
        });
  }

  void Reply(const std::shared_ptr<Connection>& connection) {
    auto request = ParseRequestLine(connection->input);
    if (!request.has_value()) return;
    bool head = request->method == "HEAD";
    HttpReply reply;
    if (head || request->method == "GET") {
      if (answer_ != nullptr) reply = answer_(request->path);
    } else {
      reply.status = 405;
    }
    connection->output = Serialize(reply, head);
    asio::async_write(connection->socket, asio::buffer(connection->output),
                      [connection](error_code, size_t) {
                        error_code ignored;
                        connection->socket.shutdown(tcp::socket::shutdown_both,
                                                    ignored);
                      });
  }

  EventLoop* loop_;
  tcp::acceptor acceptor_;
  Answer answer_;
  Timer retry_;
  int open_ = 0;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Listen(
    EventLoop* loop, const SocketAddress& address, Answer answer) {
  auto impl = std::make_shared<Impl>(loop, std::move(answer));
  if (absl::Status status = impl->Open(address); !status.ok()) return status;
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::~HttpServer() { impl_->Close(); }
Port HttpServer::port() const { return impl_->port(); }

}  // namespace fairlead::agent
