// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/container_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <random>

#include "absl/strings/str_format.h"
#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/runtime/cgroup.h"
#include "userspace/kubelet/runtime/files.h"
#include "userspace/kubelet/runtime/spawn.h"
#include "userspace/kubelet/runtime/termination_message.h"

namespace fairlead::kubelet {
namespace {

constexpr int kReadyFd = 3, kLockFd = 4;
constexpr int kKilled = 128 + SIGKILL;

int PidfdOpen(int pid) {
  return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
}

int PidfdSignal(int fd, int signal) {
  return static_cast<int>(
      syscall(SYS_pidfd_send_signal, fd, signal, nullptr, 0));
}

std::string RandomId() {
  std::random_device random;
  std::string id;
  for (int i = 0; i < 8; ++i) absl::StrAppendFormat(&id, "%08x", random());
  return id;
}

void AddRecord(std::string* text, std::string_view key,
               std::string_view value) {
  if (value.empty() && key != "arg") return;
  StrAppend(text, key, "=", value);
  text->push_back('\0');
}

// Without a group of its own a user is in group 0, as in container runtimes.
void AddIdentity(std::string* text, const SecurityContext& security) {
  if (security.no_new_privs) AddRecord(text, "no_new_privs", "1");
  if (security.read_only_root) AddRecord(text, "read_only_root", "1");
  AddRecord(text, "capabilities", StrCat(security.capabilities));
  if (!security.ChangesIdentity()) return;
  AddRecord(text, "user", StrCat(security.user.value_or(0)));
  AddRecord(text, "group", StrCat(security.group.value_or(0)));
  for (const int64_t group : security.extra_groups)
    AddRecord(text, "extra_group", StrCat(group));
}

std::string FormatSpec(const ContainerConfig& config) {
  std::string text;
  AddRecord(&text, "net", config.namespaces.net);
  AddRecord(&text, "ipc", config.namespaces.ipc);
  AddRecord(&text, "uts", config.namespaces.uts);
  for (const std::string& cgroup : config.cgroups.joined)
    AddRecord(&text, "cgroup", cgroup);
  AddRecord(&text, "shim_cgroup", config.shim_cgroup);
  AddRecord(&text, "cwd", config.cwd.empty() ? "/" : config.cwd);
  AddRecord(&text, "log", config.log);
  AddRecord(&text, "log_bytes", StrCat(config.log_bytes));
  AddRecord(&text, "log_files", StrCat(config.log_files));
  AddRecord(&text, "out", config.prefix);
  for (const std::string& arg : config.args) AddRecord(&text, "arg", arg);
  for (const std::string& env : config.env) AddRecord(&text, "env", env);
  AddRecord(&text, "hide_below", config.hide_below);
  for (const Mount& mount : config.mounts) {
    AddRecord(&text, "mount",
              StrCat(mount.source, "\n", mount.sub_path, "\n", mount.target,
                     "\n", mount.read_only ? "ro" : "rw"));
  }
  AddIdentity(&text, config.security);
  return text;
}

// Field 22 of /proc/PID/stat: with the pid it names a process for ever.
std::string StartTicks(int pid) {
  const auto stat = ReadFile(StrCat("/proc/", pid, "/stat"));
  if (!stat.ok()) return "";
  size_t at = stat->rfind(')');
  for (int field = 1; field < 21 && at != std::string::npos; ++field)
    at = stat->find(' ', at + 1);
  if (at == std::string::npos) return "";
  return stat->substr(at + 1, stat->find(' ', at + 1) - at - 1);
}

}  // namespace

ContainerProcess::ContainerProcess(EventLoop* loop, int attempt,
                                   ContainerConfig config, OnChange on_change)
    : loop_(loop),
      config_(std::move(config)),
      on_change_(std::move(on_change)) {
  run_.attempt = attempt;
}

absl::StatusOr<std::unique_ptr<ContainerProcess>> ContainerProcess::Start(
    EventLoop* loop, int attempt, const ContainerConfig& config,
    OnChange on_change) {
  auto process = std::unique_ptr<ContainerProcess>(
      new ContainerProcess(loop, attempt, config, std::move(on_change)));
  process->run_.id = RandomId();
  FL_RETURN_IF_ERROR(process->MakeCgroups());
  FL_RETURN_IF_ERROR(
      WriteFileWhole(config.prefix + ".id", process->run_.id));
  FL_RETURN_IF_ERROR(
      WriteFileWhole(config.prefix + ".spec", FormatSpec(config)));
  FL_RETURN_IF_ERROR(process->Spawn());
  return process;
}

absl::Status ContainerProcess::MakeCgroups() {
  const CgroupPlan& plan = config_.cgroups;
  // New ones count from zero what the out-of-memory killer takes.
  for (const std::string& path : plan.fresh) (void)RemoveCgroup(path);
  for (const std::string& path : plan.joined)
    FL_RETURN_IF_ERROR(MakeCgroup(path));
  FL_RETURN_IF_ERROR(MakeCgroup(config_.shim_cgroup));
  for (const auto& [file, value] : plan.settings)
    FL_RETURN_IF_ERROR(WriteInto(file, value));
  oom_kills_before_ = OomKills(plan.memory);
  return absl::OkStatus();
}

absl::Status ContainerProcess::Spawn() {
  const std::string spec = config_.prefix + ".spec";
  const UniqueFd lock(open(spec.c_str(), O_RDONLY | O_CLOEXEC));
  if (!lock.valid() || flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return ErrnoStatus(errno, "lock", spec);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    return ErrnoStatus(errno, "pipe");
  UniqueFd ready(ends[0]);
  const UniqueFd shim_end(ends[1]);
  FL_ASSIGN_OR_RETURN(
      const pid_t pid,
      kubelet::Spawn({config_.shim, "run", spec},
                     {{shim_end.get(), kReadyFd}, {lock.get(), kLockFd}}));
  ready_ = std::make_unique<FdWatch>(loop_, std::move(ready),
                                     [this] { OnReadyLine(); });
  return WatchShim(pid);
}

absl::Status ContainerProcess::WatchShim(int pid) {
  UniqueFd fd(PidfdOpen(pid));
  if (!fd.valid()) return ErrnoStatus(errno, "watch shim", StrCat(pid));
  shim_ = std::make_unique<FdWatch>(loop_, std::move(fd),
                                    [this] { OnShimEnd(); });
  return absl::OkStatus();
}

void ContainerProcess::OnReadyLine() {
  ready_.reset();
  // An error, or an end as fast as this, is reported when the shim has ended.
  if (run_.state != ContainerRun::State::kStarting || !LoadState()) return;
  on_change_();
}

// Takes over what the shim wrote when the process ran.
bool ContainerProcess::LoadState() {
  const auto text = ReadFile(config_.prefix + ".state");
  if (!text.ok()) return false;
  const Fields fields = ParseFields(*text);
  const int pid = static_cast<int>(NumberIn(fields, "pid"));
  run_.started = absl::FromUnixNanos(NumberIn(fields, "started"));
  UniqueFd fd(PidfdOpen(pid));
  // The pidfd first: if the ticks match afterwards, it is the right process.
  if (fd.valid() && StartTicks(pid) == TextIn(fields, "pid_start"))
    process_ = std::move(fd);
  run_.pid = pid;
  run_.state = ContainerRun::State::kRunning;
  return true;
}

void ContainerProcess::OnShimEnd() {
  siginfo_t ignored{};
  // Not a child after a restart of the kubelet: then init reaps it.
  waitid(P_PIDFD, static_cast<id_t>(shim_->fd()), &ignored, WEXITED | WNOHANG);
  shim_.reset();
  ready_.reset();
  Finish();
  // An exec probe's process is not in the PID namespace that has ended.
  (void)KillCgroup(config_.cgroups.cgroup);
  on_change_();
}

// The shim is gone: its last words, or their absence, are final.
void ContainerProcess::Finish() {
  if (run_.state == ContainerRun::State::kStarting) LoadState();
  run_.state = ContainerRun::State::kExited;
  run_.pid = 0;
  process_.reset();
  const auto text = ReadFile(config_.prefix + ".exit");
  if (text.ok()) {
    const Fields fields = ParseFields(*text);
    run_.exit_code = static_cast<int>(NumberIn(fields, "code"));
    run_.signal = static_cast<int>(NumberIn(fields, "signal"));
    run_.finished = absl::FromUnixNanos(NumberIn(fields, "finished"));
    run_.start_error = TextIn(fields, "error");
  } else {
    // The shim was killed; the kernel then kills the container's processes.
    run_.exit_code = kKilled;
    run_.signal = SIGKILL;
    run_.finished = Clock::Real().Now();
    (void)WriteFileWhole(
        config_.prefix + ".exit",
        FormatFields({{"code", StrCat(kKilled)},
                      {"signal", StrCat(SIGKILL)},
                      {"finished", StrCat(absl::ToUnixNanos(run_.finished))}}));
  }
  if (run_.started == absl::Time()) run_.started = run_.finished;
  // Of any of its processes: a shell tells of its child's end with 137.
  run_.oom_killed = run_.exit_code != 0 &&
                    OomKills(config_.cgroups.memory) > oom_kills_before_;
  run_.message =
      TerminationMessage(config_.prefix + kMessageEnding, config_.log,
                         config_.message_from_log && run_.exit_code != 0);
}

absl::StatusOr<std::unique_ptr<ContainerProcess>> ContainerProcess::Recover(
    EventLoop* loop, int attempt, const ContainerConfig& config,
    OnChange on_change) {
  auto process = std::unique_ptr<ContainerProcess>(
      new ContainerProcess(loop, attempt, config, std::move(on_change)));
  process->run_.id = ReadFile(config.prefix + ".id").value_or("");
  const std::string spec = config.prefix + ".spec";
  const UniqueFd lock(open(spec.c_str(), O_RDONLY | O_CLOEXEC));
  if (!lock.valid()) return ErrnoStatus(errno, "open", spec);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) == 0) {
    process->Finish();
    return process;
  }
  // The lock is held: the shim lives.
  process->Adopt();
  return process;
}

