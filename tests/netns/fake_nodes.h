// SPDX-License-Identifier: Apache-2.0
// Nodes that exist only through the API: they register, renew their leases,
// report pods as running and confirm their end, as kubelets do. And a way to
// speak to the API from a test's thread.
//
// Threads: everything public may be called from the test's thread; the work
// is done on a loop thread of its own.
#ifndef FAIRLEAD_TESTS_NETNS_FAKE_NODES_H_
#define FAIRLEAD_TESTS_NETNS_FAKE_NODES_H_

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "userspace/kube/client.h"

namespace fairlead {

using Json = nlohmann::json;

class FakeCluster {
 public:
  explicit FakeCluster(const std::string& url);
  ~FakeCluster();

  // --- the API, from the test's thread; waits for the answer
  absl::StatusOr<Json> Create(const kube::Resource& r, const Json& object);
  absl::StatusOr<Json> Get(const kube::Resource& r, const std::string& name,
                           const std::string& ns = "default");
  // Merge patch.
  absl::StatusOr<Json> Patch(const kube::Resource& r, const std::string& name,
                             const Json& patch,
                             const std::string& ns = "default");
  absl::Status Delete(const kube::Resource& r, const std::string& name,
                      const std::string& propagation = "Background",
                      const std::string& ns = "default");
  std::vector<Json> List(const kube::Resource& r,
                         const std::string& ns = "default",
                         const std::string& query = "");

  // --- nodes
  void AddNode(const std::string& name);
  // The machine is off: no lease, no status, pods stay as they are.
  void Silence(const std::string& name);
  void Revive(const std::string& name);

  // --- what the pods went through, as a watch saw it
  struct Extremes {
    int min_ready = 0;  // of pods that aren't being deleted
    int max_alive = 0;
  };
  // Of pods with label app=`app`, from now on.
  void StartRecording(const std::string& app);
  Extremes StopRecording();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead

#endif  // FAIRLEAD_TESTS_NETNS_FAKE_NODES_H_
