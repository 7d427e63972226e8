// SPDX-License-Identifier: Apache-2.0
// What scripts/deploy installs, used as it will be: the image under containerd
// with the DaemonSet's own arguments, mounts and capabilities; the roles
// against what an agent asks for. containerd and its containers are in a PID
// namespace of the test's own, and end with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/netns/agent_fixture.h"
#include "userspace/base/netns.h"
#include "userspace/kube/yaml.h"

namespace fairlead::harness {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kDeploy[] = FAIRLEAD_SOURCE_DIR "/scripts/deploy";

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The manifest's object of this kind.
Json Deployed(const std::string& kind) {
  auto objects =
      kube::JsonFromYaml(ReadAll(StrCat(kDeploy, "/fairlead-agent.yaml")));
  EXPECT_TRUE(objects.ok()) << objects.status();
  if (!objects.ok()) return Json();
  for (const Json& object : *objects) {
    if (object["kind"] == kind) return object;
  }
  ADD_FAILURE() << "no " << kind;
  return Json();
}

Json DeployedContainer() {
  return Deployed("DaemonSet")["spec"]["template"]["spec"]["containers"][0];
}

// "GET /api/v1/services?watch=true" as a role names it: "/services/watch".
std::string Permission(const std::string& request) {
  std::vector<std::string> words = absl::StrSplit(request, ' ');
  std::string path = words[1].substr(0, words[1].find('?'));
  std::vector<std::string> parts =
      absl::StrSplit(path, '/', absl::SkipEmpty());
  // api/v1/... or apis/GROUP/VERSION/..., then namespaces/NS/ of those in one.
  std::string group = parts[0] == "api" ? "" : parts[1];
  size_t at = parts[0] == "api" ? 2 : 3;
  if (parts.size() > at + 2 && parts[at] == "namespaces") at += 2;
  bool named = parts.size() > at + 1;
  std::string verb = words[0] == "POST"    ? "create"
                     : words[0] == "PATCH" ? "patch"
                     : named               ? "get"
                                           : "list";
  if (words[1].find("watch=true") != std::string::npos) verb = "watch";
  return StrCat(group, "/", parts[at], "/", verb);
}

std::set<std::string> Granted(const Json& role) {
  std::set<std::string> granted;
  for (const Json& rule : role["rules"]) {
    for (const std::string group : rule["apiGroups"]) {
      for (const std::string resource : rule["resources"]) {
        for (const std::string verb : rule["verbs"]) {
          granted.insert(StrCat(group, "/", resource, "/", verb));
        }
      }
    }
  }
  return granted;
}

class DeployTest : public AgentTest {
 protected:
  void BreakService() { PutService("web", "10.96.0.300"); }
  std::set<std::string> Asked() {
    std::set<std::string> asked;
    for (const std::string& request : api_->Requests()) {
      asked.insert(Permission(request));
    }
    return asked;
  }
};

TEST_F(DeployTest, TheRoleIsExactlyAsWideAsUsed) {
  std::set<std::string> granted = Granted(Deployed("ClusterRole"));
  PutService("web", kVip);
  PutEndpoints("web", {1});
  // From a server without streamed lists and events.k8s.io, then from one with
  // them: one Event, then the same again.
  for (bool modern : {false, true}) {
    api_->StreamLists(modern);
    api_->ServeEventsGroup(modern);
    StartAgent();
    WaitHealthy();
    const size_t before = Told().size();
    BreakService();
    ASSERT_TRUE(Eventually([&] { return Told().size() > before; }));
    PutService("web", kVip);
    ASSERT_TRUE(Eventually([&] { return Connect() == "10.244.0.1"; }));
    BreakService();
    ASSERT_TRUE(
        Eventually([&] { return Told().size() == before + 2; }));
    PutService("web", kVip);
    ASSERT_TRUE(Eventually([&] { return Connect() == "10.244.0.1"; }));
    ASSERT_EQ(StopAgent(SIGTERM), 0) << Log();
  }
  ASSERT_TRUE(Eventually([&] { return Asked() == granted; }))
      << "asked for: " << absl::StrJoin(Asked(), " ")
      << "\ngranted: " << absl::StrJoin(granted, " ");
}

TEST_F(DeployTest, TheUnitHasTheDaemonSetsCapabilities) {
  std::string unit = ReadAll(StrCat(kDeploy, "/fairlead-agent.service"));
  std::vector<std::string> names;
  const Json container = DeployedContainer();
  for (const std::string name :
       container["securityContext"]["capabilities"]["add"]) {
    names.push_back("CAP_" + name);
  }
  EXPECT_THAT(unit, HasSubstr(StrCat("\nCapabilityBoundingSet=",
                                     absl::StrJoin(names, " "), "\n")));
}

// With the manifest's capabilities a process can't enter another namespace; what
// is asked of its own (the node's) must go on working.
TEST(NetnsPrivilegeTest, TheOwnNamespaceNeedsNoCapability) {
  auto other = NetnsScope::Create();
  ASSERT_OK(other.status());
  absl::Status own, foreign;
  std::thread([&] {  // capabilities are a thread's
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2] = {};
    ASSERT_EQ(syscall(SYS_capset, &header, none), 0);
    auto nothing = [] { return absl::OkStatus(); };
    own = RunInNetns("/proc/self/ns/net", nothing);
    foreign = RunInNetns(other->path(), nothing);
  }).join();
  EXPECT_TRUE(own.ok()) << own;
  EXPECT_TRUE(absl::IsPermissionDenied(foreign)) << foreign;
}

