// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/server/log_session.h"

#include <utility>

namespace fairlead::kubelet {
namespace {

constexpr size_t kPiece = 256u << 10;
// How often a followed log is looked at when it is quiet.
constexpr absl::Duration kLook = absl::Milliseconds(100);

class LogSession : public std::enable_shared_from_this<LogSession> {
 public:
  LogSession(ConnectionRef connection, const std::string& path,
             const LogQuery& query, std::function<bool()> running)
      : connection_(std::move(connection)),
        reader_(path, query),
        running_(std::move(running)) {}

  void Start() {
    connection_->Begin("text/plain");
    // The head goes out even when there is nothing to say yet.
    connection_->Write("", [self = shared_from_this()](bool ok) {
      if (!ok) return self->End();
      self->connection_->OnGone([self] { self->End(); });
      self->Next();
    });
  }

 private:
  void Next() {
    if (ended_) return;
    // Asked before the last look: what was written by then is sent.
    const bool more = running_ != nullptr && running_();
    std::string piece = reader_.Read(kPiece);
    if (piece.empty()) {
      if (!more || reader_.limited()) return End();
      look_ = connection_->loop()->After(
          kLook, [self = shared_from_this()] { self->Next(); });
      return;
    }
    connection_->Write(std::move(piece), [self = shared_from_this()](bool ok) {
      ok ? self->Next() : self->End();
    });
  }

  void End() {
    if (std::exchange(ended_, true)) return;
    look_.Cancel();
    connection_->Close();
  }

  ConnectionRef connection_;
  LogReader reader_;
  std::function<bool()> running_;
  Timer look_;
  bool ended_ = false;
};

}  // namespace

void SendLog(const ConnectionRef& connection, const std::string& path,
             const LogQuery& query, std::function<bool()> running) {
  std::make_shared<LogSession>(connection, path, query, std::move(running))
      ->Start();
}

}  // namespace fairlead::kubelet
