// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/work_queue.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

namespace fairlead::kube {
namespace {

constexpr absl::Duration kFirstRetry = absl::Milliseconds(20);
constexpr absl::Duration kLastRetry = absl::Seconds(60);

}  // namespace

class WorkQueue::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(EventLoop* loop, Work work, int parallel)
      : loop_(loop), work_(std::move(work)), parallel_(parallel) {}

  void Add(std::string key) {
    loop_->DCheckInLoop();
    if (!queued_.insert(key).second) return;
    // Under way: it is put into the queue when that has ended.
    if (!under_way_.contains(key)) order_.push_back(std::move(key));
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
    order_.clear();
    work_ = nullptr;
  }

  size_t size() const { return queued_.size(); }

 private:
  void Schedule() {
    if (scheduled_ || closed_) return;
    scheduled_ = true;
    loop_->Post([self = shared_from_this()] {
      self->scheduled_ = false;
      self->Run();
    });
  }

  void Run() {
    while (!closed_ && !order_.empty() &&
           under_way_.size() < static_cast<size_t>(parallel_)) {
      std::string key = std::move(order_.front());
      order_.pop_front();
      queued_.erase(key);
      under_way_.insert(key);
      // A copy: the queue may be closed from inside.
      Work work = work_;
      work(key, [self = shared_from_this(), key](absl::Status status) {
        self->Finish(key, status);
      });
    }
  }

  void Finish(const std::string& key, const absl::Status& status) {
    if (closed_ || under_way_.erase(key) == 0) return;
    if (status.ok()) {
      failures_.erase(key);
    } else if (!queued_.contains(key)) {
      int n = std::min(failures_[key]++, 12);
      AddAfter(key, std::min(kFirstRetry * (1 << n), kLastRetry));
    }
    if (queued_.contains(key)) order_.push_back(key);
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
};

WorkQueue::WorkQueue(EventLoop* loop, std::string /*name*/, Work work,
                     int parallel)
    : impl_(std::make_shared<Impl>(loop, std::move(work), parallel)) {}
WorkQueue::~WorkQueue() { impl_->Close(); }
void WorkQueue::Add(std::string key) { impl_->Add(std::move(key)); }
void WorkQueue::AddAfter(std::string key, absl::Duration delay) {
  impl_->AddAfter(std::move(key), delay);
}
size_t WorkQueue::size() const { return impl_->size(); }

}  // namespace fairlead::kube