// The image in a container as a kubelet would start it.
class ImageTest : public DeployTest {
 protected:
  void SetUp() override {
    DeployTest::SetUp();
    ASSERT_FALSE(HasFatalFailure());
    work_ = dir_->path() + "/containerd";
    for (const char* folder : {"", "/config", "/pins", "/run", "/netns"}) {
      std::filesystem::create_directory(work_ + folder);
    }
    ASSERT_OK(RunCommand(StrCat(kDeploy, "/build-image --bin ",
                                FAIRLEAD_BINARY_DIR, "/bin --tag test ", work_,
                                "/image && tar -C ", work_, "/image -cf ",
                                work_, "/image.tar ."))
                  .status());
    StartContainerd();
    ASSERT_TRUE(Eventually([&] { return Ctr("version").ok(); },
                           absl::Seconds(60)))
        << ReadAll(work_ + "/log");
    ASSERT_OK(Ctr(StrCat("images import --snapshotter native --base-name "
                         "fairlead-agent ", work_, "/image.tar"))
                  .status());
  }

  void TearDown() override {
    if (agent_ > 0) {
      EXPECT_EQ(StopAgent(SIGTERM), 0) << Log();
      // Its own way out, with the same capabilities.
      agent_ = StartContainer("cleanup", {"--bpf-root=/bpf/fairlead",
                                          "--cleanup"});
      EXPECT_EQ(Wait(std::exchange(agent_, 0)), 0) << Log();
      EXPECT_NE(access((bpffs_->path() + "/fairlead").c_str(), F_OK), 0);
    }
    if (containerd_ > 0) {
      // The first process of its PID namespace: all others go with it.
      kill(containerd_, SIGKILL);
      Wait(containerd_);
    }
    DeployTest::TearDown();
  }

  // Where the manifest's volumes are in this test.
  std::map<std::string, std::string> Volumes() const {
    return {{"/etc/fairlead", work_ + "/config"},
            {"/bpf", bpffs_->path()},
            {"/host/cgroup", cgroup_->path()},
            {"/run/fairlead", work_ + "/run"},
            {"/run/netns", work_ + "/netns"}};
  }

  // `words` as a child in the test's network; its output goes to `log`.
  pid_t Start(std::vector<std::string> words, const std::string& log) {
    return harness::Spawn(std::move(words), log, netns_->fd());
  }

  void StartContainerd() {
    std::ofstream(work_ + "/config.toml")
        << "version = 2\nroot = \"" << work_ << "/root\"\nstate = \"" << work_
        << "/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"
        << "[grpc]\naddress = \"" << Socket() << "\"\n";
    containerd_ = Start({"unshare", "--pid", "--mount-proc", "--fork",
                         "--kill-child", "containerd", "--config",
                         work_ + "/config.toml"},
                        work_ + "/log");
  }

  std::string Socket() const { return work_ + "/containerd.sock"; }
  absl::StatusOr<std::string> Ctr(const std::string& command) {
    return RunCommand(StrCat("ctr --address ", Socket(), " ", command));
  }

