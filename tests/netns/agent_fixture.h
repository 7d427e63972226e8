// SPDX-License-Identifier: Apache-2.0
// A real agent process, in a namespace, a cgroup and a BPF file system of the
// test's own, fed by a StubApi; and what tests ask it and its clients.
//
// Threads: the test's main thread.
#ifndef FAIRLEAD_TESTS_NETNS_AGENT_FIXTURE_H_
#define FAIRLEAD_TESTS_NETNS_AGENT_FIXTURE_H_

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/harness/scopes.h"
#include "tests/harness/spawn.h"
#include "tests/harness/stub_api.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {

#define ASSERT_OK(expr)                                       \
  do {                                                        \
    absl::Status status_under_test = (expr);                  \
    ASSERT_TRUE(status_under_test.ok()) << status_under_test; \
  } while (false)

inline sockaddr_in V4(const std::string& ip, int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
  return address;
}

// Answers each connection with its own address.
class Endpoint {
 public:
  Endpoint(const NetnsScope& netns, std::string ip, int port)
      : ip_(std::move(ip)) {
    absl::Status status = netns.Run([&]() -> absl::Status {
      fd_.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_in address = V4(ip_, port);
      if (bind(fd_.get(), reinterpret_cast<sockaddr*>(&address),
               sizeof address) < 0 ||
          listen(fd_.get(), 64) < 0) {
        return ErrnoStatus(errno, "listen", ip_);
      }
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    thread_ = std::thread([this] {
      for (;;) {
        UniqueFd peer(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!peer.valid()) return;
        (void)send(peer.get(), ip_.data(), ip_.size(), MSG_NOSIGNAL);
      }
    });
  }
  ~Endpoint() {
    shutdown(fd_.get(), SHUT_RDWR);
    thread_.join();
  }

 private:
  std::string ip_;
  UniqueFd fd_;
  std::thread thread_;
};

class AgentTest : public ::testing::Test {
 public:
  static constexpr char kVip[] = "10.96.0.10";

 protected:
  void SetUp() override {
    auto bpffs = BpffsScope::Create();
    ASSERT_OK(bpffs.status());
    bpffs_.emplace(*std::move(bpffs));
    auto netns = NetnsScope::Create();
    ASSERT_OK(netns.status());
    netns_.emplace(*std::move(netns));
    auto cgroup = CgroupScope::Create();
    ASSERT_OK(cgroup.status());
    cgroup_.emplace(*std::move(cgroup));
    auto dir = TempDirScope::Create();
    ASSERT_OK(dir.status());
    dir_.emplace(*std::move(dir));
    // The clients are this process' sockets.
    ASSERT_OK(cgroup_->Join());
    for (int i = 1; i <= 3; ++i) {
      std::string ip = StrCat("10.244.0.", i);
      ASSERT_OK(netns_->Command(StrCat("ip addr add ", ip, "/32 dev lo"))
                    .status());
      endpoints_.push_back(std::make_unique<Endpoint>(*netns_, ip, 8080));
    }
    // A way out, so that an untranslated connect would not be refused by the
    // lack of a route.
    ASSERT_OK(netns_->Command("ip link add br0 type bridge && "
                              "ip addr add 192.0.2.1/24 dev br0 && "
                              "ip link set br0 up && "
                              "ip route add default dev br0")
                  .status());
    api_ = std::make_unique<StubApi>(&*netns_);
    ASSERT_OK(api_->Start());
  }

  void TearDown() override {
    if (agent_ > 0) {
      EXPECT_EQ(StopAgent(SIGTERM), 0);
    }
    if (bpffs_.has_value()) {
      EXPECT_EQ(RunAgent({"--cleanup"}), 0) << Log();
      EXPECT_NE(access((bpffs_->path() + "/agent").c_str(), F_OK), 0);
    }
    endpoints_.clear();
    api_.reset();
  }

  std::string Log() const {
    std::ifstream file(dir_->path() + "/agent.log");
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  void PutService(const std::string& name, const std::string& vip,
                  int port = 80) {
    api_->Put("services", name, "",
              StrCat(R"("spec":{"clusterIPs":[")", vip,
                     R"("],"ports":[{"name":"http","port":)", port, "}]}"));
  }

  // `rest`: further fields of each endpoint, beginning with a comma.
  void PutEndpoints(const std::string& service, std::set<int> numbers,
                    const std::string& rest = "") {
    std::string list;
    for (int i : numbers) {
      StrAppend(&list, list.empty() ? "" : ",",
                R"({"addresses":["10.244.0.)", i, "\"]", rest, "}");
    }
    api_->Put("endpointslices", service + "-1",
              StrCat(R"("kubernetes.io/service-name":")", service, "\""),
              StrCat(R"("addressType":"IPv4","ports":[{"name":"http",)"
                     R"("port":8080}],"endpoints":[)", list, "]"));
  }

  pid_t Spawn(std::vector<std::string> flags) {
    std::vector<std::string> words = {
        std::string(FAIRLEAD_BINARY_DIR) + "/bin/fairlead-agent",
        "--bpf-root", bpffs_->path() + "/agent"};
    words.insert(words.end(), flags.begin(), flags.end());
    return harness::Spawn(std::move(words), dir_->path() + "/agent.log",
                          netns_->fd());
  }

  static int Wait(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  int RunAgent(std::vector<std::string> flags) { return Wait(Spawn(flags)); }

  std::vector<std::string> Flags() const {
    return {"--server", StubApi::url(), "--node-name", "n1",
            "--cgroup-root", cgroup_->path(),
            "--cluster-cidr", "10.244.0.0/16",
            "--admin-socket", dir_->path() + "/agent.sock"};
  }

  void StartAgent(const std::vector<std::string>& more = {}) {
    std::vector<std::string> flags = Flags();
    flags.insert(flags.end(), more.begin(), more.end());
    agent_ = Spawn(flags);
    ASSERT_TRUE(Eventually([&] { return Get(10256, "/livez") != ""; }))
        << Log();
  }
  void WaitHealthy() {
    ASSERT_TRUE(Eventually([&] {
      return Get(10256, "/healthz").find("200 OK") != std::string::npos;
    })) << Log();
  }
  int StopAgent(int signal) {
    kill(agent_, signal);
    return Wait(std::exchange(agent_, 0));
  }

  // The whole answer; "" if there is none.
  std::string Get(int port, const std::string& path,
                  const std::string& ip = "127.0.0.1") {
    std::string answer;
    (void)netns_->Run([&]() -> absl::Status {
      UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_in address = V4(ip, port);
      if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address),
                  sizeof address) < 0) {
        return absl::OkStatus();
      }
      std::string request = StrCat("GET ", path, " HTTP/1.1\r\n\r\n");
      (void)send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
      char buffer[4096];
      ssize_t n = 0;
      while ((n = read(fd.get(), buffer, sizeof buffer)) > 0) {
        answer.append(buffer, n);
      }
      return absl::OkStatus();
    });
    return answer;
  }

  double Metric(const std::string& name) {
    std::string text = Get(10249, "/metrics");
    size_t at = text.find("\n" + name + " ");
    if (at == text.npos) return -1;
    return atof(text.c_str() + at + name.size() + 2);
  }

  // Bodies of what the agent has written about objects; without the Event of its
  // start.
  std::vector<std::string> Told() {
    std::vector<std::string> told = api_->Created();
    std::erase_if(told, [](const std::string& body) {
      return body.find(R"("reason":"Starting")") != std::string::npos;
    });
    return told;
  }

  // Who answered; or the error's name.
  std::string Connect(const std::string& ip = kVip, int port = 80) {
    std::string answer;
    (void)netns_->Run([&]() -> absl::Status {
      UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      timeval limit = {1, 0};
      setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
      setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      sockaddr_in address = V4(ip, port);
      if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address),
                  sizeof address) < 0) {
        answer = strerrorname_np(errno);
        return absl::OkStatus();
      }
      char buffer[64];
      ssize_t n = read(fd.get(), buffer, sizeof buffer);
      if (n > 0) answer.assign(buffer, n);
      return absl::OkStatus();
    });
    return answer;
  }

  std::map<std::string, int> Connect(int times) {
    std::map<std::string, int> answers;
    for (int i = 0; i < times; ++i) ++answers[Connect()];
    return answers;
  }

  std::optional<BpffsScope> bpffs_;
  std::optional<NetnsScope> netns_;
  std::optional<CgroupScope> cgroup_;
  std::optional<TempDirScope> dir_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  std::unique_ptr<StubApi> api_;
  pid_t agent_ = 0;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_AGENT_FIXTURE_H_
