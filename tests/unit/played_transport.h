// SPDX-License-Identifier: Apache-2.0
// A transport that plays answers, one for each request in order.
#ifndef FAIRLEAD_TESTS_UNIT_PLAYED_TRANSPORT_H_
#define FAIRLEAD_TESTS_UNIT_PLAYED_TRANSPORT_H_

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/transport.h"

namespace fairlead::kube {

// What the server does with one request.
struct Answer {
  int status = 200;
  std::string body;
  bool no_server = false;  // connection refused
  bool hang = false;       // a stream that stays open after `body`
  size_t piece = 1 << 20;  // bytes per chunk
  Headers headers;
};

class PlayedTransport : public Transport {
 public:
  explicit PlayedTransport(EventLoop* loop) : loop_(loop) {}

  std::deque<Answer> answers;
  std::vector<Request> requests;
  int cancelled = 0;
  // Runs when a request finds no answer left.
  std::function<void()> on_exhausted;

  std::unique_ptr<Call> Do(
      Request request,
      std::function<void(absl::StatusOr<Response>)> done) override {
    return Play(std::move(request), [done](const Answer& a, auto&&) {
      if (a.no_server) return done(absl::UnavailableError("refused"));
      done(Response{a.status, a.headers, a.body});
    });
  }

  std::unique_ptr<Call> Stream(Request request,
                               StreamCallbacks callbacks) override {
    return Play(std::move(request), [callbacks](const Answer& a, auto alive) {
      if (a.no_server) return callbacks.on_end(absl::UnavailableError("gone"));
      callbacks.on_head(Response{a.status, a.headers, ""});
      for (size_t i = 0; i < a.body.size() && alive(); i += a.piece) {
        callbacks.on_chunk(std::string_view(a.body).substr(i, a.piece));
      }
      if (alive() && !a.hang) callbacks.on_end(absl::OkStatus());
    });
  }

 private:
  struct PlayedCall : Call {
    std::shared_ptr<bool> alive = std::make_shared<bool>(true);
    int* cancelled;
    ~PlayedCall() override {
      *alive = false;
      ++*cancelled;
    }
  };

  template <typename Fn>
  std::unique_ptr<Call> Play(Request request, Fn fn) {
    auto call = std::make_unique<PlayedCall>();
    call->cancelled = &cancelled;
    requests.push_back(std::move(request));
    if (answers.empty()) {
      if (on_exhausted) on_exhausted();
      return call;  // silence
    }
    Answer answer = std::move(answers.front());
    answers.pop_front();
    loop_->Post([answer = std::move(answer), alive = call->alive, fn] {
      if (*alive) fn(answer, [alive] { return *alive; });
    });
    return call;
  }

  EventLoop* loop_;
};

}  // namespace fairlead::kube

#endif  // FAIRLEAD_TESTS_UNIT_PLAYED_TRANSPORT_H_
