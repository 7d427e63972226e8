// SPDX-License-Identifier: Apache-2.0
#include "control/api/kubelet_fetch.h"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <utility>

#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using ErrorCode = boost::system::error_code;

class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  using Done = std::function<void(absl::StatusOr<std::string>)>;

  Exchange(EventLoop* loop, const KubeletFetch& what,
           const std::shared_ptr<kube::TlsSettings>& tls, Done done)
      : loop_(loop),
        done_(std::move(done)),
        stream_(kube::MakeByteStream(loop->io(), tls, what.address.host)) {
    request_ = StrCat("GET ", what.path, " HTTP/1.1\r\nHost: ",
                      what.address.HostPort(),
                      "\r\nAccept: application/json\r\n"
                      "Connection: close\r\n\r\n");
    parser_.body_limit(what.max_bytes);
    parser_.eager(true);
  }

  void Start(const KubeletFetch& what) {
    const auto endpoint =
        OpenKubeletSocket(what.address, what.netns, &stream_->socket());
    if (!endpoint.ok()) {
      // Not from inside the call.
      return loop_->Post([self = shared_from_this(),
                          status = endpoint.status()] { self->End(status); });
    }
    limit_ = loop_->After(what.limit, [weak = weak_from_this()] {
      if (auto self = weak.lock())
        self->End(absl::DeadlineExceededError("no answer in time"));
    });
    stream_->socket().async_connect(
        *endpoint, [self = shared_from_this()](ErrorCode error) {
          if (error) return self->End(absl::UnavailableError(error.message()));
          self->stream_->Handshake([self](absl::Status status) {
            status.ok() ? self->Ask() : self->End(status);
          });
        });
  }

 private:
  void Ask() {
    if (done_ == nullptr) return;
    stream_->Write(asio::buffer(request_),
                   [self = shared_from_this()](ErrorCode error, size_t) {
                     if (error) {
                       return self->End(
                           absl::UnavailableError(error.message()));
                     }
                     self->Read();
                   });
  }

  void Read() {
    if (done_ == nullptr) return;
    stream_->Read(asio::buffer(chunk_),
                  [self = shared_from_this()](ErrorCode error, size_t n) {
                    self->OnRead(error, n);
                  });
  }

  void OnRead(ErrorCode error, size_t n) {
    unread_.append(chunk_.data(), n);
    ErrorCode parsed;
    if (error) parser_.put_eof(parsed);
    while (!error && !parsed && !unread_.empty() && !parser_.is_done()) {
      const size_t used = parser_.put(asio::buffer(unread_), parsed);
      unread_.erase(0, used);
      if (used == 0 && !parsed) break;
    }
    if (parsed && parsed != http::error::need_more)
      return End(absl::DataLossError(parsed.message()));
    if (!parser_.is_done()) {
      if (!error) return Read();
      return End(absl::UnavailableError(error.message()));
    }
    const auto status = parser_.get().result_int();
    if (status != 200)
      return End(absl::UnavailableError(StrCat("status ", status)));
    End(std::move(parser_.get().body()));
  }

  void End(absl::StatusOr<std::string> result) {
    if (done_ == nullptr) return;
    limit_.Cancel();
    ErrorCode ignored;
    stream_->socket().close(ignored);
    std::exchange(done_, nullptr)(std::move(result));
  }

  EventLoop* loop_;
  Done done_;
  std::unique_ptr<kube::ByteStream> stream_;
  std::string request_, unread_;
  http::response_parser<http::string_body> parser_;
  Timer limit_;
  std::array<char, 64u << 10> chunk_;
};

}  // namespace

void Fetch(EventLoop* loop, const KubeletFetch& what,
           const std::shared_ptr<kube::TlsSettings>& tls,
           std::function<void(absl::StatusOr<std::string>)> done) {
  std::make_shared<Exchange>(loop, what, tls, std::move(done))->Start(what);
}

}  // namespace fairlead::api
