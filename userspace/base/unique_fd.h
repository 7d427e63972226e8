// SPDX-License-Identifier: Apache-2.0
// A file descriptor with one owner. Not thread-safe.
#ifndef FAIRLEAD_USERSPACE_BASE_UNIQUE_FD_H_
#define FAIRLEAD_USERSPACE_BASE_UNIQUE_FD_H_

#include <unistd.h>

#include <utility>

namespace fairlead {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}  // takes ownership; -1 is none
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace fairlead

#endif  // FAIRLEAD_USERSPACE_BASE_UNIQUE_FD_H_
