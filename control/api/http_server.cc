// SPDX-License-Identifier: Apache-2.0
#include "control/api/http_server.h"

#include <boost/asio/ip/tcp.hpp>
#include <unordered_set>
#include <utility>

#include "control/api/http_session.h"
#include "userspace/base/status.h"

namespace fairlead::api {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

// How long to wait after accept() failed (out of file descriptors).
constexpr absl::Duration kAcceptRetry = absl::Milliseconds(100);

}  // namespace

class HttpServer::Impl : public HttpSession::Owner,
                         public std::enable_shared_from_this<Impl> {
 public:
  Impl(EventLoop* loop, HttpLimits limits, ServeFunction serve)
      : loop_(loop), limits_(limits), serve_(std::move(serve)) {}

  absl::Status Listen(UniqueFd listener, bool ipv6, pki::TlsSource tls) {
    auto acceptor = std::make_shared<Acceptor>(loop_->io(), std::move(tls));
    ErrorCode error;
    acceptor->socket.assign(ipv6 ? tcp::v6() : tcp::v4(), listener.get(), error);
    if (error) return ErrnoStatus(error.value(), "listen");
    (void)listener.release();
    acceptors_.push_back(acceptor);
    AcceptNext(acceptor);
    return absl::OkStatus();
  }

  void Shutdown() {
    for (auto& acceptor : acceptors_) {
      ErrorCode ignored;
      acceptor->socket.close(ignored);
    }
    for (const auto& session : std::exchange(sessions_, {})) session->Orphan();
    serve_ = nullptr;
  }

  void Closed(const std::shared_ptr<HttpSession>& session) override {
    sessions_.erase(session);
  }
  void Serve(kube::Request request, const Peer& peer,
             ResponderRef responder) override {
    ++requests_;
    if (serve_) serve_(std::move(request), peer, std::move(responder));
  }

  size_t connections() const { return sessions_.size(); }
  uint64_t requests() const { return requests_; }

 private:
  struct Acceptor {
    Acceptor(asio::io_context& io, pki::TlsSource source)
        : socket(io), tls(std::move(source)) {}
    tcp::acceptor socket;
    pki::TlsSource tls;  // null: plain HTTP
  };

  void AcceptNext(const std::shared_ptr<Acceptor>& acceptor) {
    acceptor->socket.async_accept(
        [weak = weak_from_this(), acceptor](ErrorCode error,
                                            tcp::socket socket) {
          auto self = weak.lock();
          if (self == nullptr || error == asio::error::operation_aborted) {
            return;
          }
          self->OnAccepted(acceptor, error, std::move(socket));
        });
  }

  void OnAccepted(const std::shared_ptr<Acceptor>& acceptor,
                  ErrorCode error, tcp::socket socket) {
    if (error) {
      retry_ = loop_->After(kAcceptRetry, [this] {
        for (const auto& waiting : std::exchange(paused_, {})) {
          AcceptNext(waiting);
        }
      });
      paused_.push_back(acceptor);
      return;
    }
    auto session = MakeHttpSession(
        loop_, std::move(socket),
        acceptor->tls ? acceptor->tls() : nullptr, limits_, this);
    sessions_.insert(session);
    session->Start();
    AcceptNext(acceptor);
  }

  EventLoop* loop_;
  HttpLimits limits_;
  ServeFunction serve_;
  std::vector<std::shared_ptr<Acceptor>> acceptors_, paused_;
  std::unordered_set<std::shared_ptr<HttpSession>> sessions_;
  Timer retry_;
  uint64_t requests_ = 0;
};

HttpServer::HttpServer(EventLoop* loop, HttpLimits limits,
                       ServeFunction serve)
    : impl_(std::make_shared<Impl>(loop, limits, std::move(serve))) {}

HttpServer::~HttpServer() { impl_->Shutdown(); }

absl::Status HttpServer::Accept(UniqueFd listener, bool ipv6,
                                pki::TlsSource tls) {
  return impl_->Listen(std::move(listener), ipv6, std::move(tls));
}

size_t HttpServer::connections() const { return impl_->connections(); }
uint64_t HttpServer::requests() const { return impl_->requests(); }

}  // namespace fairlead::api
