// SPDX-License-Identifier: Apache-2.0
// What docs/SECURITY.md says of an agent, tried on a real one: by other users of
// its node, by objects that mean harm; and that it keeps secrets to itself.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "tests/netns/agent_fixture.h"

namespace fairlead::harness {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uid_t kNobody = 65534;

// Runs `fn` as a user without any privilege, in a process of its own; what it
// returns (0..255).
int AsNobody(const std::function<int()>& fn) {
  pid_t pid = fork();
  if (pid == 0) {
    if (setgroups(0, nullptr) != 0 || setgid(kNobody) != 0 ||
        setuid(kNobody) != 0) {
      _exit(255);
    }
    _exit(fn());
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

class AgentSecurityTest : public AgentTest {
 protected:
  std::string Socket() const { return dir_->path() + "/agent.sock"; }
  std::string PinRoot() const { return bpffs_->path() + "/agent"; }

  // Its output, both streams.
  std::string Ctl(const std::string& command) const {
    auto said = netns_->Command(StrCat(FAIRLEAD_BINARY_DIR,
                                       "/bin/fairleadctl ", command,
                                       " --socket ", Socket()));
    return said.ok() ? *said : std::string(said.status().message());
  }

  // 0: an answer or an open connection; else what connect(2) says, or EPIPE
  // when the other side hangs up.
  int Knock() const {
    const std::string path = Socket();
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path.c_str(), path.size());
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address),
                sizeof address) != 0) {
      return errno;
    }
    char byte = 0;  // gRPC's server speaks first
    return recv(fd.get(), &byte, 1, 0) > 0 ? 0 : EPIPE;
  }
};

TEST_F(AgentSecurityTest, OtherUsersGetNeitherTheSocketNorTheMaps) {
  ASSERT_EQ(chmod(dir_->path().c_str(), 0755), 0);
  StartAgent();
  WaitHealthy();
  EXPECT_EQ(Knock(), 0);
  EXPECT_EQ(AsNobody([&] { return Knock(); }), EACCES);
  struct stat found = {};
  ASSERT_EQ(stat(Socket().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
  EXPECT_EQ(AsNobody([&] {
              return open(PinRoot().c_str(), O_RDONLY | O_DIRECTORY) < 0
                         ? errno
                         : 0;
            }),
            EACCES);
  // Should somebody open the door, the maps are behind another.
  ASSERT_EQ(chmod(PinRoot().c_str(), 0755), 0);
  for (const auto& entry : std::filesystem::directory_iterator(PinRoot())) {
    ASSERT_EQ(stat(entry.path().c_str(), &found), 0);
    EXPECT_EQ(found.st_mode & 0777, 0700u) << entry.path();
  }
}

TEST_F(AgentSecurityTest, APeerOfAnotherUserIsRefusedWhateverTheModeSays) {
  ASSERT_EQ(chmod(dir_->path().c_str(), 0755), 0);
  StartAgent();
  WaitHealthy();
  ASSERT_EQ(chmod(Socket().c_str(), 0666), 0);
  EXPECT_EQ(AsNobody([&] { return Knock(); }), EPIPE);
  EXPECT_TRUE(Eventually([&] {
    return Log().find("\"refused an admin connection\" uid=65534") !=
           std::string::npos;
  })) << Log();
  EXPECT_EQ(Knock(), 0);
  EXPECT_THAT(Ctl("agent status"), HasSubstr("n1"));
}

TEST_F(AgentSecurityTest, AFolderThatAnotherUserMadeIsNotUsed) {
  ASSERT_EQ(mkdir(PinRoot().c_str(), 0777), 0);
  ASSERT_EQ(chown(PinRoot().c_str(), kNobody, kNobody), 0);
  agent_ = Spawn(Flags());
  int status = 0;
  ASSERT_TRUE(Eventually(
      [&] { return waitpid(agent_, &status, WNOHANG) == agent_; },
      absl::Seconds(30)));
  agent_ = 0;
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_THAT(Log(), HasSubstr("is not a folder of this user's (its owner is "
                               "uid 65534)"));
  ASSERT_EQ(rmdir(PinRoot().c_str()), 0);
}

TEST_F(AgentSecurityTest, TellsNobodyItsToken) {
  const std::string token = "tok3n-that-nobody-may-read";
  const std::string kubeconfig = dir_->path() + "/kubeconfig";
  std::ofstream(kubeconfig) << R"(
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: ")" << StubApi::url() << R"("}}]
users: [{name: u, user: {token: )" << token << "}}]\n";
  PutService("web", kVip);
  PutEndpoints("web", {1});
  agent_ = Spawn({"--kubeconfig", kubeconfig, "--node-name", "n1",
                  "--cgroup-root", cgroup_->path(), "--log-level", "debug",
                  "--admin-socket", Socket()});
  ASSERT_TRUE(Eventually([&] { return Get(10256, "/livez") != ""; })) << Log();
  WaitHealthy();
  // It did use it.
  EXPECT_THAT(api_->LastHead(), HasSubstr("Authorization: Bearer " + token));
  std::string told = Ctl("agent status -o json");
  for (const char* page : {"/metrics", "/healthz", "/livez", "/configz",
                           "/statusz", "/flagz"}) {
    told += Get(10249, page);
  }
  // Nor when things go wrong.
  api_->Stop();
  ASSERT_TRUE(Eventually([&] {
    return Log().find("not connected to the API server") != std::string::npos;
  })) << Log();
  told += Ctl("agent status") + Log();
  EXPECT_THAT(told, HasSubstr(StubApi::url()));
  EXPECT_THAT(told, Not(HasSubstr(token)));
}

