// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/server/exec_session.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>
#include <cerrno>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"
#include "userspace/kubelet/runtime/fd_watch.h"
#include "userspace/kubelet/runtime/spawn.h"
#include "userspace/pki/tls_websocket.h"

namespace fairlead::kubelet {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = boost::beast::websocket;
using ErrorCode = boost::system::error_code;
using Descriptor = asio::posix::stream_descriptor;

enum Channel : char { kStdin = 0, kStdout, kStderr, kError, kResize };
constexpr unsigned char kCloseChannel = 255;
constexpr size_t kChunk = 32u << 10;
constexpr size_t kMaxMessage = 4u << 20;
// Input that the command has not read yet; the client waits beyond that.
constexpr size_t kMaxInput = 1u << 20;

// The best of what the client offers that we speak; "" if there is none.
std::string ChooseProtocol(std::string_view offered) {
  std::string best;
  for (const auto& word : absl::StrSplit(Absl(offered), ',')) {
    const std::string name(absl::StripAsciiWhitespace(word));
    if (name == "v5.channel.k8s.io") return name;
    if (name == "v4.channel.k8s.io") best = name;
  }
  return best;
}

std::string ExitStatus(int wait_status) {
  const int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status)
                                          : 128 + WTERMSIG(wait_status);
  Json status = {{"metadata", Json::object()}, {"status", "Success"}};
  if (code != 0) {
    status = {
        {"metadata", Json::object()},
        {"status", "Failure"},
        {"message",
         StrCat("command terminated with non-zero exit code: exit code ",
                code)},
        {"reason", "NonZeroExitCode"},
        {"details",
         {{"causes", Json::array({{{"reason", "ExitCode"},
                                   {"message", StrCat(code)}}})}}}};
  }
  return status.dump();
}

// The command's ends of its streams, and ours.
struct Streams {
  UniqueFd in, out, err;                     // ours; with a terminal only `in`
  UniqueFd child_in, child_out, child_err;
};

absl::Status MakePipe(bool wanted, bool to_child, UniqueFd* ours,
                      UniqueFd* theirs) {
  if (!wanted) {
    *theirs = UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC));
    return absl::OkStatus();
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  *ours = UniqueFd(ends[to_child ? 1 : 0]);
  *theirs = UniqueFd(ends[to_child ? 0 : 1]);
  return absl::OkStatus();
}

absl::StatusOr<Streams> OpenStreams(const ExecOptions& options) {
  Streams s;
  if (!options.tty) {
    FL_RETURN_IF_ERROR(MakePipe(options.in, true, &s.in, &s.child_in));
    FL_RETURN_IF_ERROR(MakePipe(options.out, false, &s.out, &s.child_out));
    FL_RETURN_IF_ERROR(MakePipe(options.err, false, &s.err, &s.child_err));
    return s;
  }
  int master = -1, slave = -1;
  if (openpty(&master, &slave, nullptr, nullptr, nullptr) != 0)
    return ErrnoStatus(errno, "open a terminal");
  fcntl(master, F_SETFD, FD_CLOEXEC);
  fcntl(slave, F_SETFD, FD_CLOEXEC);
  s.in = UniqueFd(master);
  s.out = UniqueFd(fcntl(master, F_DUPFD_CLOEXEC, 0));
  s.child_in = UniqueFd(slave);
  s.child_out = UniqueFd(fcntl(slave, F_DUPFD_CLOEXEC, 0));
  s.child_err = UniqueFd(fcntl(slave, F_DUPFD_CLOEXEC, 0));
  return s;
}

class ExecSession : public std::enable_shared_from_this<ExecSession> {
 public:
  ExecSession(const ConnectionRef& connection, ExecOptions options,
              std::string protocol)
      : loop_(connection->loop()),
        message_(connection->message()),
        stream_(connection->TakeStream()),
        socket_(*stream_),
        options_(std::move(options)),
        protocol_(std::move(protocol)) {
    socket_.read_message_max(kMaxMessage);
  }

