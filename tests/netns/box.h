// SPDX-License-Identifier: Apache-2.0
// A running cluster in a box for end-to-end tests: the built programs, real
// namespaces, real traffic. Commands are run through the shell, as a user
// would. Threads: one.
#ifndef FAIRLEAD_TESTS_NETNS_BOX_H_
#define FAIRLEAD_TESTS_NETNS_BOX_H_

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace fairlead::e2e {

using nlohmann::json;

struct CommandResult {
  int exit_code = -1;
  std::string out, err;
};

class TestBox {
 public:
  // Starts a cluster of this name with 2 nodes; `up_flags` are appended to
  // `fairleadctl cluster up`.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<TestBox>> Start(
      const std::string& name, const std::string& up_flags = "");
  // Takes it down; keeps the logs' last lines on standard output if a test
  // has failed.
  ~TestBox();

  // A shell command with KUBECONFIG and PATH set.
  CommandResult Run(const std::string& command) const;
  // Its standard output; a failed command fails the test.
  std::string Must(const std::string& command) const;
  json MustJson(const std::string& command) const;
  // `fairleadctl cluster exec` in `where`.
  CommandResult Exec(const std::string& where,
                     const std::string& command) const;
  // fairlead-load's JSON. `flags` such as "--count 100 --rate 500".
  json Load(const std::string& where, const std::string& target,
            const std::string& flags, bool packet_path = false) const;

  // Applies YAML text with `fairleadctl apply`.
  void Apply(const std::string& yaml) const;
  json Get(const std::string& what) const;  // fairleadctl get ... -o json

  // Asks every 20 ms until true; fails the test after `limit`.
  bool Eventually(const std::string& what, const std::function<bool()>& done,
                  absl::Duration limit = absl::Seconds(60)) const;

  // Names of the live pods that `selector` matches, sorted.
  std::vector<std::string> Pods(const std::string& selector) const;
  bool RolledOut(const std::string& deployment) const;
  // "ADDRESS:PORT" of the backends that `node`'s kernel has in state "on".
  std::vector<std::string> KernelBackends(const std::string& node,
                                          const std::string& service) const;
  // The same by the API: ready endpoints of the Service's slices.
  std::vector<std::string> ApiBackends(const std::string& service) const;

  // kill -9 of a component ("controller", "agent-node-1", ...) and waiting
  // until it is gone; `cluster up` starts it again.
  void Kill(const std::string& component) const;
  void Up() const;

  // A node's link to the others: what is sent to it is lost, unanswered.
  void SetLink(const std::string& node, bool up) const;
  // As by a power cut: its link, its daemons, all its pods' processes.
  void KillNode(const std::string& node) const;

  const std::string& name() const { return name_; }
  std::string dir() const { return root_ + "/" + name_; }

 private:
  TestBox(std::string name, std::string root);
  std::string name_, root_, flags_, environment_;
};

// fairlead-load in `where`, from now until End(), for two minutes at most.
class RunningLoad {
 public:
  // `box` has to outlive it. `flags` such as "--rate 100".
  RunningLoad(const TestBox& box, const std::string& where,
              const std::string& target, const std::string& flags = "");
  ~RunningLoad();
  RunningLoad(RunningLoad&& other) noexcept;

  json End();  // its JSON
  // Ends it; fails the test if it sent nothing or a request failed.
  void ExpectNoneFailed();

 private:
  const TestBox* box_;
  std::string what_, pid_, out_;
};

// A Deployment of fairlead-echo `name` and a Service of the same name with
// ports 80 (HTTP), 7 (TCP and UDP echo); `node_port` 0: ClusterIP only.
std::string EchoManifest(const std::string& name, int replicas, int node_port,
                         const std::string& release = "1");

}  // namespace fairlead::e2e

#endif  // FAIRLEAD_TESTS_NETNS_BOX_H_