  pid_t StartContainer(const std::string& name,
                       const std::vector<std::string>& args) {
    Json container = DeployedContainer();
    const Json& security = container["securityContext"];
    EXPECT_EQ(security["capabilities"]["drop"], Json::array({"ALL"}));
    EXPECT_EQ(security["readOnlyRootFilesystem"], true);
    EXPECT_EQ(security["seccompProfile"]["type"], "RuntimeDefault");
    std::vector<std::string> words = {
        "ctr", "--address", Socket(), "run", "--rm", "--snapshotter", "native",
        "--net-host", "--read-only", "--seccomp"};
    // What containerd gives to who doesn't say.
    for (const char* cap :
         {"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW",
          "SETGID", "SETUID", "SETFCAP", "SETPCAP", "NET_BIND_SERVICE",
          "SYS_CHROOT", "KILL", "AUDIT_WRITE"}) {
      words.insert(words.end(), {"--cap-drop", StrCat("CAP_", cap)});
    }
    for (const std::string cap : security["capabilities"]["add"]) {
      words.insert(words.end(), {"--cap-add", StrCat("CAP_", cap)});
    }
    for (const Json& mount : container["volumeMounts"]) {
      std::string at = mount["mountPath"];
      bool read_only = mount.value("readOnly", false);
      words.insert(words.end(),
                   {"--mount", StrCat("type=bind,src=", Volumes().at(at),
                                      ",dst=", at, ",options=rbind:",
                                      read_only ? "ro" : "rw")});
    }
    words.insert(words.end(), {"fairlead-agent:test", name,
                               "/usr/bin/fairlead-agent"});
    words.insert(words.end(), args.begin(), args.end());
    return Start(words, dir_->path() + "/agent.log");
  }

  // The capabilities of who listens on the admin socket.
  std::string AgentStatusLine(const std::string& key) {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::string path = work_ + "/run/agent.sock";
    memcpy(address.sun_path, path.c_str(), path.size());
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address),
                      sizeof address),
              0);
    ucred peer = {};
    socklen_t size = sizeof peer;
    getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size);
    for (absl::string_view line :
         absl::StrSplit(ReadAll(StrCat("/proc/", peer.pid, "/status")), '\n')) {
      std::vector<std::string> words = absl::StrSplit(line, '\t');
      if (words[0] == key + ":") return words[1];
    }
    return "";
  }

  std::string work_;
  pid_t containerd_ = 0;
};

TEST_F(ImageTest, BalancesInAContainerWithThreeCapabilities) {
  PutService("web", kVip);
  PutEndpoints("web", {1, 2, 3});
  std::ofstream(work_ + "/config/config.conf")
      << Deployed("ConfigMap")["data"]["config.conf"].get<std::string>();
  std::vector<std::string> args;
  const Json container = DeployedContainer();
  for (std::string arg : container["args"]) {
    size_t at = arg.find("$(NODE_NAME)");
    if (at != std::string::npos) arg.replace(at, strlen("$(NODE_NAME)"), "n1");
    args.push_back(arg);
  }
  args.push_back("--server=" + StubApi::url());
  agent_ = StartContainer("agent", args);
  ASSERT_TRUE(Eventually(
      [&] {
        return Get(10256, "/healthz").find("200 OK") != std::string::npos;
      },
      absl::Seconds(60)))
      << Log();
  std::map<std::string, int> answers = Connect(60);
  EXPECT_EQ(answers.size(), 3u) << Log();
  PutEndpoints("web", {2});
  ASSERT_TRUE(Eventually([&] { return Connect() == "10.244.0.2"; }));
  constexpr uint64_t kThree = 1ull << CAP_BPF | 1ull << CAP_NET_ADMIN |
                              1ull << CAP_PERFMON;
  for (const char* set : {"CapEff", "CapPrm", "CapBnd"}) {
    EXPECT_EQ(strtoull(AgentStatusLine(set).c_str(), nullptr, 16), kThree)
        << set;
  }
  EXPECT_EQ(AgentStatusLine("NoNewPrivs"), "1");
  EXPECT_EQ(AgentStatusLine("Seccomp"), "2");
  auto status = Ctr("task exec --exec-id look agent /usr/bin/fairleadctl "
                    "service list");
  ASSERT_OK(status.status());
  EXPECT_THAT(*status, HasSubstr("10.96.0.10:80/TCP"));
  EXPECT_THAT(Log(), Not(HasSubstr("level=error")));
}

}  // namespace
}  // namespace fairlead::harness
