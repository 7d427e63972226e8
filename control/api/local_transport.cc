// SPDX-License-Identifier: Apache-2.0
#include "control/api/local_transport.h"

#include <deque>
#include <utility>
#include <variant>

namespace fairlead::api {
namespace {

// One request and its answer. Everything that the server says is put into a
// queue, which a posted callback empties: so that the caller is never called
// from inside its own call, and a burst of events costs one callback.
class Exchange : public Responder,
                 public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(EventLoop* loop,
           std::function<void(absl::StatusOr<kube::Response>)> done)
      : loop_(loop), done_(std::move(done)) {}
  Exchange(EventLoop* loop, kube::StreamCallbacks callbacks)
      : loop_(loop),
        stream_(std::move(callbacks)),
        takes_objects_(stream_.on_object != nullptr) {}

  void Send(kube::Response response) override {
    Push(Whole{std::move(response)});
  }
  void Begin(kube::Response head) override { Push(Head{std::move(head)}); }
  void Write(std::shared_ptr<const std::string> piece) override {
    if (cancelled_) return;
    queued_ += piece->size();
    Push(Piece{std::move(piece)});
  }
  bool TakesObjects() const override { return takes_objects_; }
  void WriteObject(std::shared_ptr<const kube::WatchedObject> object) override {
    if (cancelled_) return;
    queued_ += object->text.size();
    Push(std::move(object));
  }
  void End() override {
    on_closed_ = nullptr;
    Push(Ended{absl::OkStatus()});
  }
  size_t queued_bytes() const override { return queued_; }
  void Abort() override {
    on_closed_ = nullptr;
    Push(Ended{absl::UnavailableError("the API server cut the connection")});
  }
  void OnClosed(std::function<void()> fn) override {
    on_closed_ = std::move(fn);
    if (cancelled_) ScheduleClosed();
  }

  void Cancel() {
    cancelled_ = true;
    queue_.clear();
    done_ = nullptr;
    stream_ = {};
    ScheduleClosed();
  }

 private:
  struct Whole {
    kube::Response response;
  };
  struct Head {
    kube::Response head;
  };
  struct Piece {
    std::shared_ptr<const std::string> text;
  };
  struct Ended {
    absl::Status status;
  };
  using ObjectRef = std::shared_ptr<const kube::WatchedObject>;
  using Item = std::variant<Whole, Head, Piece, ObjectRef, Ended>;

  // Posted: the canceller may be running inside one of our callbacks.
  void ScheduleClosed() {
    if (!on_closed_) return;
    loop_->Post([self = shared_from_this()] {
      if (auto fn = std::exchange(self->on_closed_, nullptr)) fn();
    });
  }

  void Push(Item item) {
    if (cancelled_) return;
    queue_.push_back(std::move(item));
    if (std::exchange(scheduled_, true)) return;
    loop_->Post([self = shared_from_this()] { self->Drain(); });
  }

  void Drain() {
    scheduled_ = false;
    while (!queue_.empty() && !cancelled_) {
      Item item = std::move(queue_.front());
      queue_.pop_front();
      std::visit([this](auto& i) { Deliver(i); }, item);
    }
  }

  // A callback may cancel, which clears the members: call copies.
  void Deliver(Whole& whole) {
    if (done_) {
      auto done = std::exchange(done_, nullptr);
      return done(std::move(whole.response));
    }
    kube::Response head = whole.response;
    head.body.clear();
    if (auto fn = stream_.on_head) fn(head);
    if (cancelled_) return;
    if (!whole.response.body.empty()) {
      if (auto fn = stream_.on_chunk) fn(whole.response.body);
    }
    if (cancelled_) return;
    Ended ended{absl::OkStatus()};
    Deliver(ended);
  }
  void Deliver(Head& head) {
    if (done_) {
      collected_ = std::move(head.head);
    } else if (auto fn = stream_.on_head) {
      fn(head.head);
    }
  }
  void Deliver(Piece& piece) {
    queued_ -= piece.text->size();
    if (done_) {
      collected_.body += *piece.text;
    } else if (auto fn = stream_.on_chunk) {
      fn(*piece.text);
    }
  }
  void Deliver(ObjectRef& object) {
    queued_ -= object->text.size();
    if (auto fn = stream_.on_object) fn(*object);
  }
  void Deliver(Ended& ended) {
    if (done_) {
      auto done = std::exchange(done_, nullptr);
      if (ended.status.ok()) return done(std::move(collected_));
      return done(ended.status);
    }
    if (auto fn = std::exchange(stream_.on_end, nullptr)) fn(ended.status);
  }

  EventLoop* loop_;
  std::function<void(absl::StatusOr<kube::Response>)> done_;
  kube::StreamCallbacks stream_;
  const bool takes_objects_ = false;
  std::function<void()> on_closed_;
  kube::Response collected_;
  std::deque<Item> queue_;
  size_t queued_ = 0;
  bool scheduled_ = false, cancelled_ = false;
};

class LocalCall : public kube::Call {
 public:
  explicit LocalCall(std::shared_ptr<Exchange> exchange)
      : exchange_(std::move(exchange)) {}
  ~LocalCall() override { exchange_->Cancel(); }

 private:
  std::shared_ptr<Exchange> exchange_;
};

class LocalTransport : public kube::Transport {
 public:
  LocalTransport(EventLoop* loop, RequestFunction serve)
      : loop_(loop), serve_(std::move(serve)) {}

  std::unique_ptr<kube::Call> Do(
      kube::Request request,
      std::function<void(absl::StatusOr<kube::Response>)> done) override {
    return Serve(std::move(request),
                 std::make_shared<Exchange>(loop_, std::move(done)));
  }
  std::unique_ptr<kube::Call> Stream(kube::Request request,
                                     kube::StreamCallbacks callbacks) override {
    return Serve(std::move(request),
                 std::make_shared<Exchange>(loop_, std::move(callbacks)));
  }

 private:
  std::unique_ptr<kube::Call> Serve(kube::Request request,
                                    std::shared_ptr<Exchange> exchange) {
    serve_(std::move(request), exchange);
    return std::make_unique<LocalCall>(std::move(exchange));
  }

  EventLoop* loop_;
  RequestFunction serve_;
};

}  // namespace

std::unique_ptr<kube::Transport> MakeLocalTransport(EventLoop* loop,
                                                    RequestFunction serve) {
  return std::make_unique<LocalTransport>(loop, std::move(serve));
}

}  // namespace fairlead::api
