// SPDX-License-Identifier: Apache-2.0
// A machine that lacks something: each program says what in one message, with
// the way to get it, and has touched nothing. What is lacking is really
// lacking: privileges are dropped, bpf(2) is taken away by seccomp, file
// systems are of another kind.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/harness/scopes.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"
#include "userspace/datapath/requirements.h"

namespace fairlead::harness {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

#define ASSERT_OK(expr)                                       \
  do {                                                        \
    absl::Status status_under_test = (expr);                  \
    ASSERT_TRUE(status_under_test.ok()) << status_under_test; \
  } while (false)

constexpr uid_t kNobody = 65534;
// The first field of seccomp's view is the number, arguments are 64 bits wide.
constexpr uint32_t kFirstArgument = 16;

void BecomeNobody() {
  if (setresgid(kNobody, kNobody, kNobody) != 0 ||
      setresuid(kNobody, kNobody, kNobody) != 0) {
    _exit(126);
  }
}

// Root, but for what loads BPF programs.
void DropBpf() {
  for (int cap : {CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN}) {
    if (prctl(PR_CAPBSET_DROP, cap) != 0) _exit(126);
  }
}

// Root with all capabilities, but only there.
void EnterUserNamespace() {
  if (unshare(CLONE_NEWUSER) != 0) _exit(126);
  int fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
  if (write(fd, "0 0 1", 5) != 5) _exit(126);
}

void InstallFilter(sock_filter* code, unsigned short length) {
  sock_fprog program = {length, code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    _exit(126);
  }
}

// As on a kernel without CONFIG_BPF_SYSCALL.
void TakeBpfAway() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  InstallFilter(code, std::size(code));
}

// As on a kernel that knows none of our program types.
void RefusePrograms() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kFirstArgument),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, BPF_PROG_LOAD, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  InstallFilter(code, std::size(code));
}

struct Outcome {
  int exit_code = -1;
  std::string said;
};

class PreconditionsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto bpffs = BpffsScope::Create();
    ASSERT_OK(bpffs.status());
    bpffs_.emplace(*std::move(bpffs));
    bpffs_before_ = ListBpffs();
    auto netns = NetnsScope::Create();
    ASSERT_OK(netns.status());
    netns_.emplace(*std::move(netns));
    auto cgroup = CgroupScope::Create();
    ASSERT_OK(cgroup.status());
    cgroup_.emplace(*std::move(cgroup));
    auto dir = TempDirScope::Create();
    ASSERT_OK(dir.status());
    dir_.emplace(*std::move(dir));
    // nobody may look, so that what stops it is not the path.
    std::filesystem::permissions(dir_->path(),
                                 std::filesystem::perms(0755));
    ASSERT_OK(netns_->Command("ip link add br0 type bridge && "
                              "ip addr add 192.0.2.1/24 dev br0 && "
                              "ip link set br0 up").status());
  }

  // Starts a program of ours in the namespace, after `lose` has taken something
  // from the process.
  pid_t Spawn(const std::string& program, std::vector<std::string> words,
              const std::function<void()>& lose) {
    words.insert(words.begin(), program);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    // By descriptor: nobody need not reach the folder that it was built in.
    std::string path = StrCat(FAIRLEAD_BINARY_DIR, "/bin/", program);
    UniqueFd file(open(path.c_str(), O_PATH | O_CLOEXEC));
    std::string log = Log();
    int netns = netns_->fd();
    pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      alarm(20);
      setns(netns, CLONE_NEWNET);
      int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      dup2(fd, 1);
      dup2(fd, 2);
      lose();
      syscall(SYS_execveat, file.get(), "", argv.data(), environ,
              AT_EMPTY_PATH);
      _exit(127);
    }
    return pid;
  }
  std::string Log() const { return dir_->path() + "/said"; }

  Outcome Finish(pid_t pid) const {
    int status = 0;
    waitpid(pid, &status, 0);
    std::ifstream text(Log());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status),
            std::string(std::istreambuf_iterator<char>(text), {})};
  }

  Outcome Run(const std::string& program, std::vector<std::string> words,
              const std::function<void()>& lose) {
    return Finish(Spawn(program, std::move(words), lose));
  }

  pid_t SpawnAgent(const std::function<void()>& lose) {
    return Spawn("fairlead-agent",
                 {"--server", "http://127.0.0.1:1", "--node-name", "n1",
                  "--cgroup-root", cgroup_root_.value_or(cgroup_->path()),
                  "--bpf-root", BpfRoot(), "--admin-socket",
                  dir_->path() + "/agent.sock", "--log-level", "error"},
                 lose);
  }
  Outcome RunAgent(const std::function<void()>& lose) {
    return Finish(SpawnAgent(lose));
  }
  std::string BpfRoot() const {
    return bpf_root_.value_or(bpffs_->path() + "/agent");
  }

  // One message, of one line, from that program.
  static void ExpectOneMessage(const Outcome& outcome,
                               const std::string& program) {
    EXPECT_THAT(outcome.exit_code, testing::AllOf(testing::Gt(0),
                                                  testing::Lt(126)))
        << outcome.said;
    EXPECT_EQ(outcome.said.find(program + ": "), 0u) << outcome.said;
    EXPECT_EQ(std::count(outcome.said.begin(), outcome.said.end(), '\n'), 1)
        << outcome.said;
  }

  // No pins, no socket, no programs on the cgroup and the device.
  void ExpectUntouched() {
    EXPECT_EQ(ListBpffs(), bpffs_before_);
    EXPECT_FALSE(std::filesystem::exists(BpfRoot()));
    EXPECT_FALSE(std::filesystem::exists(dir_->path() + "/agent.sock"));
    EXPECT_EQ(AttachedToCgroup(), 0u);
    auto qdiscs = netns_->Command("tc qdisc show dev br0");
    ASSERT_OK(qdiscs.status());
    EXPECT_THAT(*qdiscs, Not(HasSubstr("clsact")));
  }
  // A new one may hold the kernel's own maps.debug and progs.debug.
  std::set<std::string> ListBpffs() const {
    std::set<std::string> names;
    for (const auto& entry :
         std::filesystem::directory_iterator(bpffs_->path())) {
      names.insert(entry.path().filename());
    }
    return names;
  }
  uint32_t AttachedToCgroup() const {
    UniqueFd fd(open(cgroup_->path().c_str(), O_RDONLY | O_CLOEXEC));
    uint32_t ids[8];
    uint32_t count = std::size(ids);
    int result = bpf_prog_query(fd.get(), BPF_CGROUP_INET4_CONNECT, 0, nullptr,
                                ids, &count);
    EXPECT_EQ(result, 0);
    return count;
  }

  std::optional<BpffsScope> bpffs_;
  std::set<std::string> bpffs_before_;
  std::optional<NetnsScope> netns_;
  std::optional<CgroupScope> cgroup_;
  std::optional<TempDirScope> dir_;
  std::optional<std::string> cgroup_root_, bpf_root_;  // instead of the scopes
};

