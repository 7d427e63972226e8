// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::cli {
namespace {

// Between fork and exec only async-signal-safe calls are made; a failure is
// sent up the pipe as an errno.
[[noreturn]] void ExecChild(char* const* argv, int netns, int log, int report) {
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (setsid() >= 0 && (netns < 0 || setns(netns, CLONE_NEWNET) == 0) &&
      dup2(null, STDIN_FILENO) >= 0 && dup2(log, STDOUT_FILENO) >= 0 &&
      dup2(log, STDERR_FILENO) >= 0) {
    execv(argv[0], argv);
  }
  int error = errno;
  if (write(report, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

}  // namespace

std::optional<uint64_t> StartTicks(pid_t pid) {
  std::ifstream file(StrCat("/proc/", pid, "/stat"));
  std::stringstream text;
  text << file.rdbuf();
  std::string stat = text.str();
  // The second field is the name in parentheses and may hold anything.
  size_t paren = stat.rfind(')');
  if (paren == stat.npos) return std::nullopt;
  std::vector<std::string> fields =
      absl::StrSplit(stat.substr(paren + 1), ' ', absl::SkipWhitespace());
  uint64_t ticks;
  if (fields.size() < 20 || fields[0] == "Z" || fields[0] == "X" ||
      !absl::SimpleAtoi(fields[19], &ticks))
    return std::nullopt;
  return ticks;
}

bool ProcessIdentity::IsAlive() const {
  return pid > 0 && StartTicks(pid) == start_ticks;
}

absl::StatusOr<ProcessIdentity> Spawn(const SpawnOptions& options) {
  std::vector<char*> argv;
  for (const std::string& arg : options.argv)
    argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  UniqueFd log(open(options.log_file.c_str(),
                    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
  if (!log.valid()) return ErrnoStatus(errno, "open log", options.log_file);
  UniqueFd netns;
  if (!options.netns.empty()) {
    netns.reset(open(options.netns.c_str(), O_RDONLY | O_CLOEXEC));
    if (!netns.valid())
      return ErrnoStatus(errno, "open network namespace", options.netns);
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  UniqueFd read_end(ends[0]), write_end(ends[1]);
  pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork", options.argv[0]);
  if (pid == 0) ExecChild(argv.data(), netns.get(), log.get(), ends[1]);
  write_end.reset();
  int error = 0;
  if (read(read_end.get(), &error, sizeof error) == sizeof error) {
    waitpid(pid, nullptr, 0);
    return ErrnoStatus(error, "start", options.argv[0]);
  }
  return ProcessIdentity{pid, StartTicks(pid).value_or(0)};
}

absl::Status Terminate(const ProcessIdentity& process, absl::Duration grace) {
  if (!process.IsAlive()) return absl::OkStatus();
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
  // It may have ended between the check and the open.
  if (!pidfd.valid() || !process.IsAlive()) return absl::OkStatus();
  for (int signal : {SIGTERM, SIGKILL}) {
    syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
    pollfd poll_fd{pidfd.get(), POLLIN, 0};
    int ms = signal == SIGTERM
                 ? static_cast<int>(absl::ToInt64Milliseconds(grace))
                 : 5000;
    if (poll(&poll_fd, 1, ms) > 0) {
      waitpid(process.pid, nullptr, WNOHANG);  // ours only within one run
      return absl::OkStatus();
    }
  }
  return absl::DeadlineExceededError(
      StrCat("process ", process.pid, " does not end"));
}

}  // namespace fairlead::cli
