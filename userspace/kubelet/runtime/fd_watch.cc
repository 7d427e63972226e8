// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/fd_watch.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

namespace fairlead::kubelet {

struct FdWatch::State : std::enable_shared_from_this<State> {
  State(EventLoop* loop, int fd, std::function<void()> fn)
      : descriptor(loop->io(), fd), on_readable(std::move(fn)) {}

  void Wait() {
    descriptor.async_wait(
        boost::asio::posix::stream_descriptor::wait_read,
        [self = shared_from_this()](const boost::system::error_code& error) {
          if (error || self->cancelled) return;
          self->on_readable();
          if (!self->cancelled) self->Wait();
        });
  }

  boost::asio::posix::stream_descriptor descriptor;
  std::function<void()> on_readable;
  bool cancelled = false;
};

FdWatch::FdWatch(EventLoop* loop, UniqueFd fd, std::function<void()> fn)
    : state_(std::make_shared<State>(loop, fd.release(), std::move(fn))) {
  state_->Wait();
}

FdWatch::~FdWatch() {
  state_->cancelled = true;
  boost::system::error_code ignored;
  state_->descriptor.close(ignored);
}

int FdWatch::fd() const { return state_->descriptor.native_handle(); }

}  // namespace fairlead::kubelet
