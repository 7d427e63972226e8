// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/runtime/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include "userspace/base/status.h"

namespace fairlead::kubelet {
namespace {

// Above all targets: from here on they go to their places, so that none
// overwrites another one's source.
constexpr int kStaging = 60;

}  // namespace

absl::StatusOr<pid_t> Spawn(const std::vector<std::string>& words,
                            std::initializer_list<Redirect> redirects) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  int at = kStaging;
  for (const Redirect& redirect : redirects)
    posix_spawn_file_actions_adddup2(&actions, redirect.fd, at++);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  at = kStaging;
  for (const Redirect& redirect : redirects) {
    posix_spawn_file_actions_adddup2(&actions, at, redirect.target);
    posix_spawn_file_actions_addclose(&actions, at++);
  }
  // What the kubelet ignores isn't for its children to ignore.
  sigset_t ours;
  sigemptyset(&ours);
  sigaddset(&ours, SIGPIPE);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigdefault(&attributes, &ours);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  std::vector<char*> argv;
  for (const std::string& word : words)
    argv.push_back(const_cast<char*>(word.data()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, argv[0], &actions, &attributes,
                                argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoStatus(error, "start", words[0]);
  return pid;
}

}  // namespace fairlead::kubelet
