// SPDX-License-Identifier: Apache-2.0
#include "control/api/http_session.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>
#include <deque>
#include <optional>
#include <utility>

#include "control/api/api_status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

// Pieces that one write gathers.
constexpr size_t kMaxGather = 64;

using UserTimeout =
    asio::detail::socket_option::integer<IPPROTO_TCP, TCP_USER_TIMEOUT>;

std::string_view View(beast::string_view s) { return {s.data(), s.size()}; }

std::string HeadText(const kube::Response& response, bool chunked,
                     bool keep_alive, bool has_body) {
  std::string reason(
      View(http::obsolete_reason(static_cast<http::status>(response.status))));
  std::string out =
      StrCat("HTTP/1.1 ", response.status, " ", reason,
             "\r\nCache-Control: no-cache, private\r\n");
  for (const auto& [name, value] : response.headers) {
    StrAppend(&out, name, ": ", value, "\r\n");
  }
  if (!keep_alive) out += "Connection: close\r\n";
  if (chunked) {
    out += "Transfer-Encoding: chunked\r\n";
  } else if (has_body) {
    StrAppend(&out, "Content-Length: ", response.body.size(), "\r\n");
  }
  return out + "\r\n";
}

class Session : public HttpSession,
                public std::enable_shared_from_this<Session> {
 public:
  Session(EventLoop* loop, tcp::socket socket, pki::TlsContext tls,
          const HttpLimits& limits, Owner* owner)
      : loop_(loop),
        stream_(std::move(socket), std::move(tls)),
        limits_(limits),
        owner_(owner) {
    // Enough for the longest header and what follows it.
    buffer_.max_size(limits.max_header_bytes + (1u << 20));
  }

  void Start() override {
    ErrorCode ignored;
    stream_.socket().set_option(tcp::no_delay(true), ignored);
    // The kernel ends the connection of who takes nothing, be it gone or slow.
    stream_.socket().set_option(
        UserTimeout(static_cast<int>(
            absl::ToInt64Milliseconds(limits_.write_timeout))),
        ignored);
    if (!stream_.secure()) {
      peer_.trusted = true;
      return ReadRequest();
    }
    timer_ = loop_->After(limits_.handshake_timeout, [this] { Close(); });
    stream_.Handshake([self = shared_from_this()](ErrorCode error) {
      if (self->closed_) return;
      if (error) return self->Close();
      self->peer_.certificate = self->stream_.client_certificate();
      self->ReadRequest();
    });
  }

  // The owner goes away.
  void Orphan() override {
    owner_ = nullptr;
    Close();
  }

  bool streaming() const { return streaming_; }
  size_t queued_bytes() const { return queued_bytes_; }

  void SendWhole(uint64_t exchange, kube::Response response) {
    if (closed_ || exchange != exchange_ || answered_) return;
    answered_ = true;
    bool no_body = response.status == 304 || response.status == 204 || head_;
    auto text = std::make_shared<std::string>(
        HeadText(response, false, keep_alive_, !no_body || head_));
    Queue(std::move(text), false);
    if (!no_body && !response.body.empty()) {
      Queue(std::make_shared<std::string>(std::move(response.body)), false);
    }
    done_writing_ = true;
    Flush();
  }

  void Begin(uint64_t exchange, kube::Response head) {
    if (closed_ || exchange != exchange_ || answered_) return;
    answered_ = streaming_ = true;
    Queue(std::make_shared<std::string>(
              HeadText(head, true, keep_alive_, true)),
          false);
    Flush();
    WatchPeer();
  }

  void Write(uint64_t exchange, std::shared_ptr<const std::string> piece) {
    if (closed_ || exchange != exchange_ || !streaming_ || piece->empty()) {
      return;
    }
    Queue(std::move(piece), !raw_);
    Flush();
  }

  bool Upgrade(uint64_t exchange, std::string head, Responder::OnData on_data) {
    if (closed_ || exchange != exchange_ || answered_) return false;
    answered_ = streaming_ = raw_ = true;
    keep_alive_ = false;
    on_data_ = std::move(on_data);
    Queue(std::make_shared<std::string>(std::move(head)), false);
    Flush();
    ReadRaw();
    return true;
  }

  void OnDrained(uint64_t exchange, std::function<void()> fn) {
    if (closed_ || exchange != exchange_) return;
    drained_ = std::move(fn);
  }

  void End(uint64_t exchange) {
    if (closed_ || exchange != exchange_ || !streaming_) return;
    streaming_ = false;
    on_closed_ = nullptr;
    done_writing_ = true;
    if (raw_) {
      on_data_ = nullptr;
      if (queue_.empty() && writing_.empty()) return CloseGently();
      return Flush();
    }
    Queue(std::make_shared<std::string>("0\r\n\r\n"), false);
    Flush();
  }

  void Abort(uint64_t exchange) {
    if (exchange != exchange_) return;
    on_closed_ = nullptr;
    Close();
  }

  void OnClosed(uint64_t exchange, std::function<void()> fn) {
    if (exchange != exchange_) return;
    on_closed_ = std::move(fn);
    if (closed_) PostClosed();
  }

 private:
  struct Piece {
    std::shared_ptr<const std::string> text;
    std::string frame;  // "1f\r\n"; empty: not a chunk
  };

  void ReadRequest() {
    answered_ = done_writing_ = false;
    ++exchange_;
    parser_.emplace();
    parser_->header_limit(limits_.max_header_bytes);
    parser_->body_limit(limits_.max_body_bytes);
    if (buffer_.size() > 0) return ReadHeader();
    timer_ = loop_->After(limits_.idle_timeout, [this] { Close(); });
    stream_.async_read_some(
        buffer_.prepare(4096),
        [self = shared_from_this()](ErrorCode error, size_t n) {
          if (self->closed_) return;
          if (error) return self->Close();
          self->buffer_.commit(n);
          self->ParseRead();
        });
  }

  // Most requests come whole, and take no further steps.
  void ParseRead() {
    parser_->eager(true);
    ErrorCode error;
    buffer_.consume(parser_->put(buffer_.data(), error));
    if (error == http::error::need_more) error = {};
    if (error) return OnReadError(error);
    if (!parser_->is_done()) return ReadHeader();
    OnRequest();
  }

  void ReadHeader() {
    timer_ = loop_->After(limits_.header_timeout, [this] { Close(); });
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](ErrorCode error, size_t) {
          self->OnHeader(error);
        });
  }

  void OnHeader(ErrorCode error) {
    if (closed_) return;
    if (error) return OnReadError(error);
    timer_ = loop_->After(limits_.request_timeout, [this] { Close(); });
    if (View(parser_->get()[http::field::expect]) == "100-continue") {
      // Nothing else is being written on this connection now.
      auto text = std::make_shared<std::string>("HTTP/1.1 100 Continue\r\n\r\n");
      asio::async_write(stream_, asio::buffer(*text),
                        [self = shared_from_this(), text](ErrorCode e, size_t) {
                          if (e) return self->Close();
                          self->ReadBody();
                        });
      return;
    }
    ReadBody();
  }

  void ReadBody() {
    if (closed_) return;
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](ErrorCode error, size_t) {
                       if (self->closed_) return;
                       if (error) return self->OnReadError(error);
                       self->OnRequest();
                     });
  }

  void OnReadError(ErrorCode error) {
    keep_alive_ = false;
    head_ = false;
    if (error == http::error::body_limit) {
      return SendWhole(exchange_,
                       ErrorResponse(TooLarge(limits_.max_body_bytes), false));
    }
    bool gone = error == http::error::end_of_stream ||
                error == http::error::partial_message ||
                error.category() == asio::error::get_system_category() ||
                error == asio::error::eof;
    if (gone) return Close();
    const bool large = error == http::error::header_limit;
    SendWhole(exchange_,
              TextResponse(large ? 431 : 400,
                           large ? "431 Request Header Fields Too Large"
                                 : "400 Bad Request"));
  }

  void OnRequest();

  // While an answer streams, the only news from the client is its going.
  void WatchPeer() {
    if (closed_ || watching_peer_) return;
    watching_peer_ = true;
    stream_.async_read_some(
        buffer_.prepare(4096),
        [self = shared_from_this()](ErrorCode error, size_t n) {
          self->watching_peer_ = false;
          if (self->closed_) return;
          if (error) return self->Close();
          // The next request, early: it waits in the buffer.
          self->buffer_.commit(n);
          if (self->wait_for_peer_) {
            self->wait_for_peer_ = false;
            self->ReadRequest();
          }
        });
  }

  // What the client sends after an upgrade.
  void ReadRaw() {
    if (closed_ || !on_data_) return;
    if (buffer_.size() > 0) return GiveRaw();
    stream_.async_read_some(
        buffer_.prepare(64u << 10),
        [self = shared_from_this()](ErrorCode error, size_t n) {
          if (self->closed_ || !self->on_data_) return;
          if (error) return self->Close();
          self->buffer_.commit(n);
          self->GiveRaw();
        });
  }

  void GiveRaw() {
    const auto bytes = buffer_.data();
    std::string data(static_cast<const char*>(bytes.data()), bytes.size());
    buffer_.clear();
    on_data_(std::move(data), [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->ReadRaw();
    });
  }

  void Queue(std::shared_ptr<const std::string> text, bool chunk) {
    Piece piece;
    if (chunk) piece.frame = absl::StrCat(absl::Hex(text->size()), "\r\n");
    queued_bytes_ += text->size();
    piece.text = std::move(text);
    queue_.push_back(std::move(piece));
  }

  void Flush() {
    if (closed_ || !writing_.empty()) return;
    if (queue_.empty()) return;
    static constexpr std::string_view kEnd = "\r\n";
    std::vector<asio::const_buffer> buffers;
    while (!queue_.empty() && writing_.size() < kMaxGather) {
      writing_.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    for (const Piece& piece : writing_) {
      if (!piece.frame.empty()) buffers.push_back(asio::buffer(piece.frame));
      buffers.push_back(asio::buffer(*piece.text));
      if (!piece.frame.empty()) {
        buffers.push_back(asio::buffer(kEnd.data(), kEnd.size()));
      }
    }
    asio::async_write(stream_, buffers,
                      [self = shared_from_this()](ErrorCode error, size_t) {
                        self->OnWritten(error);
                      });
  }

  void OnWritten(ErrorCode error) {
    for (const Piece& piece : writing_) queued_bytes_ -= piece.text->size();
    writing_.clear();
    if (closed_) return;
    if (error) return Close();
    if (!queue_.empty()) return Flush();
    if (auto fn = std::exchange(drained_, nullptr)) fn();
    if (!done_writing_ || !queue_.empty() || !writing_.empty()) return;
    if (!keep_alive_) return CloseGently();
    if (watching_peer_) {
      // The read that is under way brings the next request.
      wait_for_peer_ = true;
      answered_ = true;
      return;
    }
    ReadRequest();
  }

  // The client may still be sending (a body over the limit): a plain close
  // would reset the connection and lose the answer on its way.
  void CloseGently() {
    timer_ = loop_->After(absl::Seconds(2), [this] { Close(); });
    stream_.ShutdownSend([self = shared_from_this()] { self->Discard(); });
  }

  void Discard() {
    if (closed_) return;
    buffer_.clear();
    stream_.socket().async_read_some(
        buffer_.prepare(64u << 10),
        [self = shared_from_this()](ErrorCode error, size_t) {
          if (error) return self->Close();
          self->Discard();
        });
  }

  void Close() {
    if (std::exchange(closed_, true)) return;
    auto self = shared_from_this();
    timer_.Cancel();
    ErrorCode ignored;
    stream_.socket().close(ignored);
    if (on_closed_) PostClosed();
    if (owner_ != nullptr) owner_->Closed(self);
  }

  // Posted: whoever caused it may be in the middle of something.
  void PostClosed() {
    loop_->Post([fn = std::exchange(on_closed_, nullptr)] {
      if (fn) fn();
    });
  }

  EventLoop* loop_;
  pki::ServerStream stream_;
  Peer peer_;
  HttpLimits limits_;
  Owner* owner_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  Timer timer_;

  uint64_t exchange_ = 0;  // counts requests; an old responder is ignored
  bool keep_alive_ = true, head_ = false;
  bool answered_ = false, streaming_ = false, done_writing_ = false;
  bool watching_peer_ = false, wait_for_peer_ = false, closed_ = false;
  std::deque<Piece> queue_;
  std::vector<Piece> writing_;
  size_t queued_bytes_ = 0;
  std::function<void()> on_closed_, drained_;
  bool raw_ = false;  // after an upgrade
  Responder::OnData on_data_;
};