// The canary: what ExpectUntouched looks at is what an agent touches.
TEST_F(PreconditionsTest, AnAgentThatLacksNothingTouches) {
  pid_t agent = SpawnAgent([] {});
  EXPECT_TRUE(Eventually([&] {
    return std::filesystem::exists(dir_->path() + "/agent.sock");
  }));
  kill(agent, SIGKILL);
  Outcome outcome = Finish(agent);
  EXPECT_EQ(outcome.exit_code, -SIGKILL) << outcome.said;
  EXPECT_NE(ListBpffs(), bpffs_before_);
  EXPECT_TRUE(std::filesystem::exists(dir_->path() + "/agent.sock"));
  EXPECT_GT(AttachedToCgroup(), 0u);
  EXPECT_EQ(Run("fairlead-agent", {"--cleanup", "--bpf-root", BpfRoot()},
                [] {}).exit_code, 0);
  EXPECT_EQ(AttachedToCgroup(), 0u);
}

TEST_F(PreconditionsTest, AgentWithoutAnyPrivilege) {
  Outcome outcome = RunAgent(BecomeNobody);
  ExpectOneMessage(outcome, "fairlead-agent");
  EXPECT_THAT(outcome.said, HasSubstr("CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN"));
  EXPECT_THAT(outcome.said, HasSubstr("run as root, or grant it"));
  ExpectUntouched();
}

TEST_F(PreconditionsTest, AgentNamesOnlyTheMissingCapabilities) {
  Outcome outcome = RunAgent(DropBpf);
  ExpectOneMessage(outcome, "fairlead-agent");
  EXPECT_THAT(outcome.said, HasSubstr("CAP_BPF, CAP_PERFMON:"));
  EXPECT_THAT(outcome.said, Not(HasSubstr("CAP_NET_ADMIN")));
  ExpectUntouched();
}

TEST_F(PreconditionsTest, AgentInAUserNamespace) {
  Outcome outcome = RunAgent(EnterUserNamespace);
  ExpectOneMessage(outcome, "fairlead-agent");
  EXPECT_THAT(outcome.said, HasSubstr("bpf(2) is forbidden here"));
  EXPECT_THAT(outcome.said, HasSubstr("run outside of it"));
  ExpectUntouched();
}

TEST_F(PreconditionsTest, AgentWithoutCgroupV2) {
  cgroup_root_ = dir_->path();
  Outcome outcome = RunAgent([] {});
  ExpectOneMessage(outcome, "fairlead-agent");
  EXPECT_THAT(outcome.said, HasSubstr(dir_->path() +
                                      " is not a cgroup v2 directory"));
  EXPECT_THAT(outcome.said, HasSubstr("`mount -t cgroup2 none DIR` makes one"));
  ExpectUntouched();
}

TEST_F(PreconditionsTest, AgentWithACgroupThatIsNotThere) {
  cgroup_root_ = cgroup_->path() + "/missing";
  Outcome outcome = RunAgent([] {});
  ExpectOneMessage(outcome, "fairlead-agent");
  EXPECT_THAT(outcome.said, HasSubstr(*cgroup_root_ +
                                      ": No such file or directory"));
  EXPECT_THAT(outcome.said, HasSubstr("mkdir"));
  ExpectUntouched();
}

