// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/box.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "userspace/base/strings.h"
#include "userspace/cli/process.h"

namespace fairlead::e2e {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string TempFile() {
  char path[] = "/tmp/fairlead-e2e-XXXXXX";
  int fd = mkstemp(path);
  if (fd >= 0) close(fd);
  return path;
}

}  // namespace

TestBox::TestBox(std::string name, std::string root)
    : name_(std::move(name)), root_(std::move(root)) {
  environment_ =
      StrCat("export PATH=", FAIRLEAD_BINARY_DIR, "/bin:$PATH KUBECONFIG=",
             dir(), "/kubeconfig KUBECACHEDIR=", root_, "/kubecache; ");
}

absl::StatusOr<std::unique_ptr<TestBox>> TestBox::Start(
    const std::string& name, const std::string& up_flags) {
  // A fixed place: what a run that was killed left behind is found and ended.
  std::string root = "/tmp/fairlead-e2e-" + name;
  auto box = std::unique_ptr<TestBox>(new TestBox(name, root));
  box->flags_ = up_flags;
  CommandResult down = box->Run(StrCat("fairleadctl cluster down -q --name ",
                                       name, " --dir ", root));
  if (down.exit_code != 0) return absl::InternalError(down.err);
  CommandResult up = box->Run(StrCat("fairleadctl cluster up --name ", name,
                                     " --dir ", root, " ", up_flags));
  if (up.exit_code != 0) {
    return absl::InternalError(StrCat("cluster up: ", up.out, up.err, "\n",
                                      box->Run("tail -n 20 " + box->dir() +
                                               "/logs/*.log")
                                          .out));
  }
  return box;
}

TestBox::~TestBox() {
  if (testing::Test::HasFailure())
    std::puts(Run("tail -n 30 " + dir() + "/logs/*.log").out.c_str());
  CommandResult down = Run(StrCat("fairleadctl cluster down -q --name ", name_,
                                  " --dir ", root_));
  if (down.exit_code != 0) std::fputs(down.err.c_str(), stderr);
  Run("rm -rf " + root_);
}

CommandResult TestBox::Run(const std::string& command) const {
  CommandResult result;
  std::string err = TempFile(), out = TempFile();
  std::string line = StrCat("{ ", environment_, command, "\n} >", out, " 2>",
                            err, " </dev/null");
  int status = std::system(line.c_str());
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  result.out = ReadFile(out);
  result.err = ReadFile(err);
  unlink(out.c_str());
  unlink(err.c_str());
  return result;
}

std::string TestBox::Must(const std::string& command) const {
  CommandResult result = Run(command);
  EXPECT_EQ(result.exit_code, 0) << command << "\n"
                                 << result.out << result.err;
  return result.out;
}

json TestBox::MustJson(const std::string& command) const {
  json document = json::parse(Must(command), nullptr, false);
  EXPECT_FALSE(document.is_discarded()) << command;
  return document.is_discarded() ? json::object() : document;
}

CommandResult TestBox::Exec(const std::string& where,
                            const std::string& command) const {
  return Run(StrCat("fairleadctl cluster exec --name ", name_, " --dir ",
                    root_, " ", where, " -- ", command));
}

json TestBox::Load(const std::string& where, const std::string& target,
                   const std::string& flags, bool packet_path) const {
  CommandResult result = Run(
      StrCat("fairleadctl cluster exec --name ", name_, " --dir ", root_,
             packet_path ? " --packet-path " : " ", where,
             " -- fairlead-load --target ", target, " ", flags));
  json document = json::parse(result.out, nullptr, false);
  EXPECT_TRUE(document.is_object()) << result.out << result.err;
  return document.is_object() ? document : json::object();
}

void TestBox::Apply(const std::string& yaml) const {
  Must(StrCat("cat <<'MANIFEST' | fairleadctl apply -f -\n", yaml,
              "\nMANIFEST"));
}

json TestBox::Get(const std::string& what) const {
  return MustJson(StrCat("fairleadctl get ", what, " -o json"));
}

bool TestBox::Eventually(const std::string& what,
                         const std::function<bool()>& done,
                         absl::Duration limit) const {
  absl::Time deadline = absl::Now() + limit;
  while (absl::Now() < deadline) {
    if (done()) return true;
    absl::SleepFor(absl::Milliseconds(20));
  }
  ADD_FAILURE() << "not within " << limit << ": " << what;
  return false;
}

