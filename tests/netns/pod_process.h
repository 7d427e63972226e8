// SPDX-License-Identifier: Apache-2.0
// A process in a pod's network namespace: by its processes an agent finds a
// namespace, and the connected sockets in it.
//
// Threads: create and destroy on one.
#ifndef FAIRLEAD_TESTS_NETNS_POD_PROCESS_H_
#define FAIRLEAD_TESTS_NETNS_POD_PROCESS_H_

#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/netns/topology.h"

namespace fairlead::harness {

class PodProcess {
 public:
  explicit PodProcess(const Station& pod) : pid_(fork()) {
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setns(pod.netns.fd(), CLONE_NEWNET);
    for (;;) pause();
  }
  PodProcess(const PodProcess&) = delete;
  PodProcess& operator=(const PodProcess&) = delete;
  ~PodProcess() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_POD_PROCESS_H_
