// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/http_transport.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <limits>
#include <utility>
#include <vector>

#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/bearer_token.h"
#include "userspace/kube/byte_stream.h"
#include "userspace/kube/server_url.h"
#include "userspace/kube/tls_source.h"

namespace fairlead::kube {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using beast::error_code;

constexpr size_t kReadBytes = 16 * 1024;
constexpr size_t kMaxIdleConnections = 4;

absl::Status FromError(const error_code& error, std::string_view what) {
  return absl::UnavailableError(StrCat(what, ": ", error.message()));
}

// A peer that has vanished without a word is found by the kernel: while we
// wait after kKeepAliveIdle + probes, while we send after kUnackedLimit.
constexpr int kKeepAliveIdleSeconds = 15;
constexpr int kKeepAliveIntervalSeconds = 5;
constexpr int kKeepAliveProbes = 3;
constexpr int kUnackedLimitMs = 30'000;

void SetUpSocket(tcp::socket& socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  const int fd = socket.native_handle();
  auto set = [fd](int option, int value) {
    (void)setsockopt(fd, IPPROTO_TCP, option, &value, sizeof value);
  };
  set(TCP_KEEPIDLE, kKeepAliveIdleSeconds);
  set(TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
  set(TCP_KEEPCNT, kKeepAliveProbes);
  set(TCP_USER_TIMEOUT, kUnackedLimitMs);
}

std::string Serialize(const Request& request, const Endpoint& endpoint,
                      const std::string& token) {
  std::string wire =
      StrCat(request.method, " ", endpoint.base_path, request.target,
             " HTTP/1.1\r\nHost: ", endpoint.host_header, "\r\n");
  for (const auto& [name, value] : request.headers) {
    StrAppend(&wire, name, ": ", value, "\r\n");
  }
  if (!token.empty()) {
    StrAppend(&wire, "Authorization: Bearer ", token, "\r\n");
  }
  if (!request.body.empty() || request.method != "GET") {
    StrAppend(&wire, "Content-Length: ", request.body.size(), "\r\n");
  }
  StrAppend(&wire, "\r\n", request.body);
  return wire;
}

// Collects a response; body bytes pile up in `body` until they are taken.
class Parser : public http::basic_parser<false> {
 public:
  Response head;
  std::string body;

 private:
  using View = beast::string_view;
  void on_request_impl(http::verb, View, View, int, error_code&) override {}
  void on_response_impl(int code, View, int, error_code&) override {
    head.status = code;
  }
  void on_field_impl(http::field, View name, View value,
                     error_code&) override {
    head.headers.emplace_back(std::string(name), std::string(value));
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>& length,
                         error_code&) override {
    // Room for the padding that decoders want, too.
    if (!length.has_value()) return;
    body.reserve(std::min<size_t>(*length, 1 << 20) + 64);
  }
  std::size_t on_body_impl(View bytes, error_code&) override {
    body.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_chunk_header_impl(std::uint64_t, View, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, View bytes,
                                 error_code&) override {
    body.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_finish_impl(error_code&) override {}
};

// One request and what is to be told about it. Shared by its Call, by the
// connection it is on and by callbacks under way.
struct Exchange {
  Request request;
  std::string wire;  // the request's bytes, for the server that it goes to
  bool retry_safe = false;
  bool streaming = false;
  std::function<void(absl::StatusOr<Response>)> done;
  StreamCallbacks callbacks;
  bool head_told = false;
  bool over = false;  // cancelled or ended: tell no more
  int attempts = 0;
  size_t refusals = 0;  // servers that could not be reached
  Timer deadline;
  std::weak_ptr<class Connection> connection;

  void Fail(const absl::Status& status) {
    if (std::exchange(over, true)) return;
    deadline.Cancel();
    if (streaming) {
      callbacks.on_end(status);
    } else {
      done(status);
    }
  }
};

class Core;

// A connection always has one read under way, so that a server's close is
// seen while it is idle.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // `server`: where in Core::servers it leads. `tls`: who we are there.
  Connection(std::shared_ptr<Core> core, std::unique_ptr<ByteStream> stream,
             size_t server, std::shared_ptr<TlsSettings> tls)
      : core_(std::move(core)),
        stream_(std::move(stream)),
        server_(server),
        tls_(std::move(tls)) {}

  void Connect(std::shared_ptr<Exchange> exchange);
  // REQUIRES: idle.
  void Send(std::shared_ptr<Exchange> exchange);
  void Close();
  // Closes and ends the exchange that is under way with `status`.
  void Drop(const absl::Status& status);
  bool closed() const { return closed_; }
  const std::shared_ptr<TlsSettings>& tls() const { return tls_; }

 private:
  void Connected();
  void WriteRequest();
  void ReadMore();
  void OnRead(error_code error, size_t bytes);
  // Feeds bytes to the parser; false if the connection was closed.
  bool Consume(size_t bytes);
  bool DeliverBody();
  void Finish();

  std::shared_ptr<Core> core_;
  std::unique_ptr<ByteStream> stream_;
  size_t server_;
  std::shared_ptr<TlsSettings> tls_;  // null: plain
  bool connected_ = false;
  std::unique_ptr<tcp::resolver> resolver_;
  std::shared_ptr<Exchange> exchange_;
  std::unique_ptr<Parser> parser_;
  std::array<char, kReadBytes> input_;
  std::string pending_;  // bytes that the parser wants to see more of
  bool closed_ = false;
  bool reused_ = false;
};

class Core : public std::enable_shared_from_this<Core> {
 public:
  Core(EventLoop* loop, std::vector<Endpoint> servers, BearerToken token,
       TlsSource tls, HttpTransportOptions options)
      : loop(loop),
        servers(std::move(servers)),
        token(std::move(token)),
        tls(std::move(tls)),
        options(options) {}

  void Submit(const std::shared_ptr<Exchange>& exchange) {
    if (exchange->over || shut) return;
    ++exchange->attempts;
    const Endpoint& server = servers[current];
    const std::shared_ptr<TlsSettings> identity =
        server.tls ? tls.Current(Clock::Real().Monotonic()) : nullptr;
    while (!idle.empty()) {
      std::shared_ptr<Connection> connection = std::move(idle.back());
      idle.pop_back();
      if (connection->closed()) continue;
      // Made with a client certificate that has been replaced.
      if (connection->tls() != identity) {
        connection->Close();
        continue;
      }
      connection->Send(exchange);
      return;
    }
    auto connection = std::make_shared<Connection>(
        shared_from_this(), MakeByteStream(loop->io(), identity, server.host),
        current, identity);
    exchange->deadline = loop->After(
        options.connect_timeout, [weak = std::weak_ptr(connection)] {
          if (auto late = weak.lock()) {
            late->Drop(
                absl::DeadlineExceededError("connect: no answer in time"));
          }
        });
    connection->Connect(exchange);
  }

  // The server is of no use at present: the next request goes to another one.
  void TurnFrom(size_t server) {
    if (server != current || servers.size() == 1) return;
    current = (current + 1) % servers.size();
    for (auto& connection : std::exchange(idle, {})) connection->Close();
  }

  // The exchange's request never left. True: another server gets it.
  bool TryNext(const std::shared_ptr<Exchange>& exchange, size_t failed) {
    TurnFrom(failed);
    if (shut || exchange->over || ++exchange->refusals >= servers.size()) {
      return false;
    }
    exchange->deadline.Cancel();
    Submit(exchange);
    return true;
  }

  void PutBack(std::shared_ptr<Connection> connection) {
    if (shut || idle.size() >= kMaxIdleConnections) {
      connection->Close();
    } else {
      idle.push_back(std::move(connection));
    }
  }

  void Forget(const Connection* connection) {
    std::erase_if(idle, [&](const auto& c) { return c.get() == connection; });
  }

  void Shut() {
    shut = true;
    for (auto& connection : std::exchange(idle, {})) connection->Close();
  }

  EventLoop* loop;
  std::vector<Endpoint> servers;
  size_t current = 0;  // of servers
  BearerToken token;
  TlsSource tls;
  HttpTransportOptions options;
  bool shut = false;
  std::vector<std::shared_ptr<Connection>> idle;
};

void Connection::Connect(std::shared_ptr<Exchange> exchange) {
  const Endpoint& endpoint = core_->servers[server_];
  exchange->connection = weak_from_this();
  exchange_ = std::move(exchange);
  auto self = shared_from_this();
  auto on_connect = [self](error_code error) {
    if (self->closed_) return;
    if (error) return self->Drop(FromError(error, "connect"));
    SetUpSocket(self->stream_->socket());
    self->stream_->Handshake([self](absl::Status status) {
      if (self->closed_) return;
      if (!status.ok()) return self->Drop(status);
      self->Connected();
    });
  };
  uint16_t port = static_cast<uint16_t>(std::stoi(endpoint.port));
  error_code not_an_address;
  auto address = asio::ip::make_address(endpoint.host, not_an_address);
  if (!not_an_address) {
    stream_->socket().async_connect(tcp::endpoint(address, port), on_connect);
    return;
  }
  resolver_ = std::make_unique<tcp::resolver>(core_->loop->io());
  resolver_->async_resolve(
      endpoint.host, endpoint.port,
      [self, on_connect](error_code error, tcp::resolver::results_type found) {
        if (self->closed_) return;
        if (error) return self->Drop(FromError(error, "look-up"));
        asio::async_connect(
            self->stream_->socket(), found,
            [on_connect](error_code failed, const tcp::endpoint&) {
              on_connect(failed);
            });
      });
}

void Connection::Connected() {
  if (exchange_ == nullptr || exchange_->over) return Close();
  connected_ = true;
  // What is left of the time is the request's, or a stream's head's.
  exchange_->deadline = core_->loop->After(
      core_->options.request_timeout, [weak = weak_from_this()] {
        if (auto self = weak.lock()) {
          self->core_->TurnFrom(self->server_);
          self->Drop(absl::DeadlineExceededError("no answer in time"));
        }
      });
  parser_ = std::make_unique<Parser>();
  WriteRequest();
  ReadMore();
}

void Connection::Send(std::shared_ptr<Exchange> exchange) {
  reused_ = true;
  exchange->connection = weak_from_this();
  exchange_ = std::move(exchange);
  exchange_->deadline = core_->loop->After(
      core_->options.request_timeout, [weak = weak_from_this()] {
        if (auto self = weak.lock()) {
          self->core_->TurnFrom(self->server_);
          self->Drop(absl::DeadlineExceededError("no answer in time"));
        }
      });
  parser_ = std::make_unique<Parser>();
  WriteRequest();
}

void Connection::WriteRequest() {
  // A stream's is the greatest number, not "none": Beast 1.74 takes every
  // Content-Length, which an error's answer has, to be above none.
  parser_->body_limit(exchange_->streaming
                          ? std::numeric_limits<std::uint64_t>::max()
                          : core_->options.max_body_bytes);
  parser_->header_limit(64 * 1024);
  parser_->eager(true);
  exchange_->wire = Serialize(exchange_->request, core_->servers[server_],
                              core_->token.Current(
                                  Clock::Real().Monotonic()));
  // The exchange owns the bytes and is kept until they are written. An error
  // shows on the read side as well, possibly after a whole answer.
  stream_->Write(asio::buffer(exchange_->wire),
                 [self = shared_from_this(), kept = exchange_](error_code,
                                                               size_t) {});
}

void Connection::ReadMore() {
  stream_->Read(asio::buffer(input_),
                [self = shared_from_this()](error_code error, size_t bytes) {
                  self->OnRead(error, bytes);
                });
}

void Connection::OnRead(error_code error, size_t bytes) {
  if (closed_) return;
  if (!error) {
    if (Consume(bytes)) ReadMore();
    return;
  }
  if (parser_ != nullptr && error == asio::error::eof &&
      parser_->got_some()) {
    // A body without a length ends here; any other is cut off.
    error_code cut_off;
    parser_->put_eof(cut_off);
    if (!cut_off && parser_->is_done()) {
      auto self = shared_from_this();
      closed_ = true;
      Finish();
      closed_ = false;
      return Close();
    }
  }
  // The server may have closed an idle connection just as it was taken.
  if (reused_ && exchange_ != nullptr && exchange_->retry_safe &&
      exchange_->attempts < 3 && parser_ != nullptr && !parser_->got_some()) {
    std::shared_ptr<Exchange> again = std::move(exchange_);
    exchange_ = nullptr;
    again->deadline.Cancel();
    Close();
    core_->Submit(again);
    return;
  }
  Drop(FromError(error, "read"));
}

bool Connection::Consume(size_t bytes) {
  auto self = shared_from_this();
  if (parser_ == nullptr) {  // nobody asked
    Close();
    return false;
  }
  pending_.append(input_.data(), bytes);
  size_t used = 0;
  while (used < pending_.size() && !parser_->is_done()) {
    error_code error;
    size_t n = parser_->put(
        asio::buffer(pending_.data() + used, pending_.size() - used), error);
    used += n;
    if (error == http::error::need_more) break;
    if (error) {
      Drop(absl::UnavailableError(
          StrCat("bad HTTP answer: ", error.message())));
      return false;
    }
    if (n == 0) break;
  }
  pending_.erase(0, used);
  if (parser_->is_header_done() && !DeliverBody()) return false;
  if (parser_ != nullptr && parser_->is_done()) Finish();
  return !closed_;
}

// Tells a stream what has arrived; false once the connection is closed.
bool Connection::DeliverBody() {
  std::shared_ptr<Exchange> exchange = exchange_;
  if (exchange == nullptr || !exchange->streaming) return !closed_;
  if (!exchange->head_told) {
    exchange->head_told = true;
    exchange->deadline.Cancel();
    if (!exchange->over) exchange->callbacks.on_head(parser_->head);
  }
  if (!exchange->over && !parser_->body.empty()) {
    std::string body = std::exchange(parser_->body, {});
    exchange->callbacks.on_chunk(body);
  }
  return !closed_;
}

void Connection::Finish() {
  auto self = shared_from_this();
  std::shared_ptr<Exchange> exchange = std::move(exchange_);
  exchange_ = nullptr;
  bool keep = parser_->keep_alive() && pending_.empty() && !closed_;
  std::unique_ptr<Parser> parser = std::move(parser_);
  exchange->connection.reset();
  exchange->deadline.Cancel();
  if (parser->head.status == 401) {
    core_->token.Refused();
    core_->tls.Refused();
  }
  if (keep) {
    core_->PutBack(self);
  } else {
    Close();
  }
  if (std::exchange(exchange->over, true)) return;
  if (exchange->streaming) {
    exchange->callbacks.on_end(absl::OkStatus());
  } else {
    parser->head.body = std::move(parser->body);
    exchange->done(std::move(parser->head));
  }
}

void Connection::Close() {
  if (std::exchange(closed_, true)) return;
  if (resolver_ != nullptr) resolver_->cancel();
  error_code ignored;
  stream_->socket().close(ignored);
  core_->Forget(this);
}

void Connection::Drop(const absl::Status& status) {
  auto self = shared_from_this();
  // Perhaps it was our certificate: servers end a connection over that.
  if (parser_ == nullptr || !parser_->got_some()) core_->tls.Refused();
  Close();
  if (std::shared_ptr<Exchange> exchange = std::move(exchange_)) {
    exchange_ = nullptr;
    if (!connected_) {
      if (core_->TryNext(exchange, server_)) return;
      return exchange->Fail(absl::Status(
          status.code(), StrCat(core_->servers[server_].host_header, ": ",
                                Std(status.message()))));
    }
    exchange->Fail(status);
  }
}

class HttpCall : public Call {
 public:
  explicit HttpCall(std::shared_ptr<Exchange> exchange)
      : exchange_(std::move(exchange)) {}
  ~HttpCall() override {
    if (std::exchange(exchange_->over, true)) return;
    exchange_->deadline.Cancel();
    // An answer is on its way: the connection is of no more use.
    if (auto connection = exchange_->connection.lock()) connection->Close();
  }

 private:
  std::shared_ptr<Exchange> exchange_;
};

class HttpTransport : public Transport {
 public:
  explicit HttpTransport(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  ~HttpTransport() override { core_->Shut(); }

  std::unique_ptr<Call> Do(
      Request request,
      std::function<void(absl::StatusOr<Response>)> done) override {
    auto exchange = std::make_shared<Exchange>();
    exchange->done = std::move(done);
    return Submit(std::move(request), std::move(exchange));
  }

  std::unique_ptr<Call> Stream(Request request,
                               StreamCallbacks callbacks) override {
    auto exchange = std::make_shared<Exchange>();
    exchange->streaming = true;
    exchange->callbacks = std::move(callbacks);
    return Submit(std::move(request), std::move(exchange));
  }

 private:
  std::unique_ptr<Call> Submit(Request request,
                               std::shared_ptr<Exchange> exchange) {
    exchange->retry_safe = request.method == "GET";
    exchange->request = std::move(request);
    auto call = std::make_unique<HttpCall>(exchange);
    core_->Submit(exchange);
    return call;
  }

  std::shared_ptr<Core> core_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> MakeHttpTransport(
    EventLoop* loop, const ApiServer& server,
    const HttpTransportOptions& options) {
  std::vector<Endpoint> servers;
  bool any_tls = false;
  auto add = [&](const std::string& url) -> absl::Status {
    FL_ASSIGN_OR_RETURN(Endpoint endpoint, ParseUrl(url));
    any_tls = any_tls || endpoint.tls;
    servers.push_back(std::move(endpoint));
    return absl::OkStatus();
  };
  FL_RETURN_IF_ERROR(add(server.url));
  for (const std::string& url : server.more_urls) {
    FL_RETURN_IF_ERROR(add(url));
  }
  TlsSource tls;
  if (any_tls) {
    FL_ASSIGN_OR_RETURN(tls, TlsSource::Make(server));
  }
  auto core = std::make_shared<Core>(
      loop, std::move(servers),
      BearerToken(server.bearer_token, server.bearer_token_file),
      std::move(tls), options);
  return std::make_unique<HttpTransport>(std::move(core));
}

}  // namespace fairlead::kube
