// SPDX-License-Identifier: Apache-2.0
// What a privileged test builds its world from: namespaces, cgroups, a BPF
// file system, veth pairs. Each object removes what it made when it dies, and
// what it makes has a name of this process' own (or none at all), so tests can
// run side by side.
//
// Threads: create and destroy on the test's main thread; NetnsScope::Run may
// be called from any.
#ifndef FAIRLEAD_TESTS_HARNESS_SCOPES_H_
#define FAIRLEAD_TESTS_HARNESS_SCOPES_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::harness {

// A network namespace with `lo` up and nothing else: no route out. It has no
// name, only a descriptor, so nothing can be left behind by a crash.
class NetnsScope {
 public:
  [[nodiscard]] static absl::StatusOr<NetnsScope> Create();
  NetnsScope(NetnsScope&&) = default;
  NetnsScope& operator=(NetnsScope&&) = default;

  // "/proc/PID/fd/N": good for setns(2), nsenter --net=, ip ... netns.
  std::string path() const;
  int fd() const { return fd_.get(); }

  // Runs `fn` on a new thread inside, and waits for it. Sockets made by `fn`
  // stay in the namespace.
  [[nodiscard]] absl::Status Run(
      const std::function<absl::Status()>& fn) const;
  // Runs a shell command inside; its output on success, and in the error.
  [[nodiscard]] absl::StatusOr<std::string> Command(
      const std::string& command) const;

 private:
  explicit NetnsScope(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// The same as netns.Run(fn).
[[nodiscard]] absl::Status RunIn(const NetnsScope& netns,
                                 const std::function<absl::Status()>& fn);

// Runs a shell command where we are; its output (both streams).
[[nodiscard]] absl::StatusOr<std::string> RunCommand(
    const std::string& command);

// Two devices joined, up, without addresses (add them with Command("ip ...")).
[[nodiscard]] absl::Status AddVethPair(const NetnsScope& a,
                                       const std::string& name_a,
                                       const NetnsScope& b,
                                       const std::string& name_b);
// if_nametoindex inside `netns`.
[[nodiscard]] absl::StatusOr<int> DeviceIndex(const NetnsScope& netns,
                                              const std::string& name);

// Where cgroup v2 is mounted, by /proc/self/mountinfo.
[[nodiscard]] absl::StatusOr<std::string> CgroupMount();

// A cgroup below `parent` (default: the root of cgroup v2).
class CgroupScope {
 public:
  [[nodiscard]] static absl::StatusOr<CgroupScope> Create(
      const std::string& parent = "");
  CgroupScope(CgroupScope&& other) noexcept;
  CgroupScope& operator=(CgroupScope&&) = delete;
  // Moves what is still inside to the parent, then removes it.
  ~CgroupScope();

  const std::string& path() const { return path_; }
  // Moves this process in: a socket belongs to the cgroup that its process was
  // in when it was made.
  [[nodiscard]] absl::Status Join() const;
  [[nodiscard]] absl::Status Add(int pid) const;

 private:
  CgroupScope(std::string path, std::string parent)
      : path_(std::move(path)), parent_(std::move(parent)) {}
  std::string path_;
  std::string parent_;
};

// A BPF file system mounted on a fresh directory, in a mount namespace that
// this process gets for itself at the first call (so it dies with the process;
// children inherit the view). Create before starting threads.
class BpffsScope {
 public:
  [[nodiscard]] static absl::StatusOr<BpffsScope> Create();
  BpffsScope(BpffsScope&& other) noexcept;
  BpffsScope& operator=(BpffsScope&&) = delete;
  ~BpffsScope();

  const std::string& path() const { return path_; }

 private:
  explicit BpffsScope(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// A fresh directory, removed with all it holds.
class TempDirScope {
 public:
  [[nodiscard]] static absl::StatusOr<TempDirScope> Create();
  TempDirScope(TempDirScope&& other) noexcept;
  TempDirScope& operator=(TempDirScope&&) = delete;
  ~TempDirScope();

  const std::string& path() const { return path_; }

 private:
  explicit TempDirScope(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// Polls until `condition` holds (true) or `timeout` has passed (false): for
// what offers nothing to wait on.
[[nodiscard]] bool Eventually(const std::function<bool()>& condition,
                              absl::Duration timeout = absl::Seconds(10));

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_HARNESS_SCOPES_H_
