// SPDX-License-Identifier: Apache-2.0
// fairlead-shim: the parent of one container's first process. It is a program
// of its own, static and small, so that a container outlives its kubelet, and
// an upgrade of the kubelet's libraries can't touch it.
//
//   fairlead-shim run SPEC            starts the container, waits for its end
//   fairlead-shim exec SPEC PID ARG...  runs a command beside process PID
//   fairlead-shim exec-tty SPEC PID ARG...  the same; standard input is a
//                                     terminal, which becomes the command's own
//
// SPEC is read by shim_spec.h. Descriptor 3, if open, gets
// one line: "ok PID" or "error TEXT". Descriptor 4 is a lock on SPEC that the
// kubelet took: it is held for as long as this process lives.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "userspace/kubelet/runtime/log_writer.h"
#include "userspace/kubelet/runtime/shim_identity.h"
#include "userspace/kubelet/runtime/shim_mounts.h"
#include "userspace/kubelet/runtime/shim_spec.h"

namespace fairlead::shim {
namespace {

using kubelet::LogWriter;

constexpr int kReadyFd = 3;
constexpr int kLockFd = 4;

bool WriteFile(const std::string& path, const std::string& text, int flags) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0640);
  if (fd < 0) return false;
  const bool ok =
      write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  return close(fd) == 0 && ok;
}

void Publish(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".tmp";
  if (WriteFile(fresh, text, O_CREAT | O_TRUNC))
    rename(fresh.c_str(), path.c_str());
}

long long UnixNanos() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

// Field 22 of /proc/PID/stat; the command's name (field 2) may hold anything.
std::string StartTicks(pid_t pid) {
  const std::string stat = ReadFile("/proc/" + std::to_string(pid) + "/stat");
  const size_t paren = stat.rfind(')');
  if (paren == std::string::npos) return "0";
  size_t at = paren + 1;
  for (int field = 2; field < 21 && at != std::string::npos; ++field)
    at = stat.find(' ', at + 1);
  return at == std::string::npos
             ? "0"
             : stat.substr(at + 1, stat.find(' ', at + 1) - at - 1);
}

void JoinCgroups(int report, const Spec& spec) {
  for (const std::string& cgroup : spec.cgroups) {
    if (!WriteFile(cgroup + "/cgroup.procs", "0", 0))
      Fail(report, "join cgroup " + cgroup, errno);
  }
}

void Join(int report, const std::string& path, int type) {
  if (path.empty()) return;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, type) != 0) Fail(report, "join " + path, errno);
  close(fd);
}

void ResetSignals() {
  for (int s = 1; s < NSIG; ++s) signal(s, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void Exec(int report, const Spec& spec,
                       const std::vector<std::string>& args) {
  if (!spec.cwd.empty() && chdir(spec.cwd.c_str()) != 0)
    Fail(report, "working directory " + spec.cwd, errno);
  std::vector<char*> argv, env;
  for (const std::string& a : args) argv.push_back(const_cast<char*>(a.data()));
  for (const std::string& e : spec.env) {
    env.push_back(const_cast<char*>(e.data()));
    // execvpe looks the program up in the caller's PATH.
    if (e.starts_with("PATH=")) setenv("PATH", e.c_str() + 5, 1);
  }
  argv.push_back(nullptr);
  env.push_back(nullptr);
  ResetSignals();
  TakeIdentity(report, spec);
  execvpe(argv[0], argv.data(), env.data());
  Fail(report, "exec " + args[0], errno);
}

struct Output {
  int out[2] = {-1, -1}, err[2] = {-1, -1};  // read end, write end
};

[[noreturn]] void RunContainer(int report, const Spec& spec,
                               const Output& output) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  JoinCgroups(report, spec);
  Join(report, spec.net, CLONE_NEWNET);
  Join(report, spec.ipc, CLONE_NEWIPC);
  Join(report, spec.uts, CLONE_NEWUTS);
  SetUpMounts(report, spec);
  setsid();
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0) Fail(report, "open /dev/null", errno);
  // So that /dev/stdout and /dev/stderr can be opened by name.
  if (spec.has_identity) {
    for (const int end : {output.out[1], output.err[1]}) {
      if (fchown(end, spec.user, spec.group) != 0)
        Fail(report, "own the output", errno);
    }
  }
  dup2(null, 0);
  dup2(output.out[1], 1);
  dup2(output.err[1], 2);
  Exec(report, spec, spec.args);
}

void Answer(const std::string& line) {
  if (write(kReadyFd, line.data(), line.size()) < 0) return;
  close(kReadyFd);
}

void PublishExit(const Spec& spec, int status, const std::string& error) {
  const int code = WIFEXITED(status) ? WEXITSTATUS(status)
                                     : 128 + WTERMSIG(status);
  const int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  Publish(spec.out + ".exit",
          "code=" + std::to_string(code) + "\nsignal=" + std::to_string(sig) +
              "\nfinished=" + std::to_string(UnixNanos()) + "\nerror=" + error +
              "\n");
}

