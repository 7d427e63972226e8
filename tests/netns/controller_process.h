// SPDX-License-Identifier: Apache-2.0
// fairlead-controller as a process on loopback.
// Threads: one test's.
#ifndef FAIRLEAD_TESTS_NETNS_CONTROLLER_PROCESS_H_
#define FAIRLEAD_TESTS_NETNS_CONTROLLER_PROCESS_H_

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/harness/spawn.h"
#include "userspace/kube/kubeconfig.h"

namespace fairlead {

// Waits for a condition; the only place that sleeps, between looks.
inline bool Until(const std::function<bool()>& condition,
           absl::Duration limit = absl::Seconds(30)) {
  absl::Time end = absl::Now() + limit;
  while (!condition()) {
    if (absl::Now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

class ControllerProcess {
 public:
  ControllerProcess() {
    char name[] = "/tmp/fl-controller-XXXXXX";
    folder_ = mkdtemp(name);
    std::filesystem::create_directory(disk());
  }
  ~ControllerProcess() {
    Kill();
    std::filesystem::remove_all(folder_);
  }

  // Starts it, or starts it again on the same port, and waits until ready.
  void Start(std::vector<std::string> flags = {}) {
    if (!flags.empty()) flags_ = flags;
    std::string kubeconfig = Kubeconfig();
    std::filesystem::remove(kubeconfig);
    std::vector<std::string> args = {
        FAIRLEAD_BINARY_DIR "/bin/fairlead-controller",
        "--store", disk() + "/store.db",
        "--listen", listen_,
        "--log-level", "warn",
        "--write-kubeconfig", kubeconfig};
    args.insert(args.end(), flags_.begin(), flags_.end());
    pid_ = harness::Spawn(std::move(args), folder_ + "/log");
    ASSERT_TRUE(Until([&] { return std::filesystem::exists(kubeconfig); },
                      absl::Seconds(20)))
        << Log();
    auto server = kube::LoadKubeconfig(kubeconfig);
    ASSERT_TRUE(server.ok()) << server.status();
    url_ = server->url;
    listen_ = url_.substr(strlen("http://"));
  }

  void Kill() { End(SIGKILL); }
  int Terminate() { return End(SIGTERM); }

  std::string Kubeconfig() const { return folder_ + "/kubeconfig"; }
  const std::string& url() const { return url_; }
  const std::string& folder() const { return folder_; }
  // Where its store is, and nothing that is not its own.
  std::string disk() const { return folder_ + "/disk"; }
  pid_t pid() const { return pid_; }
  std::string Log() const {
    std::ifstream file(folder_ + "/log");
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

 private:
  int End(int signal) {
    if (pid_ <= 0) return 0;
    kill(pid_, signal);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }

  std::string folder_, url_;
  std::string listen_ = "127.0.0.1:0";
  std::vector<std::string> flags_;
  pid_t pid_ = -1;
};

// The exit code and the output of one that ends by itself.
inline std::pair<int, std::string> RunController(const std::string& flags) {
  const std::string command =
      "timeout 20 " FAIRLEAD_BINARY_DIR "/bin/fairlead-controller " + flags +
      " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return {-1, ""};
  std::string output;
  char buffer[512];
  while (size_t n = fread(buffer, 1, sizeof buffer, pipe)) {
    output.append(buffer, n);
  }
  return {WEXITSTATUS(pclose(pipe)), output};
}

}  // namespace fairlead

#endif  // FAIRLEAD_TESTS_NETNS_CONTROLLER_PROCESS_H_
