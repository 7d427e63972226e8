// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/probes/network_call.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <optional>

#include "absl/strings/numbers.h"
#include "userspace/base/strings.h"

namespace fairlead::kubelet {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Error = boost::system::error_code;

std::string Lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// One for all calls: it holds nothing but what is never asked.
asio::ssl::context* TlsOfProbes() {
  static auto* const context = [] {
    auto* made = new asio::ssl::context(asio::ssl::context::tls_client);
    made->set_verify_mode(asio::ssl::verify_none);
    return made;
  }();
  return context;
}

bool IsPlainAnswer(const Error& e) {
  return e.category() == asio::error::get_ssl_category() &&
         ERR_GET_REASON(static_cast<unsigned long>(e.value())) ==
             SSL_R_WRONG_VERSION_NUMBER;
}

class NetworkCall : public ActionCall {
 public:
  NetworkCall(EventLoop* loop, const Action& action, const std::string& host,
              absl::Duration timeout, ActionDone done)
      : state_(std::make_shared<State>(loop)) {
    State& s = *state_;
    s.http = action.type == Action::Type::kHttpGet;
    s.hook = action.hook;
    s.done = std::move(done);
    s.peer = HostPort(host, action.port);
    s.url = StrCat(action.https ? "https://" : "http://", s.peer, action.path);
    if (action.https) s.tls.emplace(s.socket, *TlsOfProbes());
    if (s.http) s.request = FormatRequest(action, s.peer);
    s.timer = loop->After(timeout, [&s] {
      s.Finish(false, s.http ? StrCat("Get \"", s.url,
                                      "\": context deadline exceeded "
                                      "(Client.Timeout exceeded while "
                                      "awaiting headers)")
                             : StrCat("dial tcp ", s.peer, ": i/o timeout"));
    });
    s.socket.async_connect(
        tcp::endpoint(asio::ip::make_address(host), action.port),
        [state = state_](Error e) { state->OnConnect(e); });
  }
  ~NetworkCall() override { state_->Cancel(); }

 private:
  struct State : std::enable_shared_from_this<State> {
    explicit State(EventLoop* loop) : socket(loop->io()) {}

    void Cancel() {
      finished = true;
      timer.Cancel();
      Error ignored;
      socket.close(ignored);
    }

    void Finish(bool success, std::string message) {
      if (finished) return;
      const auto keep = shared_from_this();
      Cancel();
      const ActionDone fn = std::move(done);
      fn({success, std::move(message)});
    }

    void Fail(const char* operation, const Error& e) {
      // strerror's text, as Go's client has it: "connection refused".
      const std::string text = Lower(e.message());
      const std::string dial =
          StrCat(operation, " tcp ", peer, ": ",
                 std::string_view(operation) == "dial" ? "connect: " : "",
                 text);
      FailWith(dial);
    }

    void FailWith(const std::string& why) {
      Finish(false, http ? StrCat("Get \"", url, "\": ", why) : why);
    }

    void OnConnect(Error e) {
      if (finished) return;
      if (e) return Fail("dial", e);
      if (!http) return Finish(true, "");
      if (!tls) return Write(&socket);
      tls->async_handshake(asio::ssl::stream_base::client,
                           [self = shared_from_this()](Error error) {
                             if (self->finished) return;
                             if (error) return self->FailTls(error);
                             self->Write(&*self->tls);
                           });
    }

    void FailTls(const Error& e) {
      if (IsPlainAnswer(e))
        return FailWith("http: server gave HTTP response to HTTPS client");
      if (e == asio::error::eof || e == asio::ssl::error::stream_truncated)
        return FailWith("EOF");
      FailWith(StrCat("tls: ", Lower(e.message())));
    }

    template <typename Stream>
    void Write(Stream* stream) {
      asio::async_write(
          *stream, asio::buffer(request),
          [self = shared_from_this(), stream](Error error, size_t) {
            if (self->finished) return;
            if (error) return self->Fail("write", error);
            self->Read(stream);
          });
    }

    template <typename Stream>
    void Read(Stream* stream) {
      stream->async_read_some(
          asio::buffer(chunk),
          [self = shared_from_this(), stream](Error e, size_t n) {
            if (self->finished) return;
            self->answer.append(self->chunk.data(), n);
            if (self->answer.find("\r\n") != std::string::npos)
              return self->OnStatusLine();
            if (e) return self->Fail("read", e);
            if (self->answer.size() > 4096)
              return self->Finish(false, "malformed HTTP response");
            self->Read(stream);
          });
    }

    void OnStatusLine() {
      int status = 0;
      if (!answer.starts_with("HTTP/1.") || answer.size() < 12 ||
          !absl::SimpleAtoi(answer.substr(9, 3), &status)) {
        return Finish(false, "malformed HTTP response");
      }
      if (hook || (status >= 200 && status < 400)) return Finish(true, "");
      Finish(false, StrCat("HTTP probe failed with statuscode: ", status));
    }

    tcp::socket socket;
    std::optional<asio::ssl::stream<tcp::socket&>> tls;
    bool http = false, hook = false, finished = false;
    std::string peer, url, request, answer;
    std::array<char, 1024> chunk;
    ActionDone done;
    Timer timer;
  };

  static std::string FormatRequest(const Action& action,
                                   const std::string& peer) {
    std::string host = peer, extra;
    bool agent = false, accept = false;
    for (const auto& [name, value] : action.headers) {
      const std::string lower = Lower(name);
      if (lower == "host") {
        host = value;
        continue;
      }
      agent = agent || lower == "user-agent";
      accept = accept || lower == "accept";
      StrAppend(&extra, name, ": ", value, "\r\n");
    }
    return StrCat("GET ", action.path, " HTTP/1.1\r\nHost: ", host, "\r\n",
                  agent ? "" : StrCat("User-Agent: ",
                                      action.hook ? kHookUserAgent
                                                  : kProbeUserAgent,
                                      "\r\n"),
                  accept ? "" : "Accept: */*\r\n", extra,
                  "Connection: close\r\n\r\n");
  }

  // Shared with the socket's pending operations.
  std::shared_ptr<State> state_;
};

}  // namespace

std::string HostPort(const std::string& host, Port port) {
  return host.find(':') == std::string::npos ? StrCat(host, ":", port)
                                             : StrCat("[", host, "]:", port);
}

std::unique_ptr<ActionCall> RunNetworkCall(EventLoop* loop,
                                           const Action& action,
                                           const std::string& host,
                                           absl::Duration timeout,
                                           ActionDone done) {
  return std::make_unique<NetworkCall>(loop, action, host, timeout,
                                       std::move(done));
}

}  // namespace fairlead::kubelet
