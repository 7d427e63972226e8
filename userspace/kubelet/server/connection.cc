// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/server/connection.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "userspace/base/strings.h"

namespace fairlead::kubelet {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using ErrorCode = boost::system::error_code;

// Of the TLS handshake and the request's head.
constexpr absl::Duration kRequestLimit = absl::Seconds(30);
constexpr absl::Duration kCloseLimit = absl::Seconds(2);

int Digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

std::string Decode(std::string_view text, bool plus) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = i + 2 < text.size() ? Digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? Digit(text[i + 2]) : -1;
    if (text[i] == '%' && high >= 0 && low >= 0) {
      out += static_cast<char>(16 * high + low);
      i += 2;
    } else {
      out += plus && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

}  // namespace

std::string StreamRequest::Get(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) return value;
  }
  return "";
}

std::vector<std::string> StreamRequest::All(std::string_view name) const {
  std::vector<std::string> values;
  for (const auto& [key, value] : query) {
    if (key == name) values.push_back(value);
  }
  return values;
}

bool StreamRequest::Bool(std::string_view name) const {
  const std::string value = Get(name);
  return value == "1" || value == "true";
}

StreamRequest ParseTarget(std::string_view method, std::string_view target) {
  StreamRequest request;
  request.method = method;
  const size_t question = target.find('?');
  for (const auto& part : absl::StrSplit(Absl(target.substr(0, question)), '/',
                                         absl::SkipEmpty())) {
    request.path.push_back(Decode(Std(part), false));
  }
  if (question == target.npos) return request;
  for (const auto& pair : absl::StrSplit(Absl(target.substr(question + 1)),
                                         '&', absl::SkipEmpty())) {
    const size_t eq = pair.find('=');
    request.query.emplace_back(
        Decode(Std(pair.substr(0, eq)), true),
        eq == pair.npos ? "" : Decode(Std(pair.substr(eq + 1)), true));
  }
  return request;
}

void Connection::Start(Handler handler) {
  parser_.header_limit(64u << 10);
  limit_ = loop_->After(kRequestLimit, [this] { Drop(); });
  stream_->Handshake([self = shared_from_this(),
                      handler = std::move(handler)](ErrorCode error) mutable {
    error ? self->Drop() : self->ReadRequest(std::move(handler));
  });
}

void Connection::ReadRequest(Handler handler) {
  http::async_read_header(
      *stream_, buffer_, parser_,
      [self = shared_from_this(), handler = std::move(handler)](
          ErrorCode error, size_t) {
        self->limit_.Cancel();
        if (error) return self->Drop();
        self->message_ = self->parser_.get();
        const auto method = self->message_.method_string();
        const auto target = self->message_.target();
        handler(self, ParseTarget({method.data(), method.size()},
                                  {target.data(), target.size()}));
      });
}

void Connection::Reply(int status, std::string_view content_type,
                       std::string body) {
  const auto reason = http::obsolete_reason(static_cast<http::status>(status));
  head_ = StrCat("HTTP/1.1 ", status, " ",
                 std::string_view(reason.data(), reason.size()),
                 "\r\nContent-Type: ", content_type,
                 "\r\nConnection: close\r\nContent-Length: ", body.size(),
                 "\r\n\r\n");
  Write(std::exchange(head_, {}) + body,
        [self = shared_from_this()](bool) { self->Close(); });
}

void Connection::Begin(std::string_view content_type) {
  head_ = StrCat("HTTP/1.1 200 OK\r\nContent-Type: ", content_type,
                 "\r\nConnection: close\r\n\r\n");
}

void Connection::Write(std::string piece, std::function<void(bool)> done) {
  auto text = std::make_shared<std::string>(std::exchange(head_, {}) + piece);
  asio::async_write(*stream_, asio::buffer(*text),
                    [self = shared_from_this(), text, done = std::move(done)](
                        ErrorCode error, size_t) { done(!error); });
}

void Connection::OnGone(std::function<void()> fn) {
  stream_->async_read_some(
      asio::buffer(&byte_, 1),
      [self = shared_from_this(), fn = std::move(fn)](ErrorCode error, size_t) {
        if (error && error != asio::error::operation_aborted) fn();
      });
}

void Connection::Close() {
  if (std::exchange(closed_, true)) return;
  if (!stream_->secure()) return Drop();
  limit_ = loop_->After(kCloseLimit, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->Drop();
  });
  stream_->ShutdownSend([self = shared_from_this()] { self->Drop(); });
}

void Connection::Drop() {
  closed_ = true;
  limit_.Cancel();
  ErrorCode ignored;
  stream_->socket().shutdown(Socket::shutdown_both, ignored);
  stream_->socket().close(ignored);
}

}  // namespace fairlead::kubelet
