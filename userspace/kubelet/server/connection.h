// SPDX-License-Identifier: Apache-2.0
// One HTTP request to the kubelet and its answer. A connection serves one
// request: the API server, which is the client, asks for no more.
//
// Threads: the event loop's only. Held by whoever is to answer; all calls are
// harmless once the peer has gone.
#ifndef FAIRLEAD_USERSPACE_KUBELET_SERVER_CONNECTION_H_
#define FAIRLEAD_USERSPACE_KUBELET_SERVER_CONNECTION_H_

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "userspace/base/event_loop.h"
#include "userspace/pki/tls_server.h"

namespace fairlead::kubelet {

struct StreamRequest {
  std::string method;
  std::vector<std::string> path;  // decoded segments
  std::vector<std::pair<std::string, std::string>> query;

  // The first value; "" when absent.
  std::string Get(std::string_view name) const;
  std::vector<std::string> All(std::string_view name) const;
  // "1" or "true".
  bool Bool(std::string_view name) const;
};
// `target`: "/a/b?c=d". Segments and pairs that are wrongly encoded are kept
// as they are.
StreamRequest ParseTarget(std::string_view method, std::string_view target);

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using Stream = std::shared_ptr<pki::ServerStream>;
  using Message =
      boost::beast::http::request<boost::beast::http::empty_body>;
  using Handler = std::function<void(std::shared_ptr<Connection>,
                                     const StreamRequest&)>;

  // Null `tls`: plain HTTP.
  Connection(EventLoop* loop, Socket socket, pki::TlsContext tls)
      : loop_(loop),
        stream_(std::make_shared<pki::ServerStream>(std::move(socket),
                                                    std::move(tls))) {}

  // Reads the request and gives it to `handler`, once.
  void Start(Handler handler);
  // A whole answer, then the end.
  void Reply(int status, std::string_view content_type, std::string body);
  // Or: a head, pieces (one at a time: `done` says whether to go on), Close.
  void Begin(std::string_view content_type);
  void Write(std::string piece, std::function<void(bool ok)> done);
  // `fn` runs once if the peer goes away. After Begin.
  void OnGone(std::function<void()> fn);
  // Over TLS the peer is told that this is all, and has a moment to hear it.
  void Close();

  EventLoop* loop() const { return loop_; }
  // For an upgrade to another protocol: the connection is of no more use then.
  const Message& message() const { return message_; }
  Stream TakeStream() { return stream_; }
  // The client's, verified by nobody; none without TLS.
  std::optional<pki::Certificate> client_certificate() const {
    return stream_->client_certificate();
  }

 private:
  void ReadRequest(Handler handler);
  void Drop();

  EventLoop* loop_;
  Stream stream_;
  boost::beast::flat_buffer buffer_{64u << 10};
  boost::beast::http::request_parser<boost::beast::http::empty_body> parser_;
  Message message_;
  Timer limit_;
  std::string head_;
  char byte_ = 0;
  bool closed_ = false;
};

using ConnectionRef = std::shared_ptr<Connection>;

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_SERVER_CONNECTION_H_
