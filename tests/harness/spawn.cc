// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/spawn.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>

namespace fairlead::harness {

pid_t Spawn(std::vector<std::string> words, const std::string& log,
            int netns) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  dup2(out, 1);
  dup2(out, 2);
  if (netns < 0 || setns(netns, CLONE_NEWNET) == 0)
    execvp(argv[0], argv.data());
  _exit(127);
}

}  // namespace fairlead::harness
