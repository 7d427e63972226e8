// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/work_queue.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "userspace/base/clock.h"

namespace fairlead::kube {
namespace {

constexpr absl::Duration kFirstRetry = absl::Milliseconds(20);
constexpr absl::Duration kLastRetry = absl::Seconds(60);

// What a loop's queues may use of its time while it has other things to do:
// three parts to ten of the others', and more as keys pile up, so that what
// waits stays bounded. An idle loop is all theirs.
constexpr double kShare = 0.3;
constexpr double kFewKeys = 1000;  // that many times more, that many shares
constexpr absl::Duration kMinTurn = absl::Microseconds(200);
constexpr absl::Duration kMaxTurn = absl::Milliseconds(5);

absl::Duration Now() { return Clock::Real().Monotonic(); }

// The queues of one loop that have something to start, in turns.
class Turns : public std::enable_shared_from_this<Turns> {
 public:
  explicit Turns(EventLoop* loop) : loop_(loop) {}

  // The same for all queues of the loop, as long as there are any.
  static std::shared_ptr<Turns> Of(EventLoop* loop) {
    static thread_local absl::flat_hash_map<EventLoop*, std::weak_ptr<Turns>>
        all;
    std::shared_ptr<Turns> turns = all[loop].lock();
    if (turns == nullptr) {
      turns = std::make_shared<Turns>(loop);
      all[loop] = turns;
    }
    return turns;
  }

  // `start` starts one key.
  void Add(std::function<void()> start) {
    starts_.push_back(std::move(start));
    Schedule();
  }

  // How many keys wait in the queues.
  void Wait(int64_t keys) { waiting_ += keys; }

 private:
  void Schedule() {
    if (std::exchange(scheduled_, true)) return;
    loop_->Post([self = shared_from_this()] {
      self->scheduled_ = false;
      self->Run();
    });
  }

  // Posted again after each turn: what the loop has to do otherwise comes first.
  void Run() {
    const absl::Duration began = Now();
    const double share =
        kShare * std::max(1.0, static_cast<double>(waiting_) / kFewKeys);
    const absl::Duration end =
        began + std::clamp((began - ended_) * share, kMinTurn, kMaxTurn);
    while (!starts_.empty()) {
      std::function<void()> start = std::move(starts_.front());
      starts_.pop_front();
      start();
      ended_ = Now();
      if (ended_ >= end) break;
    }
    if (!starts_.empty()) Schedule();
  }

  EventLoop* loop_;
  std::deque<std::function<void()>> starts_;
  int64_t waiting_ = 0;
  bool scheduled_ = false;
  absl::Duration ended_;  // the last turn, on the monotonic clock
};

}  // namespace

class WorkQueue::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(EventLoop* loop, Work work, int parallel, Start start)
      : loop_(loop),
        work_(std::move(work)),
        parallel_(parallel),
        turns_(start == Start::kInTurn ? Turns::Of(loop) : nullptr) {}

  void Add(std::string key) {
    loop_->DCheckInLoop();
    if (!queued_.insert(key).second) return;
    // Under way: it is put into the queue when that has ended.
    if (!under_way_.contains(key)) Enqueue(std::move(key));
    Schedule();
  }

  void AddAfter(std::string key, absl::Duration delay) {
    loop_->DCheckInLoop();
    if (delay <= absl::ZeroDuration()) return Add(std::move(key));
    uint64_t id = next_timer_++;
    timers_[id] = loop_->After(delay, [this, id, key]() mutable {
      // The callback's own captures die with its timer.
      std::string due = std::move(key);
      timers_.erase(id);
      Add(std::move(due));
    });
  }

  void Close() {
    closed_ = true;
    timers_.clear();
    Wait(-static_cast<int64_t>(order_.size()));
    order_.clear();
    work_ = nullptr;
  }

  size_t size() const { return queued_.size(); }

 private:
  void Enqueue(std::string key) {
    order_.push_back(std::move(key));
    Wait(1);
  }

  void Wait(int64_t keys) {
    if (turns_ != nullptr) turns_->Wait(keys);
  }

  bool CanStart() const {
    return !closed_ && !order_.empty() &&
           under_way_.size() < static_cast<size_t>(parallel_);
  }

  void Schedule() {
    if (scheduled_ || !CanStart()) return;
    scheduled_ = true;
    auto start = [self = shared_from_this()] {
      self->scheduled_ = false;
      self->StartOne();
    };
    if (turns_ == nullptr) {
      loop_->Post(std::move(start));
    } else {
      turns_->Add(std::move(start));
    }
  }

  void StartOne() {
    if (!CanStart()) return;
    std::string key = std::move(order_.front());
    order_.pop_front();
    Wait(-1);
    queued_.erase(key);
    under_way_.insert(key);
    // A copy: the queue may be closed from inside.
    Work work = work_;
    work(key, [self = shared_from_this(), key](absl::Status status) {
      self->Finish(key, status);
    });
    Schedule();
  }

  void Finish(const std::string& key, const absl::Status& status) {
    if (closed_ || under_way_.erase(key) == 0) return;
    if (status.ok()) {
      failures_.erase(key);
    } else if (!queued_.contains(key)) {
      int n = std::min(failures_[key]++, 12);
      AddAfter(key, std::min(kFirstRetry * (1 << n), kLastRetry));
    }
    if (queued_.contains(key)) Enqueue(key);
    Schedule();
  }

  EventLoop* loop_;
  Work work_;
  int parallel_;
  bool closed_ = false;
  bool scheduled_ = false;
  std::deque<std::string> order_;
  absl::flat_hash_set<std::string> queued_;
  absl::flat_hash_set<std::string> under_way_;
  absl::flat_hash_map<std::string, int> failures_;
  absl::flat_hash_map<uint64_t, Timer> timers_;
  uint64_t next_timer_ = 0;
  std::shared_ptr<Turns> turns_;  // null: at once
};

WorkQueue::WorkQueue(EventLoop* loop, std::string /*name*/, Work work,
                     int parallel, Start start)
    : impl_(std::make_shared<Impl>(loop, std::move(work), parallel, start)) {}
WorkQueue::~WorkQueue() { impl_->Close(); }
void WorkQueue::Add(std::string key) { impl_->Add(std::move(key)); }
void WorkQueue::AddAfter(std::string key, absl::Duration delay) {
  impl_->AddAfter(std::move(key), delay);
}
size_t WorkQueue::size() const { return impl_->size(); }

}  // namespace fairlead::kube
