// SPDX-License-Identifier: Apache-2.0
#include "userspace/base/event_loop.h"

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cassert>
#include <chrono>
#include <csignal>
#include <optional>
#include <thread>
#include <utility>

#include "absl/time/clock.h"

namespace fairlead {

namespace asio = boost::asio;

struct Timer::State {
  State(asio::io_context& io, absl::AnyInvocable<void()> f)
      : timer(io), fn(std::move(f)) {}
  asio::steady_timer timer;
  absl::AnyInvocable<void()> fn;
  bool fired = false;
};

bool Timer::pending() const { return state_ != nullptr && !state_->fired; }

struct EventLoop::Impl {
  asio::io_context io{1};
  std::atomic<std::thread::id> thread{};
  std::optional<asio::signal_set> signals;
  Stats stats;

  void Timed(absl::AnyInvocable<void()>& fn) {
    absl::Time start = absl::Now();
    fn();
    absl::Duration took = absl::Now() - start;
    ++stats.callbacks;
    stats.busy += took;
    stats.longest = std::max(stats.longest, took);
  }

  void WaitForSignal(std::function<void(int)> fn) {
    signals->async_wait([this, fn](const boost::system::error_code& error,
                                   int number) {
      if (error) return;
      fn(number);
      WaitForSignal(fn);
    });
  }
};

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {}
EventLoop::~EventLoop() = default;

void EventLoop::Run() {
  impl_->thread = std::this_thread::get_id();
  auto guard = asio::make_work_guard(impl_->io);
  impl_->io.restart();
  impl_->io.run();
  impl_->thread = std::thread::id();
}

void EventLoop::Stop() { impl_->io.stop(); }

void EventLoop::Post(absl::AnyInvocable<void()> fn) {
  // asio wants a copyable callable from a move-only one: hold it by pointer.
  auto held = std::make_shared<absl::AnyInvocable<void()>>(std::move(fn));
  asio::post(impl_->io, [impl = impl_.get(), held] { impl->Timed(*held); });
}

Timer EventLoop::After(absl::Duration delay, absl::AnyInvocable<void()> fn) {
  auto state = std::make_shared<Timer::State>(impl_->io, std::move(fn));
  state->timer.expires_after(absl::ToChronoNanoseconds(delay));
  std::weak_ptr<Timer::State> weak = state;
  state->timer.async_wait(
      [impl = impl_.get(), weak](const boost::system::error_code& error) {
        std::shared_ptr<Timer::State> alive = weak.lock();
        if (error || alive == nullptr || alive->fired) return;
        alive->fired = true;
        impl->Timed(alive->fn);
      });
  return Timer(std::move(state));
}

void EventLoop::OnTermination(std::function<void(int)> fn) {
  impl_->signals.emplace(impl_->io, SIGTERM, SIGINT);
  impl_->WaitForSignal(std::move(fn));
}

bool EventLoop::InLoop() const {
  std::thread::id thread = impl_->thread;
  return thread == std::thread::id() || thread == std::this_thread::get_id();
}

void EventLoop::DCheckInLoop() const { assert(InLoop()); }

EventLoop::Stats EventLoop::stats() const { return impl_->stats; }

asio::io_context& EventLoop::io() { return impl_->io; }

}  // namespace fairlead
