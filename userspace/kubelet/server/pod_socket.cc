// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/server/pod_socket.h"

#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "userspace/base/netns.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::kubelet {

namespace asio = boost::asio;

void PodSocket::Connect(const std::string& netns, Port port) {
  const Tcp::endpoint v4(asio::ip::address_v4::loopback(), port);
  const Tcp::endpoint v6(asio::ip::address_v6::loopback(), port);
  Try(netns, v4, [this, netns, v6](const std::string& error) {
    if (error.empty()) return OnOpened(absl::OkStatus());
    Try(netns, v6, [this, error](const std::string& error6) {
      if (error6.empty()) return OnOpened(absl::OkStatus());
      OnOpened(absl::UnavailableError(
          StrCat("IPv4: ", error, " IPv6 ", error6)));
    });
  });
}

// `done` runs later, with "" or what Go would have said.
void PodSocket::Try(const std::string& netns, const Tcp::endpoint& endpoint,
                    std::function<void(const std::string&)> done) {
  const bool v4 = endpoint.address().is_v4();
  const std::string who =
      StrCat(v4 ? "dial tcp4 127.0.0.1:" : "dial tcp6 [::1]:", endpoint.port(),
             ": ");
  UniqueFd fd;
  const auto open = [&] {
    fd = UniqueFd(socket(endpoint.protocol().family(),
                         SOCK_STREAM | SOCK_CLOEXEC, 0));
    return fd.valid() ? absl::OkStatus() : ErrnoStatus(errno, "socket");
  };
  const absl::Status opened = netns.empty() ? open() : RunInNetns(netns, open);
  auto later = [self = shared_from_this(), owner = owner_.lock(), who,
                done = std::move(done)](const std::string& why) {
    if (!self->closed_) done(why.empty() ? "" : who + why);
  };
  if (!opened.ok()) {
    loop_->Post([later, why = std::string(opened.message())] { later(why); });
    return;
  }
  ErrorCode ignored;
  socket_.close(ignored);
  socket_.assign(endpoint.protocol(), fd.release());
  socket_.async_connect(endpoint, [later](ErrorCode error) {
    later(error ? StrCat("connect: ", absl::AsciiStrToLower(error.message()))
                : "");
  });
}

void PodSocket::OnOpened(const absl::Status& status) {
  ErrorCode ignored;
  connected_ = status.ok();
  if (connected_) {
    socket_.non_blocking(true, ignored);
    socket_.set_option(Tcp::no_delay(true), ignored);
  }
  if (auto owner = owner_.lock()) owner->OnConnected(id_, status);
  if (!closed_) Flush();
}

void PodSocket::WaitReadable() {
  socket_.async_wait(Tcp::socket::wait_read,
                     [self = shared_from_this(),
                      owner = owner_.lock()](ErrorCode) {
                       if (self->closed_ || owner == nullptr) return;
                       owner->OnReadable(self->id_);
                     });
}

PodSocket::Result PodSocket::Read(char* buffer, size_t size, size_t* n) {
  ErrorCode error;
  *n = socket_.read_some(asio::buffer(buffer, size), error);
  if (!error) return Result::kBytes;
  if (error == asio::error::would_block) return Result::kNothing;
  return error == asio::error::eof ? Result::kEnd : Result::kBroken;
}

void PodSocket::Write(std::string_view bytes) {
  if (closed_ || deaf_ || finished_) return;
  pending_ += bytes;
  // Not at once: the owner isn't called from inside its own call, and what
  // comes in small pieces goes out together.
  if (connected_ && writing_.empty() && pending_.size() == bytes.size())
    loop_->Post([self = shared_from_this(), owner = owner_.lock()] {
      self->Flush();
    });
}

void PodSocket::FinishWriting() {
  if (std::exchange(finished_, true) || closed_ || !connected_) return;
  if (unsent() == 0) Flush();
}

void PodSocket::Flush() {
  if (closed_ || !connected_ || !writing_.empty()) return;
  if (pending_.empty()) {
    ErrorCode ignored;
    if (finished_) socket_.shutdown(Tcp::socket::shutdown_send, ignored);
    return;
  }
  writing_ = std::exchange(pending_, {});
  asio::async_write(
      socket_, asio::buffer(writing_),
      [self = shared_from_this(), owner = owner_.lock()](ErrorCode error,
                                                         size_t) {
        if (self->closed_) return;
        size_t taken = std::exchange(self->writing_, {}).size();
        if (error) {
          // Nobody reads it any more; that the connection is over will show
          // when it is read from.
          self->deaf_ = true;
          taken += std::exchange(self->pending_, {}).size();
        }
        if (owner) owner->OnTaken(self->id_, taken);
        self->Flush();
      });
}

void PodSocket::Close() {
  if (std::exchange(closed_, true)) return;
  ErrorCode ignored;
  socket_.close(ignored);
}

}  // namespace fairlead::kubelet