// Until the shim has written its state, which takes it milliseconds.
void ContainerProcess::Adopt() {
  if (LoadState()) {
    const auto text = ReadFile(config_.prefix + ".state");
    const Fields fields = ParseFields(text.value_or(""));
    if (!WatchShim(static_cast<int>(NumberIn(fields, "shim"))).ok()) Finish();
    loop_->Post([alive = std::weak_ptr<int>(alive_), this] {
      if (!alive.expired()) on_change_();
    });
    return;
  }
  const std::string spec = config_.prefix + ".spec";
  const UniqueFd lock(open(spec.c_str(), O_RDONLY | O_CLOEXEC));
  if (!lock.valid() || flock(lock.get(), LOCK_EX | LOCK_NB) == 0) {
    Finish();
    on_change_();
    return;
  }
  poll_ = loop_->After(absl::Milliseconds(10), [this] { Adopt(); });
}

absl::Status ContainerProcess::Signal(int signal) {
  if (exited() || !process_.valid()) return absl::OkStatus();
  if (PidfdSignal(process_.get(), signal) == 0 || errno == ESRCH)
    return absl::OkStatus();
  return ErrnoStatus(errno, "signal container process", StrCat(run_.pid));
}

absl::Status ContainerProcess::Kill() {
  if (exited()) return absl::OkStatus();
  (void)Signal(SIGKILL);
  return KillCgroup(config_.cgroups.cgroup);
}

}  // namespace fairlead::kubelet
