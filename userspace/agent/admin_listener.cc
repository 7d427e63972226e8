// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/admin_listener.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::agent {
namespace {

namespace asio = boost::asio;

absl::StatusOr<sockaddr_un> UnixAddress(const std::string& path) {
  sockaddr_un address = {};
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(
        StrCat("--admin-socket: longer than ", sizeof address.sun_path - 1,
               " bytes: ", path));
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  return address;
}

// OK: the path is free now.
absl::Status ClearSocketPath(const std::string& path,
                             const sockaddr_un& address) {
  std::error_code error;
  std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (error) return ErrnoStatus(error.value(), "create", parent.string());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
              sizeof address) == 0) {
    return absl::AlreadyExistsError(
        StrCat("an agent answers on ", path,
               "; stop it first, or give another --admin-socket"));
  }
  if (unlink(path.c_str()) < 0 && errno != ENOENT) {
    return ErrnoStatus(errno, "remove", path);
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> ListenAt(const std::string& path) {
  FL_ASSIGN_OR_RETURN(sockaddr_un address, UnixAddress(path));
  FL_RETURN_IF_ERROR(ClearSocketPath(path, address));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket", path);
  mode_t before = umask(0177);
  int bound = bind(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                   sizeof address);
  int error = errno;
  umask(before);
  if (bound != 0) return ErrnoStatus(error, "listen on", path);
  if (listen(fd.get(), SOMAXCONN) != 0) {
    return ErrnoStatus(errno, "listen on", path);
  }
  return fd;
}

}  // namespace

class AdminListener::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(EventLoop* loop, std::string path, UniqueFd fd, Accepted accepted)
      : path_(std::move(path)),
        accepted_(std::move(accepted)),
        listener_(loop->io(), fd.release()) {}

  void Wait() {
    listener_.async_wait(
        asio::posix::stream_descriptor::wait_read,
        [self = shared_from_this()](boost::system::error_code error) {
          if (error || !self->listener_.is_open()) return;
          self->AcceptAll();
          self->Wait();
        });
  }

  void Close() {
    boost::system::error_code ignored;
    listener_.close(ignored);
    unlink(path_.c_str());
  }

 private:
  void AcceptAll() {
    for (;;) {
      UniqueFd peer(accept4(listener_.native_handle(), nullptr, nullptr,
                            SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!peer.valid()) return;
      ucred who = {};
      socklen_t size = sizeof who;
      if (getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0 ||
          (who.uid != 0 && who.uid != geteuid())) {
        spdlog::warn("msg=\"refused an admin connection\" uid={} pid={}",
                     who.uid, who.pid);
        continue;
      }
      accepted_(std::move(peer));
    }
  }

  std::string path_;
  Accepted accepted_;
  asio::posix::stream_descriptor listener_;
};

absl::StatusOr<std::unique_ptr<AdminListener>> AdminListener::Open(
    const std::string& path, EventLoop* loop, Accepted accepted) {
  FL_ASSIGN_OR_RETURN(UniqueFd fd, ListenAt(path));
  auto impl = std::make_shared<Impl>(loop, path, std::move(fd),
                                     std::move(accepted));
  impl->Wait();
  return std::unique_ptr<AdminListener>(new AdminListener(std::move(impl)));
}

AdminListener::~AdminListener() { impl_->Close(); }

}  // namespace fairlead::agent
