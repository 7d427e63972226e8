// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/http_transport.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "userspace/base/strings.h"

namespace fairlead::kube {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using beast::error_code;

constexpr size_t kReadBytes = 16 * 1024;
constexpr size_t kMaxIdleConnections = 4;

// Where requests go, out of ApiServer.url.
struct Endpoint {
  bool tls = false;
  std::string host;  // without brackets
  std::string port;
  std::string host_header;
  std::string base_path;  // without a slash at its end
};

absl::StatusOr<Endpoint> ParseUrl(std::string_view url) {
  auto bad = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        StrCat("server URL \"", url, "\": ", why));
  };
  Endpoint endpoint;
  absl::string_view rest = Absl(url);
  if (absl::ConsumePrefix(&rest, "https://")) {
    endpoint.tls = true;
  } else if (!absl::ConsumePrefix(&rest, "http://")) {
    return bad("want http:// or https://");
  }
  size_t slash = rest.find('/');
  absl::string_view authority = rest.substr(0, slash);
  if (slash != rest.npos) endpoint.base_path = std::string(rest.substr(slash));
  while (absl::EndsWith(endpoint.base_path, "/")) endpoint.base_path.pop_back();
  endpoint.host_header = std::string(authority);
  absl::string_view port;
  if (absl::ConsumePrefix(&authority, "[")) {
    size_t close = authority.find(']');
    if (close == authority.npos) return bad("] missing");
    endpoint.host = std::string(authority.substr(0, close));
    port = authority.substr(close + 1);
    if (!port.empty() && !absl::ConsumePrefix(&port, ":")) return bad("port");
  } else {
    size_t colon = authority.find(':');
    endpoint.host = std::string(authority.substr(0, colon));
    if (colon != authority.npos) port = authority.substr(colon + 1);
  }
  if (endpoint.host.empty()) return bad("no host");
  endpoint.port = port.empty() ? (endpoint.tls ? "443" : "80")
                               : std::string(port);
  uint16_t number = 0;
  const char* end = endpoint.port.data() + endpoint.port.size();
  auto parsed = std::from_chars(endpoint.port.data(), end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end || number == 0) {
    return bad("bad port");
  }
  return endpoint;
}

absl::Status FromError(const error_code& error, std::string_view what) {
  return absl::UnavailableError(StrCat(what, ": ", error.message()));
}