std::vector<std::string> TestBox::Pods(const std::string& selector) const {
  std::vector<std::string> names;
  json pods = Get("pods -l " + selector);
  for (const json& pod : pods["items"]) {
    if (!pod["metadata"].contains("deletionTimestamp"))
      names.push_back(pod["metadata"]["name"]);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool TestBox::RolledOut(const std::string& deployment) const {
  json object = Get("deployments " + deployment);
  const json& status = object["status"];
  int want = object["spec"]["replicas"];
  return status.value("observedGeneration", 0) ==
             object["metadata"].value("generation", -1) &&
         status.value("replicas", 0) == want &&
         status.value("updatedReplicas", 0) == want &&
         status.value("availableReplicas", 0) == want;
}

std::vector<std::string> TestBox::KernelBackends(
    const std::string& node, const std::string& service) const {
  std::vector<std::string> out;
  json reply = MustJson(StrCat("fairleadctl backend list default/", service,
                               " --socket ", dir(), "/", node,
                               "/agent.sock -o json"));
  for (const json& backend : reply.value("backends", json::array()))
    if (backend["state"] == "on") out.push_back(backend["address"]);
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<std::string> TestBox::ApiBackends(
    const std::string& service) const {
  std::vector<std::string> out;
  json slices =
      Get("endpointslices -l kubernetes.io/service-name=" + service);
  for (const json& slice : slices["items"]) {
    for (const json& endpoint : slice.value("endpoints", json::array())) {
      if (!endpoint["conditions"].value("ready", false)) continue;
      std::string address = endpoint["addresses"][0];
      if (slice["addressType"] == "IPv6") address = "[" + address + "]";
      for (const json& port : slice["ports"]) {
        out.push_back(StrCat(address, ":", port["port"].get<int>(), "/",
                             port["protocol"].get<std::string>()));
      }
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

void TestBox::Kill(const std::string& component) const {
  json record = json::parse(
      ReadFile(StrCat(dir(), "/run/", component, ".json")), nullptr, false);
  ASSERT_TRUE(record.is_object()) << component;
  cli::ProcessIdentity process{record["pid"], record["startTicks"]};
  ASSERT_TRUE(process.IsAlive()) << component;
  ASSERT_EQ(kill(process.pid, SIGKILL), 0);
  Eventually(component + " is gone", [&] { return !process.IsAlive(); });
}

void TestBox::Up() const {
  Must(StrCat("fairleadctl cluster up -q --name ", name_, " --dir ", root_,
              " ", flags_));
}

void TestBox::SetLink(const std::string& node, bool up) const {
  Must(StrCat("ip netns exec fl-", name_, "-fabric ip link set ", node,
              up ? " up" : " down"));
}

void TestBox::KillNode(const std::string& node) const {
  SetLink(node, false);
  Kill("agent-" + node);
  Kill("kubelet-" + node);
  Must(StrCat("echo 1 >$(awk '$3 == \"cgroup2\" {print $2; exit}' "
              "/proc/mounts)/fairlead-",
              name_, "/", node, "/cgroup.kill"));
}

RunningLoad::RunningLoad(const TestBox& box, const std::string& where,
                         const std::string& target, const std::string& flags)
    : box_(&box), what_(StrCat(where, " -> ", target, " ", flags)) {
  static int number = 0;
  out_ = StrCat(box.dir(), "/load-", ++number);
  box.Must(StrCat("(fairleadctl cluster exec --name ", box.name(), " --dir ",
                  box.dir().substr(0, box.dir().rfind('/')), " ", where,
                  " -- fairlead-load --duration 120s --target ", target, " ",
                  flags, " >", out_, " 2>&1 & echo $! >", out_, ".pid)"));
  std::ifstream(out_ + ".pid") >> pid_;
}

RunningLoad::RunningLoad(RunningLoad&& other) noexcept
    : box_(other.box_),
      what_(std::move(other.what_)),
      pid_(std::exchange(other.pid_, "")),
      out_(std::move(other.out_)) {}

RunningLoad::~RunningLoad() {
  if (!pid_.empty()) End();
}

json RunningLoad::End() {
  const std::string pid = std::exchange(pid_, "");
  box_->Must(StrCat("pid=", pid, "; kill -TERM $pid; while kill -0 $pid "
                    "2>/dev/null; do sleep 0.02; done"));
  const std::string text = ReadFile(out_);
  json result = json::parse(text, nullptr, false);
  EXPECT_TRUE(result.is_object()) << what_ << ": " << text;
  return result.is_object() ? result : json::object();
}

void RunningLoad::ExpectNoneFailed() {
  json result = End();
  EXPECT_EQ(result.value("failed", -1), 0) << what_ << result.dump();
  EXPECT_GT(result.value("ok", 0), 20) << what_ << result.dump();
}

std::string EchoManifest(const std::string& name, int replicas, int node_port,
                         const std::string& release) {
  std::string yaml = R"(apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: NAME}}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: echo
        image: host
        command: [fairlead-echo, --http, "8080", --tcp, "7000", --udp, "7000"]
        env:
        - {name: POD_ENV, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: RELEASE, value: "RELEASE_VALUE"}
        ports:
        - {name: http, containerPort: 8080}
        readinessProbe:
          httpGet: {path: /healthz, port: http}
          periodSeconds: 1
          failureThreshold: 1
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  TYPE
  ipFamilyPolicy: PreferDualStack
  selector: {app: NAME}
  ports:
  - {name: http, port: 80, targetPort: httpNODEPORT}
  - {name: tcp, port: 7, targetPort: 7000}
  - {name: udp, port: 7, targetPort: 7000, protocol: UDP}
)";
  bool outside = node_port != 0;
  return absl::StrReplaceAll(
      yaml,
      {{"POD_ENV", "POD_NAME"},
       {"NAME", name},
       {"REPLICAS", std::to_string(replicas)},
       {"RELEASE_VALUE", release},
       {"TYPE", outside ? "type: NodePort" : "type: ClusterIP"},
       {"NODEPORT", outside ? StrCat(", nodePort: ", node_port) : ""}});
}

}  // namespace fairlead::e2e