  ~ExecSession() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  void Start() {
    socket_.set_option(websocket::stream_base::decorator(
        [protocol = protocol_](websocket::response_type& response) {
          response.set(beast::http::field::sec_websocket_protocol, protocol);
        }));
    socket_.binary(true);
    socket_.async_accept(message_, [self = shared_from_this()](ErrorCode e) {
      if (!e) self->OnAccepted();
    });
  }

 private:
  void OnAccepted() {
    if (const absl::Status status = Run(); !status.ok()) {
      Send(kError, Json({{"metadata", Json::object()},
                         {"status", "Failure"},
                         {"reason", "InternalError"},
                         {"message", StrCat("Internal error occurred: ",
                                            Std(status.message()))}})
                       .dump());
      ending_ = true;
    }
    ReadSocket();
  }

  absl::Status Run() {
    FL_ASSIGN_OR_RETURN(Streams streams, OpenStreams(options_));
    terminal_ = options_.tty ? streams.in.get() : -1;
    FL_ASSIGN_OR_RETURN(pid_, Spawn(options_.words, {{streams.child_in.get(), 0},
                                                {streams.child_out.get(), 1},
                                                {streams.child_err.get(), 2}}));
    UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
    if (!process.valid()) return ErrnoStatus(errno, "watch the command");
    Open(std::move(streams.in), &in_);
    Open(std::move(streams.out), &out_[0]);
    Open(std::move(streams.err), &out_[1]);
    process_ = std::make_unique<FdWatch>(
        loop_, std::move(process),
        [weak = weak_from_this()] {
          if (auto self = weak.lock()) self->OnExit();
        });
    ReadOutput(0);
    ReadOutput(1);
    return absl::OkStatus();
  }

  void Open(UniqueFd fd, std::optional<Descriptor>* descriptor) {
    if (!fd.valid()) return;
    descriptor->emplace(loop_->io(), fd.release());
    (*descriptor)->non_blocking(true);
  }

  void ReadOutput(int which) {
    if (!out_[which]) return;
    out_[which]->async_read_some(
        asio::buffer(chunk_[which]),
        [self = shared_from_this(), which](ErrorCode error, size_t n) {
          if (error) {
            self->out_[which].reset();
            self->FinishIfDone();
            return;
          }
          self->Send(which == 0 ? kStdout : kStderr,
                     std::string_view(self->chunk_[which].data(), n), which);
        });
  }

  // `source`: the stream that goes on once this has been sent.
  void Send(Channel channel, std::string_view text, int source = -1) {
    queue_.push_back({StrCat(std::string_view(&kNumbers[channel], 1), text),
                      source});
    if (queue_.size() == 1) WriteSocket();
  }

  void WriteSocket() {
    socket_.async_write(
        asio::buffer(queue_.front().text),
        [self = shared_from_this()](ErrorCode error, size_t) {
          if (error) return self->Abandon();
          const int source = self->queue_.front().source;
          self->queue_.pop_front();
          if (source >= 0) self->ReadOutput(source);
          if (!self->queue_.empty()) return self->WriteSocket();
          if (self->ending_) self->CloseSocket();
        });
  }

  void OnExit() {
    if (pid_ <= 0) return;
    waitpid(pid_, &exit_status_, 0);
    pid_ = 0;
    process_.reset();
    // A grandchild may hold the streams open: what comes within a moment is
    // still sent, and no more.
    drain_ = loop_->After(absl::Milliseconds(200), [this] {
      for (auto& out : out_) {
        ErrorCode ignored;
        if (out) out->cancel(ignored);
      }
    });
    FinishIfDone();
  }

  void FinishIfDone() {
    if (pid_ != 0 || out_[0] || out_[1] || ending_) return;
    ending_ = true;
    Send(kError, ExitStatus(exit_status_));
  }

  void CloseSocket() {
    socket_.async_close(websocket::close_code::normal,
                        [self = shared_from_this()](ErrorCode) {
                          self->Abandon();
                        });
  }

  void ReadSocket() {
    if (gone_ || input_bytes_ > kMaxInput) return;
    reading_ = true;
    socket_.async_read(buffer_,
                       [self = shared_from_this()](ErrorCode error, size_t) {
                         self->reading_ = false;
                         if (error) return self->Abandon();
                         self->OnMessage(beast::buffers_to_string(
                             self->buffer_.data()));
                         self->buffer_.clear();
                         self->ReadSocket();
                       });
  }

