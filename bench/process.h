// SPDX-License-Identifier: Apache-2.0
// A program of ours as a benchmark runs it, in a folder of its own.
// Threads: the benchmark's one.
#ifndef FAIRLEAD_BENCH_PROCESS_H_
#define FAIRLEAD_BENCH_PROCESS_H_

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/harness/spawn.h"
#include "userspace/base/clock.h"
#include "userspace/base/strings.h"

namespace fairlead {

// Polls more closely than a test does.
template <typename Condition>
bool Await(const Condition& condition,
           absl::Duration patience = absl::Seconds(60)) {
  const absl::Duration end = Clock::Real().Monotonic() + patience;
  while (!condition()) {
    if (Clock::Real().Monotonic() > end) return false;
    absl::SleepFor(absl::Microseconds(50));
  }
  return true;
}

// Killed at its end.
class Process {
 public:
  // `netns`: of a namespace to run in; -1: where we are.
  Process(int netns, std::vector<std::string> words, const std::string& log) {
    words[0] = StrCat(FAIRLEAD_BINARY_DIR, "/bin/", words[0]);
    // Whoever reads it reads this process' words, not the last one's.
    std::filesystem::remove(log);
    pid_ = harness::Spawn(std::move(words), log, netns);
  }
  ~Process() { (void)End(SIGKILL); }
  Process(const Process&) = delete;

  int End(int signal) {
    if (pid_ <= 0) return 0;
    kill(pid_, signal);
    int status = 0;
    waitpid(std::exchange(pid_, 0), &status, 0);
    return status;
  }
  double RssMb() const {
    std::ifstream statm(StrCat("/proc/", pid_, "/statm"));
    long total = 0, resident = 0;
    statm >> total >> resident;
    return static_cast<double>(resident) * static_cast<double>(getpagesize()) /
           1e6;
  }
  // The most that it ever was.
  double PeakMb() const {
    std::ifstream status(StrCat("/proc/", pid_, "/status"));
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmHWM:")) {
        return std::strtod(line.c_str() + strlen("VmHWM:"), nullptr) * 1024 /
               1e6;
      }
    }
    return 0;
  }
  // What all its threads have used of the processors so far.
  absl::Duration CpuTime() const {
    clockid_t clock;
    timespec time{};
    if (clock_getcpuclockid(pid_, &clock) != 0 ||
        clock_gettime(clock, &time) != 0) {
      return absl::InfiniteDuration();
    }
    return absl::DurationFromTimespec(time);
  }

 private:
  pid_t pid_ = 0;
};

}  // namespace fairlead

#endif  // FAIRLEAD_BENCH_PROCESS_H_