int Wait(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

// Takes what is there. False: nothing will come any more.
bool ReadOutput(int fd, LogWriter::Stream stream, LogWriter* log) {
  char chunk[65536];
  ssize_t n;
  while ((n = read(fd, chunk, sizeof(chunk))) > 0)
    log->Add(stream, chunk, static_cast<size_t>(n));
  return n < 0 && (errno == EAGAIN || errno == EINTR);
}

// Logs the container's output until its first process ends; the kernel then
// ends the others, so that what is in the pipes is all.
void CopyOutput(pid_t pid, const Output& output, LogWriter* log) {
  fcntl(output.out[0], F_SETFL, O_NONBLOCK);
  fcntl(output.err[0], F_SETFL, O_NONBLOCK);
  const int process = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  pollfd fds[3] = {{output.out[0], POLLIN, 0},
                   {output.err[0], POLLIN, 0},
                   {process, POLLIN, 0}};
  while (fds[2].revents == 0 && process >= 0) {
    if (poll(fds, 3, -1) < 0 && errno != EINTR) break;
    for (const int i : {0, 1}) {
      const auto stream = static_cast<LogWriter::Stream>(i);
      if (fds[i].revents != 0 && !ReadOutput(fds[i].fd, stream, log))
        fds[i].fd = -1;
    }
  }
  ReadOutput(output.out[0], LogWriter::kStdout, log);
  ReadOutput(output.err[0], LogWriter::kStderr, log);
  log->Finish();
}

int Run(const Spec& spec) {
  setsid();
  for (const int s : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) signal(s, SIG_IGN);
  fcntl(kReadyFd, F_SETFD, FD_CLOEXEC);
  fcntl(kLockFd, F_SETFD, FD_CLOEXEC);
  // What the kubelet's libraries opened without close-on-exec.
  close_range(kLockFd + 1, ~0U, 0);
  if (!spec.shim_cgroup.empty())
    WriteFile(spec.shim_cgroup + "/cgroup.procs", "0", 0);
  int report[2];
  Output output;
  LogWriter log(spec.log, spec.log_bytes, spec.log_files);
  if (!log.Open() || pipe2(report, O_CLOEXEC) != 0 ||
      pipe2(output.out, O_CLOEXEC) != 0 || pipe2(output.err, O_CLOEXEC) != 0 ||
      unshare(CLONE_NEWPID) != 0) {
    const std::string why = std::string("set up: ") + strerror(errno);
    PublishExit(spec, kCannotStart << 8, why);
    Answer("error " + why + "\n");
    return 1;
  }
  const pid_t pid = fork();
  if (pid == 0) {
    close(report[0]);
    RunContainer(report[1], spec, output);
  }
  for (const int end : {report[1], output.out[1], output.err[1]}) close(end);
  std::string error = pid < 0 ? strerror(errno) : "";
  char chunk[1024];
  ssize_t n;
  while ((n = read(report[0], chunk, sizeof(chunk))) > 0)
    error.append(chunk, static_cast<size_t>(n));
  close(report[0]);
  if (!error.empty()) {
    if (pid > 0) Wait(pid);
    PublishExit(spec, kCannotStart << 8, error);
    Answer("error " + error + "\n");
    return 1;
  }
  Publish(spec.out + ".state",
          "shim=" + std::to_string(getpid()) + "\npid=" + std::to_string(pid) +
              "\npid_start=" + StartTicks(pid) +
              "\nstarted=" + std::to_string(UnixNanos()) + "\n");
  Answer("ok " + std::to_string(pid) + "\n");
  CopyOutput(pid, output, &log);
  PublishExit(spec, Wait(pid), "");
  return 0;
}

int ExecBeside(Spec spec, const std::string& pid,
               const std::vector<std::string>& args, bool terminal) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  close_range(3, ~0U, 0);
  const std::string ns = "/proc/" + pid + "/ns/";
  int fds[5];
  const char* const names[] = {"pid", "ipc", "uts", "net", "mnt"};
  for (int i = 0; i < 5; ++i) {
    fds[i] = open((ns + names[i]).c_str(), O_RDONLY | O_CLOEXEC);
    if (fds[i] < 0) Fail(2, "open " + ns + names[i], errno);
  }
  JoinCgroups(2, spec);
  if (setns(fds[0], CLONE_NEWPID) != 0) Fail(2, "join pid namespace", errno);
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 1; i < 5; ++i) {
      if (setns(fds[i], 0) != 0)
        Fail(2, std::string("join ") + names[i], errno);
    }
    if (terminal) {
      setsid();
      ioctl(0, TIOCSCTTY, 0);
      // First, so that the container's own wins.
      spec.env.insert(spec.env.begin(), "TERM=xterm");
    }
    Exec(2, spec, args);
  }
  if (child < 0) Fail(2, "fork", errno);
  const int status = Wait(child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int Main(int argc, char** argv) {
  const std::string verb = argc > 2 ? argv[1] : "";
  Spec spec;
  const bool terminal = verb == "exec-tty";
  if ((verb != "run" || argc != 3) &&
      ((verb != "exec" && !terminal) || argc < 5)) {
    fputs("usage: fairlead-shim run SPEC | exec[-tty] SPEC PID ARG...\n"
          "The kubelet starts this program; see fairlead-kubelet --help.\n",
          stderr);
    return 2;
  }
  if (!ParseSpec(argv[2], &spec)) {
    fprintf(stderr, "fairlead-shim: %s is not a container spec\n", argv[2]);
    return 2;
  }
  if (verb == "run") return Run(spec);
  return ExecBeside(spec, argv[3],
                    std::vector<std::string>(argv + 4, argv + argc), terminal);
}

}  // namespace
}  // namespace fairlead::shim

int main(int argc, char** argv) {
  return fairlead::shim::Main(argc, argv);
}