TEST_F(PreconditionsTest, AgentWithoutABpfFileSystem) {
  bpf_root_ = dir_->path() + "/agent";
  Outcome outcome = RunAgent([] {});
  ExpectOneMessage(outcome, "fairlead-agent");
  EXPECT_THAT(outcome.said, HasSubstr("is not on a BPF file system"));
  EXPECT_THAT(outcome.said, HasSubstr("`mount -t bpf bpf /sys/fs/bpf`"));
  ExpectUntouched();
}

TEST_F(PreconditionsTest, AgentOnAKernelWithoutBpf) {
  Outcome outcome = RunAgent(TakeBpfAway);
  ExpectOneMessage(outcome, "fairlead-agent");
  EXPECT_THAT(outcome.said, HasSubstr("lacks bpf(2)"));
  EXPECT_THAT(outcome.said, HasSubstr("CONFIG_BPF_SYSCALL"));
  ExpectUntouched();
}

TEST_F(PreconditionsTest, AgentOnAKernelWithoutTheProgramTypes) {
  Outcome outcome = RunAgent(RefusePrograms);
  ExpectOneMessage(outcome, "fairlead-agent");
  EXPECT_THAT(outcome.said,
              HasSubstr("lacks the BPF program type cgroup_sock_addr"));
  EXPECT_THAT(outcome.said, HasSubstr("CONFIG_CGROUP_BPF"));
  ExpectUntouched();
}

// A function that no kernel has stands for one that an older kernel lacks.
TEST(RequirementsTest, AMissingFunctionIsNamedWithItsKernel) {
  constexpr datapath::RequiredHelper kPresent = {
      BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_map_lookup_elem, "bpf_map_lookup_elem",
      "3.18"};
  constexpr datapath::RequiredHelper kFuture = {
      BPF_PROG_TYPE_SCHED_CLS, static_cast<bpf_func_id>(100000), "bpf_future",
      "99.1"};
  EXPECT_TRUE(datapath::CheckHelpers({{kPresent}}).ok());
  absl::Status status = datapath::CheckHelpers({{kPresent, kFuture}});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("lacks bpf_future, which Linux has since 99.1: a newer "
                        "kernel is needed"));
}

TEST_F(PreconditionsTest, Kubelet) {
  auto run = [&](const std::string& cgroup_root, void (*lose)()) {
    return Run("fairlead-kubelet",
               {"--server", "http://127.0.0.1:1", "--node-name", "n1",
                "--node-ip", "192.0.2.1", "--cgroup-root", cgroup_root,
                "--root-dir", dir_->path() + "/kubelet", "--netns-dir",
                dir_->path() + "/netns", "--log-level", "error"},
               lose);
  };
  Outcome nobody = run(cgroup_->path(), BecomeNobody);
  ExpectOneMessage(nobody, "fairlead-kubelet");
  EXPECT_THAT(nobody.said, HasSubstr("run it as root"));
  Outcome no_cgroup = run(dir_->path(), [] {});
  ExpectOneMessage(no_cgroup, "fairlead-kubelet");
  EXPECT_THAT(no_cgroup.said, HasSubstr("not in a cgroup v2 file system"));
  EXPECT_THAT(no_cgroup.said, HasSubstr("`findmnt -t cgroup2`"));
  Outcome half = Run("fairlead-kubelet",
                     {"--server", "http://127.0.0.1:1", "--node-ip",
                      "192.0.2.1", "--cgroup-root", cgroup_->path(),
                      "--client-ca-file", "/none"},
                     [] {});
  ExpectOneMessage(half, "fairlead-kubelet");
  EXPECT_THAT(half.said, HasSubstr("belong together: give all three or none"));
  EXPECT_FALSE(std::filesystem::exists(dir_->path() + "/kubelet"));
  EXPECT_FALSE(std::filesystem::exists(dir_->path() + "/netns"));
  EXPECT_FALSE(std::filesystem::exists(cgroup_->path() + "/pods"));
}

TEST_F(PreconditionsTest, ClusterUpNeedsRoot) {
  std::string root = dir_->path() + "/boxes";
  Outcome outcome = Run(
      "fairleadctl",
      {"cluster", "up", "--name", "preconditions", "--dir", root},
      BecomeNobody);
  ExpectOneMessage(outcome, "fairleadctl");
  EXPECT_THAT(outcome.said, HasSubstr("run it with sudo"));
  EXPECT_FALSE(std::filesystem::exists(root));
}

TEST(DemoTest, NeedsRoot) {
  auto said = RunCommand(StrCat("unshare --user ", FAIRLEAD_SOURCE_DIR,
                                "/scripts/demo 2>&1; echo exit=$?"));
  ASSERT_OK(said.status());
  EXPECT_EQ(*said,
            "demo: this needs root (namespaces, BPF): run it with sudo\n"
            "exit=1\n");
}

}  // namespace
}  // namespace fairlead::harness
