// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/command.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/runtime/spawn.h"

namespace fairlead::kubelet {
namespace {

constexpr size_t kMaxOutput = 10240;  // as much as a kubelet keeps of a probe's

}  // namespace

absl::StatusOr<std::unique_ptr<Command>> Command::Start(
    EventLoop* loop, const std::vector<std::string>& words,
    absl::Duration timeout, Done done) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    return ErrnoStatus(errno, "pipe");
  UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  auto command = std::unique_ptr<Command>(new Command(std::move(done)));
  Command* self = command.get();
  FL_ASSIGN_OR_RETURN(self->pid_, Spawn(words, {{theirs.get(), 1}, {theirs.get(), 2}}));
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, self->pid_, 0)));
  if (!pidfd.valid()) return ErrnoStatus(errno, "watch", words[0]);
  self->pipe_ = std::make_unique<FdWatch>(loop, std::move(ours),
                                          [self] { self->Read(); });
  self->process_ = std::make_unique<FdWatch>(loop, std::move(pidfd),
                                             [self] { self->End(); });
  self->timeout_ = loop->After(timeout, [self] {
    self->timed_out_ = true;
    kill(self->pid_, SIGKILL);
  });
  return command;
}

Command::~Command() {
  if (pid_ == 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void Command::Read() {
  char chunk[4096];
  const ssize_t n = read(pipe_->fd(), chunk, sizeof(chunk));
  if (n <= 0) {
    if (n == 0 || errno != EAGAIN) pipe_.reset();
    return;
  }
  output_.append(chunk, std::min(static_cast<size_t>(n),
                                 kMaxOutput - output_.size()));
}

void Command::End() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = 0;
  // What it wrote last; a grandchild may hold the pipe open.
  for (size_t before = std::string::npos;
       pipe_ != nullptr && before != output_.size();) {
    before = output_.size();
    Read();
  }
  pipe_.reset();
  process_.reset();
  timeout_.Cancel();
  Done done = std::move(done_);
  if (timed_out_) {
    done(absl::DeadlineExceededError("command timed out"));
    return;
  }
  done(CommandResult{.exit_code = WIFEXITED(status)
                                      ? WEXITSTATUS(status)
                                      : 128 + WTERMSIG(status),
                     .output = std::move(output_)});
}

}  // namespace fairlead::kubelet
