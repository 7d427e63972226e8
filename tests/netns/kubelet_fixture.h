// SPDX-License-Identifier: Apache-2.0
// The kubelet as a program, in a node of its own: a network namespace with an
// uplink, a cgroup, a directory. Its API server is the stand-in of
// kubelet_api.py, inside the same namespace. For tests only.
#ifndef FAIRLEAD_TESTS_NETNS_KUBELET_FIXTURE_H_
#define FAIRLEAD_TESTS_NETNS_KUBELET_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "tests/harness/scopes.h"
#include "tests/harness/sockets.h"
#include "tests/harness/spawn.h"
#include "userspace/base/strings.h"

namespace fairlead {

namespace fs = std::filesystem;
using harness::Eventually;
using Json = nlohmann::json;
using ::testing::HasSubstr;

inline constexpr char kNode4[] = "192.0.2.11";
inline constexpr char kNode6[] = "2001:db8::11";
inline constexpr char kReadiness[] =
    R"({"httpGet": {"path": "/healthz", "port": "http"},
        "periodSeconds": 1, "failureThreshold": 1})";

inline std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct HttpAnswer {
  int status = 0;  // 0: no connection
  std::string body;
};

// One request from the calling thread's namespace.
inline HttpAnswer Ask(const std::string& address, Port port,
               const std::string& method, const std::string& path,
               const std::string& body) {
  const L4Address peer{*IpAddress::Parse(address), port, Protocol::kTcp};
  const UniqueFd fd =
      harness::OpenSocket(peer, harness::SocketFamily::kNative);
  const timeval limit{.tv_sec = 5, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  if (harness::Connect(fd.get(), peer, harness::SocketFamily::kNative) != 0)
    return {};
  const std::string request =
      StrCat(method, " ", path, " HTTP/1.1\r\nHost: test\r\nConnection: close",
             "\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
  if (send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0)
    return {};
  std::string in;
  char chunk[16384];
  ssize_t n;
  while ((n = recv(fd.get(), chunk, sizeof(chunk), 0)) > 0)
    in.append(chunk, static_cast<size_t>(n));
  const size_t head = in.find("\r\n\r\n");
  if (head == std::string::npos) return {};
  return {atoi(in.c_str() + 9), in.substr(head + 4)};
}

class KubeletTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(geteuid(), 0u) << "this test needs root";
    node_.emplace(*harness::NetnsScope::Create());
    other_.emplace(*harness::NetnsScope::Create());
    cgroup_.emplace(*harness::CgroupScope::Create());
    dir_.emplace(*harness::TempDirScope::Create());
    ASSERT_TRUE(harness::AddVethPair(*node_, "up0", *other_, "up0").ok());
    for (const char* command :
         {"ip addr add 192.0.2.11/24 dev up0",
          "ip addr add 2001:db8::11/64 dev up0 nodad"}) {
      ASSERT_TRUE(node_->Command(command).ok());
    }
    api_ = Spawn({"/usr/bin/env", "python3",
                  StrCat(FAIRLEAD_SOURCE_DIR, "/tests/netns/kubelet_api.py"),
                  Path("port")},
                 "api.log");
    ASSERT_TRUE(Eventually([&] { return fs::exists(Path("port")); }))
        << ReadText(Path("api.log"));
    api_port_ = static_cast<Port>(std::stoi(ReadText(Path("port"))));
  }

  void TearDown() override {
    if (HasFailure()) {
      std::puts(ReadText(Path("kubelet.log")).c_str());
      for (const Json& e : Api("GET", "/api/v1/events").value("items", Json()))
        std::puts(e.value("message", "").c_str());
    }
    const Json pods = Api("GET", "/api/v1/pods");
    for (const Json& pod : pods.value("items", Json::array()))
      Delete(pod["metadata"]["name"], 0);
    if (kubelet_ > 0) {
      EXPECT_TRUE(Eventually([&] { return PodDirs() == 0; }))
          << "pods were left behind";
      Stop(&kubelet_, SIGTERM);
    }
    Stop(&api_, SIGKILL);
    RemoveWhatAFailureLeft();
  }

  void RemoveWhatAFailureLeft() {
    std::ofstream(cgroup_->path() + "/cgroup.kill") << "1";
    std::error_code ignored;
    for (const char* below : {"netns", "root"}) {
      for (const auto& entry :
           fs::recursive_directory_iterator(Path(below), ignored)) {
        if (!entry.is_directory(ignored))
          umount2(entry.path().c_str(), MNT_DETACH);
      }
    }
    EXPECT_TRUE(Eventually([&] {
      (void)harness::RunCommand(StrCat("find ", cgroup_->path(),
                                       " -mindepth 1 -depth -type d "
                                       "-exec rmdir {} +"));
      return !fs::exists(cgroup_->path() + "/pods");
    }));
  }

  std::string Path(const std::string& name) const {
    return dir_->path() + "/" + name;
  }

  // A program inside the node.
  pid_t Spawn(const std::vector<std::string>& words, const std::string& log) {
    return harness::Spawn(words, Path(log), node_->fd());
  }

  static int Stop(pid_t* pid, int signal) {
    int status = 0;
    if (*pid <= 0) return 0;
    kill(*pid, signal);
    waitpid(*pid, &status, 0);
    *pid = 0;
    return status;
  }

  std::vector<std::string> KubeletFlags(const std::string& uplink) const {
    return {StrCat(FAIRLEAD_BINARY_DIR, "/bin/fairlead-kubelet"),
            "--server", StrCat("http://127.0.0.1:", api_port_),
            "--node-name", "node-1",
            "--node-ip", StrCat(kNode4, ",", kNode6),
            "--root-dir", Path("root"),
            "--cgroup-root", cgroup_->path(),
            "--netns-dir", Path("netns"),
            "--netns-prefix", "test-",
            "--uplink", uplink,
            "--sync-frequency", "0.5",
            "--crash-backoff", "1"};
  }

  void StartKubelet(const std::string& cidrs = "10.244.1.0/24,fd00:1::/64") {
    std::vector<std::string> words = KubeletFlags("up0");
    if (!cidrs.empty()) words.insert(words.end(), {"--pod-cidr", cidrs});
    if (!address_.empty()) words.insert(words.end(), {"--address", address_});
    words.insert(words.end(), extra_flags_.begin(), extra_flags_.end());
    kubelet_ = Spawn(words, "kubelet.log");
    ASSERT_TRUE(Eventually([&] {
      return Api("GET", "/api/v1/nodes/node-1").contains("metadata");
    }));
  }

  HttpAnswer Http(const std::string& address, Port port,
                  const std::string& path, const std::string& method = "GET",
                  const std::string& body = "") const {
    HttpAnswer answer;
    (void)node_->Run([&] {
      answer = Ask(address, port, method, path, body);
      return absl::OkStatus();
    });
    return answer;
  }

  Json Api(const std::string& method, const std::string& path,
           const Json& body = Json::object()) const {
    const HttpAnswer answer =
        Http("127.0.0.1", api_port_, path, method,
             method == "GET" ? "" : body.dump());
    Json json = Json::parse(answer.body, nullptr, false);
    return json.is_object() ? json : Json::object();
  }

  // A pod of one container "c".
  static Json Pod(const std::string& name, const Json& command,
                  const Json& extra = Json::object()) {
    Json container = {{"name", "c"},
                      {"image", "host"},
                      {"command", command},
                      {"ports", {{{"name", "http"}, {"containerPort", 8080}}}}};
    container.update(extra);
    return {{"apiVersion", "v1"},
            {"kind", "Pod"},
            {"metadata", {{"name", name}}},
            {"spec",
             {{"nodeName", "node-1"},
              {"restartPolicy", "Always"},
              {"terminationGracePeriodSeconds", 20},
              {"containers", Json::array({container})}}},
            {"status", {{"phase", "Pending"}}}};
  }
  static Json EchoPod(const std::string& name) {
    return Pod(name,
               {"fairlead-echo", "--http", "8080", "--grace", "100ms"},
               {{"readinessProbe", Json::parse(kReadiness)}});
  }
  void Create(const Json& pod) {
    ASSERT_TRUE(Api("POST", "/api/v1/namespaces/default/pods", pod)
                    .contains("metadata"));
  }
  Json Get(const std::string& name) const {
    return Api("GET", "/api/v1/namespaces/default/pods/" + name);
  }
  bool Exists(const std::string& name) const {
    return Get(name).contains("spec");
  }
  void Delete(const std::string& name, std::optional<int> grace = {}) {
    Api("DELETE", "/api/v1/namespaces/default/pods/" + name,
        grace ? Json{{"gracePeriodSeconds", *grace}} : Json::object());
  }

  static Json Container(const Json& pod) {
    const Json list =
        pod.value(Json::json_pointer("/status/containerStatuses"),
                  Json::array());
    return list.empty() ? Json::object() : list[0];
  }
  static std::string Condition(const Json& pod, const std::string& type,
                               const std::string& key = "status") {
    for (const Json& c : pod.value(Json::json_pointer("/status/conditions"),
                                   Json::array())) {
      if (c["type"] == type) return c.value(key, "");
    }
    return "";
  }
  [[nodiscard]] bool Await(const std::string& pod,
                           const std::function<bool(const Json&)>& holds) {
    return Eventually([&] { return holds(Get(pod)); }, absl::Seconds(15));
  }
  [[nodiscard]] bool AwaitReady(const std::string& pod, bool ready = true) {
    return Await(pod, [&](const Json& p) {
      return Condition(p, "Ready") == (ready ? "True" : "False") &&
             p["status"]["phase"] == "Running";
    });
  }
  static bool IsWaiting(const Json& pod, const std::string& reason) {
    return Container(pod).value(
               Json::json_pointer("/state/waiting/reason"), "") == reason;
  }
  bool HasEvent(const std::string& pod, const std::string& reason,
                const std::string& text) const {
    const Json events = Api("GET", "/api/v1/events");
    for (const Json& e : events.value("items", Json::array())) {
      if (e["involvedObject"]["name"] == pod && e["reason"] == reason &&
          e["message"].get<std::string>().find(text) != std::string::npos) {
        return true;
      }
    }
    return false;
  }

  // Of all containers.
  std::string Logs() const {
    std::string log;
    for (const auto& entry : fs::recursive_directory_iterator(Path("root"))) {
      if (entry.path().extension() == ".log") log += ReadText(entry.path());
    }
    return log;
  }
  std::string CgroupOf(const Json& pod) const {
    return StrCat(cgroup_->path(), "/pods/",
                  pod["metadata"]["uid"].get<std::string>(), "/c");
  }
  // The container's processes, as this machine sees them.
  std::vector<int> Pids(const Json& pod) const {
    std::vector<int> pids;
    std::istringstream list(ReadText(CgroupOf(pod) + "/cgroup.procs"));
    for (int pid; list >> pid;) pids.push_back(pid);
    return pids;
  }
  Port KubeletPort() const {
    int port = 0;
    EXPECT_TRUE(Eventually([&] {
      port = Api("GET", "/api/v1/nodes/node-1")
                 .value(Json::json_pointer(
                            "/status/daemonEndpoints/kubeletEndpoint/Port"),
                        0);
      return port != 0;
    }));
    return static_cast<Port>(port);
  }
  size_t PodDirs() const {
    std::error_code error;
    const fs::directory_iterator list(Path("root/pods"), error);
    return static_cast<size_t>(std::distance(begin(list), end(list)));
  }
  void ExpectNothingLeft() {
    EXPECT_TRUE(Eventually([&] { return PodDirs() == 0; }));
    EXPECT_TRUE(fs::is_empty(Path("netns")));
    EXPECT_THAT(*node_->Command("ip -o link"),
                ::testing::Not(HasSubstr("flp")));
    for (const auto& entry :
         fs::directory_iterator(cgroup_->path() + "/pods")) {
      EXPECT_FALSE(entry.is_directory()) << entry.path();
    }
  }

  std::optional<harness::NetnsScope> node_, other_;
  std::optional<harness::CgroupScope> cgroup_;
  std::optional<harness::TempDirScope> dir_;
  std::vector<std::string> extra_flags_;  // of the kubelet
  std::string address_ = kNode4;          // of its server; "": the default
  pid_t api_ = 0, kubelet_ = 0;
  Port api_port_ = 0;
};

}  // namespace fairlead

#endif  // FAIRLEAD_TESTS_NETNS_KUBELET_FIXTURE_H_
