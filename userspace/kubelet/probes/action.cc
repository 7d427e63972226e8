// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/probes/action.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

#include "absl/strings/numbers.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/runtime/command.h"

namespace fairlead::kubelet {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Error = boost::system::error_code;

std::string HostPort(const std::string& host, Port port) {
  return host.find(':') == std::string::npos ? StrCat(host, ":", port)
                                             : StrCat("[", host, "]:", port);
}

std::string Lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// One TCP connection; for HTTP one request, of whose answer only the status
// line is read.
class NetworkCall : public ActionCall {
 public:
  NetworkCall(EventLoop* loop, const Action& action, const std::string& host,
              absl::Duration timeout, ActionDone done)
      : state_(std::make_shared<State>(loop)) {
    State& s = *state_;
    s.http = action.type == Action::Type::kHttpGet;
    s.done = std::move(done);
    s.peer = HostPort(host, action.port);
    s.url = StrCat("http://", s.peer, action.path);
    Error error;
    const auto address = asio::ip::make_address(host, error);
    if (action.port == 0 || error) {
      const std::string why =
          action.port == 0 ? "no such port in the container's ports"
                           : StrCat("not an IP address: ", host);
      loop->Post([state = state_, why] { state->Finish(false, why); });
      return;
    }
    if (s.http) s.request = FormatRequest(action, s.peer);
    s.timer = loop->After(timeout, [&s] {
      s.Finish(false, s.http ? StrCat("Get \"", s.url,
                                      "\": context deadline exceeded "
                                      "(Client.Timeout exceeded while "
                                      "awaiting headers)")
                             : StrCat("dial tcp ", s.peer, ": i/o timeout"));
    });
    s.socket.async_connect(
        tcp::endpoint(address, action.port),
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
      Finish(false, http ? StrCat("Get \"", url, "\": ", dial) : dial);
    }

    void OnConnect(Error e) {
      if (finished) return;
      if (e) return Fail("dial", e);
      if (!http) return Finish(true, "");
      asio::async_write(socket, asio::buffer(request),
                        [self = shared_from_this()](Error error, size_t) {
                          if (self->finished) return;
                          if (error) return self->Fail("write", error);
                          self->Read();
                        });
    }

    void Read() {
      socket.async_read_some(
          asio::buffer(chunk),
          [self = shared_from_this()](Error e, size_t n) {
            if (self->finished) return;
            self->answer.append(self->chunk.data(), n);
            if (self->answer.find("\r\n") != std::string::npos)
              return self->OnStatusLine();
            if (e) return self->Fail("read", e);
            if (self->answer.size() > 4096)
              return self->Finish(false, "malformed HTTP response");
            self->Read();
          });
    }

    void OnStatusLine() {
      int status = 0;
      if (!answer.starts_with("HTTP/1.") || answer.size() < 12 ||
          !absl::SimpleAtoi(answer.substr(9, 3), &status)) {
        return Finish(false, "malformed HTTP response");
      }
      if (status >= 200 && status < 400) return Finish(true, "");
      Finish(false, StrCat("HTTP probe failed with statuscode: ", status));
    }

    tcp::socket socket;
    bool http = false, finished = false;
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
                  agent ? "" : "User-Agent: kube-probe/1.32\r\n",
                  accept ? "" : "Accept: */*\r\n", extra,
                  "Connection: close\r\n\r\n");
  }

  // Shared with the socket's pending operations.
  std::shared_ptr<State> state_;
};

class ExecCall : public ActionCall {
 public:
  std::unique_ptr<Command> command;
};

// An outcome that needs no work, or only time.
class DelayedCall : public ActionCall {
 public:
  DelayedCall(EventLoop* loop, absl::Duration delay, ActionResult result,
              ActionDone done)
      : timer_(loop->After(delay, [result = std::move(result),
                                   done = std::move(done)] { done(result); })) {
  }

 private:
  Timer timer_;
};

std::unique_ptr<ActionCall> RunExec(EventLoop* loop, const Action& action,
                                    const ActionTarget& target,
                                    absl::Duration timeout, ActionDone done) {
  std::vector<std::string> words = target.enter;
  words.insert(words.end(), action.command.begin(), action.command.end());
  auto call = std::make_unique<ExecCall>();
  auto command = Command::Start(
      loop, words, timeout,
      [done, timeout](absl::StatusOr<CommandResult> result) {
        if (!result.ok()) {
          done({false, StrCat("command timed out after ",
                              absl::FormatDuration(timeout))});
          return;
        }
        done({result->exit_code == 0, std::move(result->output)});
      });
  if (!command.ok()) {
    return std::make_unique<DelayedCall>(
        loop, absl::ZeroDuration(),
        ActionResult{false, std::string(command.status().message())}, done);
  }
  call->command = *std::move(command);
  return call;
}

}  // namespace

std::unique_ptr<ActionCall> RunAction(EventLoop* loop, const Action& action,
                                      const ActionTarget& target,
                                      absl::Duration timeout,
                                      ActionDone done) {
  const std::string& host = action.host.empty() ? target.host : action.host;
  switch (action.type) {
    case Action::Type::kExec:
      return RunExec(loop, action, target, timeout, std::move(done));
    case Action::Type::kHttpGet:
    case Action::Type::kTcpSocket:
      if (action.https) break;
      return std::make_unique<NetworkCall>(loop, action, host, timeout,
                                           std::move(done));
    case Action::Type::kSleep:
      return std::make_unique<DelayedCall>(loop, action.sleep,
                                           ActionResult{true, ""},
                                           std::move(done));
    case Action::Type::kNone:
    case Action::Type::kUnsupported:
      break;
  }
  return std::make_unique<DelayedCall>(
      loop, absl::ZeroDuration(),
      ActionResult{false, StrCat(action.https ? "HTTPS" : action.unsupported,
                                 " probes aren't supported")},
      std::move(done));
}

}  // namespace fairlead::kubelet