// A TCP or TLS byte stream.
class ByteStream {
 public:
  using Done = std::function<void(error_code, size_t)>;
  virtual ~ByteStream() = default;
  virtual tcp::socket& socket() = 0;
  virtual void Handshake(std::function<void(error_code)> done) = 0;
  virtual void Read(asio::mutable_buffer buffer, Done done) = 0;
  virtual void Write(asio::const_buffer buffer, Done done) = 0;
};

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(asio::io_context& io) : socket_(io) {}
  tcp::socket& socket() override { return socket_; }
  void Handshake(std::function<void(error_code)> done) override {
    done(error_code());
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

class TlsStream : public ByteStream {
 public:
  TlsStream(asio::io_context& io, asio::ssl::context& context,
            const std::string& host, bool verify)
      : stream_(io, context) {
    // Server name indication is for names only (RFC 6066).
    error_code not_an_address;
    asio::ip::make_address(host, not_an_address);
    if (not_an_address) {
      SSL_set_tlsext_host_name(stream_.native_handle(), host.c_str());
    }
    if (verify) {
      stream_.set_verify_callback(asio::ssl::host_name_verification(host));
    }
  }
  tcp::socket& socket() override { return stream_.next_layer(); }
  void Handshake(std::function<void(error_code)> done) override {
    stream_.async_handshake(asio::ssl::stream_base::client, std::move(done));
  }
  void Read(asio::mutable_buffer buffer, Done done) override {
    stream_.async_read_some(buffer, std::move(done));
  }
  void Write(asio::const_buffer buffer, Done done) override {
    asio::async_write(stream_, buffer, std::move(done));
  }

 private:
  asio::ssl::stream<tcp::socket> stream_;
};

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
  std::string wire;  // the request's bytes
  bool retry_safe = false;
  bool streaming = false;
  std::function<void(absl::StatusOr<Response>)> done;
  StreamCallbacks callbacks;
  bool head_told = false;
  bool over = false;  // cancelled or ended: tell no more
  int attempts = 0;
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
  Connection(std::shared_ptr<Core> core, std::unique_ptr<ByteStream> stream)
      : core_(std::move(core)), stream_(std::move(stream)) {}

  void Connect(const Endpoint& endpoint, std::shared_ptr<Exchange> exchange);
  // REQUIRES: idle.
  void Send(std::shared_ptr<Exchange> exchange);
  void Close();
  // Closes and ends the exchange that is under way with `status`.
  void Drop(const absl::Status& status);
  bool closed() const { return closed_; }

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
  Core(EventLoop* loop, Endpoint endpoint, std::string token,
       HttpTransportOptions options)
      : loop(loop),
        endpoint(std::move(endpoint)),
        token(std::move(token)),
        options(options) {}

  void Submit(const std::shared_ptr<Exchange>& exchange) {
    if (exchange->over || shut) return;
    ++exchange->attempts;
    while (!idle.empty()) {
      std::shared_ptr<Connection> connection = std::move(idle.back());
      idle.pop_back();
      if (connection->closed()) continue;
      connection->Send(exchange);
      return;
    }
    std::unique_ptr<ByteStream> stream;
    if (tls.has_value()) {
      stream = std::make_unique<TlsStream>(loop->io(), *tls, endpoint.host,
                                           verify);
    } else {
      stream = std::make_unique<PlainStream>(loop->io());
    }
    auto connection =
        std::make_shared<Connection>(shared_from_this(), std::move(stream));
    exchange->deadline = loop->After(
        options.connect_timeout, [weak = std::weak_ptr(connection)] {
          if (auto late = weak.lock()) {
            late->Drop(
                absl::DeadlineExceededError("connect: no answer in time"));
          }
        });
    connection->Connect(endpoint, exchange);
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
  Endpoint endpoint;
  std::string token;
  HttpTransportOptions options;
  std::optional<asio::ssl::context> tls;
  bool verify = true;
  bool shut = false;
  std::vector<std::shared_ptr<Connection>> idle;
};

void Connection::Connect(const Endpoint& endpoint,
                         std::shared_ptr<Exchange> exchange) {
  exchange->connection = weak_from_this();
  exchange_ = std::move(exchange);
  auto self = shared_from_this();
  auto on_connect = [self](error_code error) {
    if (self->closed_) return;
    if (error) return self->Drop(FromError(error, "connect"));
    error_code ignored;
    self->stream_->socket().set_option(tcp::no_delay(true), ignored);
    self->stream_->Handshake([self](error_code failed) {
      if (self->closed_) return;
      if (failed) return self->Drop(FromError(failed, "TLS handshake"));
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
  // What is left of the time is the request's, or a stream's head's.
  exchange_->deadline = core_->loop->After(
      core_->options.request_timeout, [weak = weak_from_this()] {
        if (auto self = weak.lock()) {
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
          self->Drop(absl::DeadlineExceededError("no answer in time"));
        }
      });
  parser_ = std::make_unique<Parser>();
  WriteRequest();
}

void Connection::WriteRequest() {
  parser_->body_limit(exchange_->streaming
                          ? boost::optional<std::uint64_t>()
                          : boost::optional<std::uint64_t>(
                                core_->options.max_body_bytes));
  parser_->header_limit(64 * 1024);
  parser_->eager(true);
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
  Close();
  if (std::shared_ptr<Exchange> exchange = std::move(exchange_)) {
    exchange_ = nullptr;
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
    exchange->wire = Serialize(request);
    auto call = std::make_unique<HttpCall>(exchange);
    core_->Submit(exchange);
    return call;
  }

  std::string Serialize(const Request& request) const {
    std::string wire =
        StrCat(request.method, " ", core_->endpoint.base_path, request.target,
               " HTTP/1.1\r\nHost: ", core_->endpoint.host_header, "\r\n");
    for (const auto& [name, value] : request.headers) {
      StrAppend(&wire, name, ": ", value, "\r\n");
    }
    if (!core_->token.empty()) {
      StrAppend(&wire, "Authorization: Bearer ", core_->token, "\r\n");
    }
    if (!request.body.empty() || request.method != "GET") {
      StrAppend(&wire, "Content-Length: ", request.body.size(), "\r\n");
    }
    StrAppend(&wire, "\r\n", request.body);
    return wire;
  }

  std::shared_ptr<Core> core_;
};

absl::Status SetUpTls(const ApiServer& server, Core* core) {
  core->tls.emplace(asio::ssl::context::tls_client);
  asio::ssl::context& context = *core->tls;
  error_code error;
  context.set_options(asio::ssl::context::no_sslv3 |
                          asio::ssl::context::no_tlsv1 |
                          asio::ssl::context::no_tlsv1_1,
                      error);
  core->verify = !server.insecure_skip_verify;
  context.set_verify_mode(core->verify ? asio::ssl::verify_peer
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
  if (server.client_certificate_pem.empty()) return absl::OkStatus();
  context.use_certificate_chain(asio::buffer(server.client_certificate_pem),
                                error);
  if (error) return bad("client-certificate");
  context.use_private_key(asio::buffer(server.client_key_pem),
                          asio::ssl::context::pem, error);
  if (error) return bad("client-key");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> MakeHttpTransport(
    EventLoop* loop, const ApiServer& server,
    const HttpTransportOptions& options) {
  auto endpoint = ParseUrl(server.url);
  if (!endpoint.ok()) return endpoint.status();
  bool tls = endpoint->tls;
  auto core = std::make_shared<Core>(loop, *std::move(endpoint),
                                     server.bearer_token, options);
  if (tls) {
    if (auto status = SetUpTls(server, core.get()); !status.ok()) {
      return status;
    }
  }
  return std::make_unique<HttpTransport>(std::move(core));
}

}  // namespace fairlead::kube