  void OnMessage(const std::string& message) {
    if (message.empty()) return;
    const auto channel = static_cast<unsigned char>(message[0]);
    if (channel == kCloseChannel) {
      if (message.size() > 1 && message[1] == kStdin) CloseInput();
    } else if (channel == kStdin && in_) {
      if (message.size() > 1) AddInput(message.substr(1));
    } else if (channel == kResize && terminal_ >= 0 && in_) {
      const Json size = Json::parse(message.substr(1), nullptr, false);
      winsize window{};
      window.ws_col = static_cast<uint16_t>(IntAt(size, {"Width"}));
      window.ws_row = static_cast<uint16_t>(IntAt(size, {"Height"}));
      ioctl(terminal_, TIOCSWINSZ, &window);
    }
  }

  void AddInput(std::string text) {
    input_bytes_ += text.size();
    input_.push_back(std::move(text));
    if (input_.size() == 1) WriteInput();
  }

  void WriteInput() {
    asio::async_write(*in_, asio::buffer(input_.front()),
                      [self = shared_from_this()](ErrorCode error, size_t) {
                        self->OnInputWritten(error);
                      });
  }

  void OnInputWritten(ErrorCode error) {
    if (error) {
      // The command reads no more; what comes is thrown away.
      input_.clear();
      input_bytes_ = 0;
      in_.reset();
    } else {
      input_bytes_ -= input_.front().size();
      input_.pop_front();
      if (!input_.empty()) {
        WriteInput();
      } else if (close_input_) {
        in_.reset();
      }
    }
    if (!reading_) ReadSocket();
  }

  // After what was sent before. A terminal has no half that could be closed.
  void CloseInput() {
    if (!in_) return;
    if (terminal_ >= 0) return AddInput("\x04");
    close_input_ = true;
    if (input_.empty()) in_.reset();
  }

  // The connection is over: so is the command.
  void Abandon() {
    if (std::exchange(gone_, true)) return;
    ending_ = true;
    if (pid_ > 0) kill(pid_, SIGKILL);
    ErrorCode ignored;
    for (auto* descriptor : {&in_, &out_[0], &out_[1]}) {
      if (*descriptor) (*descriptor)->cancel(ignored);
    }
    stream_->socket().close(ignored);
  }

  struct Outgoing {
    std::string text;
    int source;
  };
  static constexpr char kNumbers[] = {0, 1, 2, 3, 4};

  EventLoop* loop_;
  Connection::Message message_;
  Connection::Stream stream_;
  websocket::stream<pki::ServerStream&> socket_;
  ExecOptions options_;
  std::string protocol_;
  beast::flat_buffer buffer_;
  std::deque<Outgoing> queue_;
  std::deque<std::string> input_;
  size_t input_bytes_ = 0;
  std::optional<Descriptor> in_, out_[2];
  std::array<char, kChunk> chunk_[2];
  std::unique_ptr<FdWatch> process_;
  Timer drain_;
  pid_t pid_ = 0;
  int terminal_ = -1, exit_status_ = 0;
  bool reading_ = false, close_input_ = false, ending_ = false, gone_ = false;
};

}  // namespace

void StartExec(const ConnectionRef& connection, ExecOptions options) {
  const Connection::Message& message = connection->message();
  if (!websocket::is_upgrade(message)) {
    connection->Reply(400, "text/plain",
                      "unable to upgrade: only WebSocket is spoken here");
    return;
  }
  const auto offered = message[beast::http::field::sec_websocket_protocol];
  std::string protocol = ChooseProtocol({offered.data(), offered.size()});
  if (protocol.empty()) {
    connection->Reply(400, "text/plain",
                      "unable to upgrade: none of v5.channel.k8s.io and "
                      "v4.channel.k8s.io is offered");
    return;
  }
  std::make_shared<ExecSession>(connection, std::move(options),
                                std::move(protocol))
      ->Start();
}

}  // namespace fairlead::kubelet