// The answer to one request of a session.
class SessionResponder : public Responder {
 public:
  SessionResponder(std::shared_ptr<Session> session, uint64_t exchange)
      : session_(std::move(session)), exchange_(exchange) {}

  void Send(kube::Response response) override {
    session_->SendWhole(exchange_, std::move(response));
  }
  void Begin(kube::Response head) override {
    session_->Begin(exchange_, std::move(head));
  }
  void Write(std::shared_ptr<const std::string> piece) override {
    session_->Write(exchange_, std::move(piece));
  }
  void End() override { session_->End(exchange_); }
  size_t queued_bytes() const override { return session_->queued_bytes(); }
  void Abort() override { session_->Abort(exchange_); }
  void OnClosed(std::function<void()> fn) override {
    session_->OnClosed(exchange_, std::move(fn));
  }
  bool Upgrade(std::string head, OnData on_data) override {
    return session_->Upgrade(exchange_, std::move(head), std::move(on_data));
  }
  void OnDrained(std::function<void()> fn) override {
    session_->OnDrained(exchange_, std::move(fn));
  }

 private:
  std::shared_ptr<Session> session_;
  uint64_t exchange_;
};

void Session::OnRequest() {
  timer_.Cancel();
  http::request<http::string_body> message = parser_->release();
  keep_alive_ = message.keep_alive() && message.version() == 11;
  kube::Request request;
  request.method = std::string(View(message.method_string()));
  request.target = std::string(View(message.target()));
  head_ = request.method == "HEAD";
  for (const auto& field : message) {
    request.headers.emplace_back(View(field.name_string()),
                                 View(field.value()));
  }
  request.body = std::move(message.body());
  if (owner_ == nullptr) return;
  owner_->Serve(std::move(request), peer_,
                std::make_shared<SessionResponder>(shared_from_this(),
                                                   exchange_));
}

}  // namespace

std::shared_ptr<HttpSession> MakeHttpSession(EventLoop* loop,
                                             tcp::socket socket,
                                             pki::TlsContext tls,
                                             const HttpLimits& limits,
                                             HttpSession::Owner* owner) {
  return std::make_shared<Session>(loop, std::move(socket), std::move(tls),
                                   limits, owner);
}

}  // namespace fairlead::api
