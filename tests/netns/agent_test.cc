// SPDX-License-Identifier: Apache-2.0
// A real agent process, in a namespace, a cgroup and a BPF file system of the
// test's own: connections balanced, restarts, an API server that is gone.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <thread>

#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "tests/harness/scopes.h"
#include "tests/harness/stub_api.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

#define ASSERT_OK(expr)                                       \
  do {                                                        \
    absl::Status status_under_test = (expr);                  \
    ASSERT_TRUE(status_under_test.ok()) << status_under_test; \
  } while (false)

sockaddr_in V4(const std::string& ip, int port) {
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
 protected:
  static constexpr char kVip[] = "10.96.0.10";

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

  void PutEndpoints(const std::string& service, std::set<int> numbers) {
    std::string list;
    for (int i : numbers) {
      StrAppend(&list, list.empty() ? "" : ",",
                R"({"addresses":["10.244.0.)", i, R"("]})");
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
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    std::string log = dir_->path() + "/agent.log";
    int netns = netns_->fd();
    pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      setns(netns, CLONE_NEWNET);
      int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      dup2(fd, 2);
      execv(argv[0], argv.data());
      _exit(127);
    }
    return pid;
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

  void StartAgent() {
    agent_ = Spawn(Flags());
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
  std::string Get(int port, const std::string& path) {
    std::string answer;
    (void)netns_->Run([&]() -> absl::Status {
      UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_in address = V4("127.0.0.1", port);
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

TEST_F(AgentTest, BalancesAndFollowsChanges) {
  PutService("web", kVip);
  PutEndpoints("web", {1, 2, 3});
  StartAgent();
  WaitHealthy();
  std::map<std::string, int> answers = Connect(120);
  EXPECT_EQ(answers.size(), 3u) << Log();
  for (const auto& [who, count] : answers) {
    EXPECT_THAT(who, HasSubstr("10.244.0."));
    EXPECT_GT(count, 15) << who;
  }
  PutEndpoints("web", {2});
  ASSERT_TRUE(Eventually([&] { return Connect(20).size() == 1; }));
  EXPECT_EQ(Connect(), "10.244.0.2");
  PutEndpoints("web", {});
  ASSERT_TRUE(Eventually([&] { return Connect() == "ECONNREFUSED"; }));
  api_->Delete("services", "web");
  ASSERT_TRUE(Eventually([&] { return Metric("fl_frontends") == 0; }));
  PutService("other", "10.96.0.11");
  PutEndpoints("other", {1});
  ASSERT_TRUE(Eventually([&] { return Connect("10.96.0.11") == "10.244.0.1"; }))
      << Log();
}

TEST_F(AgentTest, ARestartWithNothingChangedWritesNothing) {
  PutService("web", kVip);
  PutEndpoints("web", {1, 2});
  StartAgent();
  WaitHealthy();
  EXPECT_GT(Metric("fl_kernel_operations_total"), 0);
  ASSERT_EQ(StopAgent(SIGKILL), -SIGKILL);
  EXPECT_EQ(Connect(40).size(), 2u);  // without an agent
  StartAgent();
  WaitHealthy();
  EXPECT_EQ(Metric("fl_kernel_operations_total"), 0) << Log();
  EXPECT_EQ(Metric("fl_frontends"), 1);
  EXPECT_EQ(Connect(40).size(), 2u);
  // What happened meanwhile is made up for.
  ASSERT_EQ(StopAgent(SIGKILL), -SIGKILL);
  PutEndpoints("web", {3});
  StartAgent();
  WaitHealthy();
  EXPECT_EQ(Connect(), "10.244.0.3");
}

TEST_F(AgentTest, ForwardsWithoutAnApiServer) {
  PutService("web", kVip);
  PutEndpoints("web", {1});
  StartAgent();
  WaitHealthy();
  EXPECT_EQ(Connect(), "10.244.0.1");
  api_->Stop();
  ASSERT_TRUE(Eventually([&] {
    return Get(10256, "/healthz").find("\"connected\":false") !=
           std::string::npos;
  }));
  EXPECT_THAT(Get(10256, "/healthz"), HasSubstr("200 OK"));
  EXPECT_EQ(Connect(), "10.244.0.1");
  // An agent that starts now keeps what it finds.
  ASSERT_EQ(StopAgent(SIGKILL), -SIGKILL);
  StartAgent();
  EXPECT_THAT(Get(10256, "/healthz"), HasSubstr("503"));
  EXPECT_EQ(Connect(), "10.244.0.1");
  PutEndpoints("web", {2});
  ASSERT_OK(api_->Start());
  ASSERT_TRUE(Eventually([&] { return Connect() == "10.244.0.2"; })) << Log();
}

TEST_F(AgentTest, ABadObjectIsReportedAndTheOthersGoOn) {
  PutService("web", kVip);
  PutEndpoints("web", {1});
  StartAgent();
  WaitHealthy();
  PutService("web", "10.96.0.300");  // keeps its last good state
  PutService("other", "10.96.0.11");
  PutEndpoints("other", {2});
  ASSERT_TRUE(Eventually([&] { return Connect("10.96.0.11") == "10.244.0.2"; }))
      << Log();
  EXPECT_EQ(Connect(), "10.244.0.1");
  EXPECT_EQ(Metric("fl_problems_total"), 1);
  ASSERT_TRUE(Eventually([&] { return !api_->Created().empty(); }));
  EXPECT_THAT(api_->Created()[0], HasSubstr("BadService"));
  EXPECT_THAT(api_->Created()[0], HasSubstr("\"web\""));
}

TEST_F(AgentTest, DevicesComeAndGo) {
  StartAgent();
  WaitHealthy();
  double before = Metric("fl_devices_attached");
  ASSERT_GE(before, 1);  // br0
  ASSERT_OK(netns_->Command("ip link add veth-a type veth peer name veth-b")
                .status());
  EXPECT_TRUE(
      Eventually([&] { return Metric("fl_devices_attached") == before + 2; }))
      << Log();
  ASSERT_OK(netns_->Command("ip link del veth-a").status());
  EXPECT_TRUE(
      Eventually([&] { return Metric("fl_devices_attached") == before; }))
      << Log();
}

TEST_F(AgentTest, MissingThingsAreSaidOnce) {
  EXPECT_EQ(RunAgent({"--server", StubApi::url(), "--cgroup-root", "/etc"}), 1);
  EXPECT_THAT(Log(), HasSubstr("cgroup"));
  EXPECT_EQ(RunAgent({"--no-such-flag"}), 2);
}

TEST_F(AgentTest, TheAdminSocketIsPrivate) {
  StartAgent();
  struct stat info = {};
  ASSERT_TRUE(Eventually([&] {
    return stat((dir_->path() + "/agent.sock").c_str(), &info) == 0;
  })) << Log();
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

}  // namespace
}  // namespace fairlead::harness
