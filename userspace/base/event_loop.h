// SPDX-License-Identifier: Apache-2.0
// One thread that owns a program's mutable state.
//
// Threads: Post() and Stop() may be called from any thread; all else only on
// the loop's own thread (DCheckInLoop) or before Run(). A callback runs to its
// end before the next begins.
#ifndef FAIRLEAD_USERSPACE_BASE_EVENT_LOOP_H_
#define FAIRLEAD_USERSPACE_BASE_EVENT_LOOP_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"

namespace boost::asio {
class io_context;
}

namespace fairlead {

// Owns a pending callback: destroying or resetting it cancels. A callback may
// destroy its own Timer.
class Timer {
 public:
  Timer() = default;
  Timer(Timer&&) noexcept = default;
  Timer& operator=(Timer&&) noexcept = default;
  void Cancel() { state_.reset(); }
  bool pending() const;

 private:
  friend class EventLoop;
  struct State;
  explicit Timer(std::shared_ptr<State> state) : state_(std::move(state)) {}
  // Shared with the loop's queue, which must outlive a cancelled timer.
  std::shared_ptr<State> state_;
};

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Runs callbacks until Stop().
  void Run();
  // Makes Run() return after the current callback. Any thread.
  void Stop();
  // Runs `fn` on the loop, after what was posted before. Any thread.
  void Post(absl::AnyInvocable<void()> fn);
  // Runs `fn` once, not before `delay` has passed.
  [[nodiscard]] Timer After(absl::Duration delay, absl::AnyInvocable<void()> fn);

  // Calls `fn(signal number)` for each SIGTERM and SIGINT.
  void OnTermination(std::function<void(int)> fn);

  bool InLoop() const;
  void DCheckInLoop() const;

  // How long callbacks took and how late timers were; for /metrics.
  struct Stats {
    uint64_t callbacks = 0;
    absl::Duration busy;
    absl::Duration longest;
  };
  Stats stats() const;

  // For rooms that bring sockets of their own.
  boost::asio::io_context& io();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead

#endif  // FAIRLEAD_USERSPACE_BASE_EVENT_LOOP_H_
