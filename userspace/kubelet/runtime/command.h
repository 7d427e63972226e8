// SPDX-License-Identifier: Apache-2.0
// Runs a program, collects the start of its output, ends it after a timeout.
//
// Threads: the event loop's only. `done` runs once, from the loop; destroying
// the Command before that kills the program.
#ifndef FAIRLEAD_USERSPACE_KUBELET_RUNTIME_COMMAND_H_
#define FAIRLEAD_USERSPACE_KUBELET_RUNTIME_COMMAND_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/base/event_loop.h"
#include "userspace/kubelet/runtime/fd_watch.h"

namespace fairlead::kubelet {

struct CommandResult {
  int exit_code = 0;
  std::string output;  // stdout and stderr, at most 10 KiB
};

class Command {
 public:
  // kDeadlineExceeded when the time ran out.
  using Done = std::function<void(absl::StatusOr<CommandResult>)>;

  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Command>> Start(
      EventLoop* loop, const std::vector<std::string>& words,
      absl::Duration timeout, Done done);
  ~Command();

 private:
  explicit Command(Done done) : done_(std::move(done)) {}
  void Read();
  void End();

  Done done_;
  int pid_ = 0;
  bool timed_out_ = false;
  std::string output_;
  std::unique_ptr<FdWatch> pipe_, process_;
  Timer timeout_;
};

}  // namespace fairlead::kubelet

#endif  // FAIRLEAD_USERSPACE_KUBELET_RUNTIME_COMMAND_H_
