// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/scopes.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/time/clock.h"
#include "userspace/base/netns.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

std::string UniqueName() {
  static std::atomic<int> next{0};
  return StrCat("fl-test-", getpid(), "-", next++);
}

absl::Status WriteFile(const std::string& path, const std::string& text) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "open", path);
  if (write(fd.get(), text.data(), text.size()) !=
      static_cast<ssize_t>(text.size())) {
    return ErrnoStatus(errno, "write", path);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> MakeTempDir() {
  std::string path = StrCat("/tmp/", UniqueName(), "-XXXXXX");
  if (mkdtemp(path.data()) == nullptr) {
    return ErrnoStatus(errno, "mkdtemp", path);
  }
  return path;
}

}  // namespace

absl::StatusOr<NetnsScope> NetnsScope::Create() {
  UniqueFd fd;
  absl::Status status;
  std::thread([&] {
    if (unshare(CLONE_NEWNET) != 0) {
      status = ErrnoStatus(errno, "unshare", "CLONE_NEWNET");
      return;
    }
    fd.reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) status = ErrnoStatus(errno, "open", "ns/net");
  }).join();
  FL_RETURN_IF_ERROR(status);
  NetnsScope scope(std::move(fd));
  FL_RETURN_IF_ERROR(scope.Command("ip link set lo up").status());
  return scope;
}

std::string NetnsScope::path() const {
  return StrCat("/proc/", getpid(), "/fd/", fd_.get());
}

absl::Status NetnsScope::Run(const std::function<absl::Status()>& fn) const {
  return RunInNetns(path(), fn);
}

absl::StatusOr<std::string> NetnsScope::Command(
    const std::string& command) const {
  absl::StatusOr<std::string> output;
  // The shell is forked by the thread that is inside.
  FL_RETURN_IF_ERROR(Run([&] {
    output = RunCommand(command);
    return absl::OkStatus();
  }));
  return output;
}

absl::Status RunIn(const NetnsScope& netns,
                   const std::function<absl::Status()>& fn) {
  return netns.Run(fn);
}

absl::StatusOr<std::string> RunCommand(const std::string& command) {
  FILE* pipe = popen(StrCat("exec 2>&1; ", command).c_str(), "re");
  if (pipe == nullptr) return ErrnoStatus(errno, "popen", command);
  std::string output;
  char buffer[4096];
  while (size_t n = fread(buffer, 1, sizeof(buffer), pipe)) {
    output.append(buffer, n);
  }
  int result = pclose(pipe);
  if (result != 0) {
    return absl::InternalError(
        StrCat("command failed: ", command, ": ", output));
  }
  return output;
}

absl::Status AddVethPair(const NetnsScope& a, const std::string& name_a,
                         const NetnsScope& b, const std::string& name_b) {
  FL_RETURN_IF_ERROR(a.Command(StrCat("ip link add ", name_a,
                                      " type veth peer name ", name_b,
                                      " netns ", b.path()))
                         .status());
  FL_RETURN_IF_ERROR(a.Command(StrCat("ip link set ", name_a, " up")).status());
  return b.Command(StrCat("ip link set ", name_b, " up")).status();
}

absl::StatusOr<int> DeviceIndex(const NetnsScope& netns,
                                const std::string& name) {
  int index = 0;
  FL_RETURN_IF_ERROR(netns.Run([&] {
    index = static_cast<int>(if_nametoindex(name.c_str()));
    return index ? absl::OkStatus()
                 : ErrnoStatus(errno, "if_nametoindex", name);
  }));
  return index;
}

absl::StatusOr<std::string> CgroupMount() {
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    if (line.compare(dash + 3, 8, "cgroup2 ") != 0) continue;
    std::istringstream fields(line);
    std::string id, parent, device, root, mount_point;
    fields >> id >> parent >> device >> root >> mount_point;
    return mount_point;
  }
  return absl::NotFoundError("cgroup v2 is not mounted");
}

absl::StatusOr<CgroupScope> CgroupScope::Create(const std::string& parent) {
  std::string base = parent;
  if (base.empty()) {
    FL_ASSIGN_OR_RETURN(base, CgroupMount());
  }
  std::string path = StrCat(base, "/", UniqueName());
  if (mkdir(path.c_str(), 0755) != 0) return ErrnoStatus(errno, "mkdir", path);
  return CgroupScope(path, base);
}

CgroupScope::CgroupScope(CgroupScope&& other) noexcept
    : path_(std::exchange(other.path_, "")), parent_(other.parent_) {}

CgroupScope::~CgroupScope() {
  if (path_.empty()) return;
  std::ifstream procs(path_ + "/cgroup.procs");
  for (std::string pid; procs >> pid;) {
    (void)WriteFile(parent_ + "/cgroup.procs", pid);
  }
  // A thread or child that has just ended still counts for a moment.
  (void)Eventually([&] { return rmdir(path_.c_str()) == 0 || errno != EBUSY; },
                   absl::Seconds(2));
}

absl::Status CgroupScope::Join() const { return Add(getpid()); }

absl::Status CgroupScope::Add(int pid) const {
  return WriteFile(path_ + "/cgroup.procs", StrCat(pid));
}

absl::StatusOr<BpffsScope> BpffsScope::Create() {
  static bool unshared = false;
  if (!unshared) {
    if (unshare(CLONE_NEWNS) != 0) {
      return ErrnoStatus(errno, "unshare", "CLONE_NEWNS");
    }
    if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      return ErrnoStatus(errno, "mount", "/ as private");
    }
    unshared = true;
  }
  FL_ASSIGN_OR_RETURN(std::string path, MakeTempDir());
  if (mount("bpffs", path.c_str(), "bpf", 0, nullptr) != 0) {
    int error = errno;
    rmdir(path.c_str());
    return ErrnoStatus(error, "mount", path);
  }
  return BpffsScope(path);
}

BpffsScope::BpffsScope(BpffsScope&& other) noexcept
    : path_(std::exchange(other.path_, "")) {}

BpffsScope::~BpffsScope() {
  if (path_.empty()) return;
  umount2(path_.c_str(), MNT_DETACH);
  rmdir(path_.c_str());
}

absl::StatusOr<TempDirScope> TempDirScope::Create() {
  FL_ASSIGN_OR_RETURN(std::string path, MakeTempDir());
  return TempDirScope(path);
}

TempDirScope::TempDirScope(TempDirScope&& other) noexcept
    : path_(std::exchange(other.path_, "")) {}

TempDirScope::~TempDirScope() {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

bool Eventually(const std::function<bool()>& condition,
                absl::Duration timeout) {
  absl::Time deadline = absl::Now() + timeout;
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

}  // namespace fairlead::harness