TEST_F(AgentSecurityTest, VersionNamesEachLibrary) {
  auto said = netns_->Command(
      StrCat(FAIRLEAD_BINARY_DIR, "/bin/fairlead-agent --version"));
  ASSERT_OK(said.status());
  for (const char* library :
       {"fairlead-agent", "libbpf", "OpenSSL", "Boost", "Abseil", "gRPC",
        "Protocol Buffers", "libnl", "simdjson", "yaml-cpp"}) {
    EXPECT_THAT("\n" + *said,
                ::testing::ContainsRegex(StrCat("\n", library, " [0-9]+[.][0-9]")));
  }
}

// An externalIP that is another's ClusterIP (CVE-2020-8554's shape).
TEST_F(AgentSecurityTest, AServiceTakesNoAddressFromAnOlderOne) {
  PutService("web", kVip);
  PutEndpoints("web", {1});
  StartAgent();
  WaitHealthy();
  api_->Put("services", "web-hijack", "",
            StrCat(R"("spec":{"clusterIPs":["10.96.0.66"],"externalIPs":[")",
                   kVip, R"("],"ports":[{"name":"http","port":80}]})"));
  PutEndpoints("web-hijack", {3});
  ASSERT_TRUE(
      Eventually([&] { return Connect("10.96.0.66") == "10.244.0.3"; }))
      << Log();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Connect(), "10.244.0.1");
  ASSERT_TRUE(Eventually([&] { return !Told().empty(); }));
  EXPECT_THAT(Told()[0], HasSubstr("FrontendConflict"));
}

// What an API server would hardly let in: megabytes in one object, thousands
// of ports, an address that is none.
TEST_F(AgentSecurityTest, OversizeObjectsCostNobodyElse) {
  PutService("web", kVip);
  PutEndpoints("web", {1});
  StartAgent();
  WaitHealthy();
  const std::string padding(4 << 20, 'x');
  api_->Put("endpointslices", "padded", StrCat("\"a\":\"", padding, "\""),
            R"("addressType":"IPv4","ports":[],"endpoints":[])");
  std::string ports;
  for (int port = 1; port <= 20000; ++port) {
    StrAppend(&ports, port == 1 ? "" : ",", "{\"name\":\"p", port,
              "\",\"port\":", port, "}");
  }
  api_->Put("services", "many-ports", "",
            StrCat(R"("spec":{"clusterIPs":["10.96.0.99"],"ports":[)", ports,
                   "]}"));
  std::string addresses;
  for (int i = 0; i < 100000; ++i) {
    StrAppend(&addresses, i == 0 ? "" : ",", R"({"addresses":["10.)",
              128 + i / 65536, ".", i / 256 % 256, ".", i % 256, "\"]}");
  }
  api_->Put("endpointslices", "many-endpoints",
            R"("kubernetes.io/service-name":"many-endpoints")",
            StrCat(R"("addressType":"IPv4","ports":[{"name":"http",)"
                   R"("port":8080}],"endpoints":[)", addresses, "]"));
  PutService("many-endpoints", "10.96.0.98");
  // Later changes are applied as ever.
  PutEndpoints("web", {2});
  ASSERT_TRUE(Eventually([&] { return Connect() == "10.244.0.2"; },
                         absl::Seconds(60)))
      << Log();
  PutService("other", "10.96.0.11");
  PutEndpoints("other", {3});
  ASSERT_TRUE(Eventually([&] { return Connect("10.96.0.11") == "10.244.0.3"; },
                         absl::Seconds(60)))
      << Log();
  EXPECT_THAT(Get(10256, "/livez"), HasSubstr("200 OK"));
  EXPECT_LT(Metric("process_resident_memory_bytes"), 512e6);
  EXPECT_GT(Metric("process_resident_memory_bytes"), 0);
}

}  // namespace
}  // namespace fairlead::harness
