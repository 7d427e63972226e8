// SPDX-License-Identifier: Apache-2.0
// What one scheduling decision is made from: immutable views of the nodes and
// of what is placed on them, and the cache that makes them.
//
// A pod in the cache:
//
//   (unknown) -- Assume --> assumed -- seen bound --> placed
//       ^                     |  |                      |
//       '------- Forget ------'  '-- deleted, ended ----'--> (unknown)
//
// Assumed pods take up room from the moment of the decision, so that the next
// decision needn't wait until the API shows the last one.
//
// Threads: the cache belongs to the event loop; views may be shared.
#ifndef FAIRLEAD_CONTROL_SCHEDULER_SNAPSHOT_H_
#define FAIRLEAD_CONTROL_SCHEDULER_SNAPSHOT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "userspace/kube/host_ports.h"
#include "userspace/kube/informer.h"

namespace fairlead::scheduler {

using Json = nlohmann::json;
using kube::Object;

// Amounts by resource name: cpu in thousandths, all else in whole units.
using Amounts = std::map<std::string, int64_t, std::less<>>;

struct PodView {
  Object pod;
  std::string uid;
  std::string owner;  // uid of its controller, or empty
  // The highest of its init steps and its running containers; "pods" is 1.
  Amounts requests;
  std::vector<kube::HostPort> host_ports;
};
PodView PodViewOf(const Object& pod);

struct NodeView {
  Object node;
  std::string name;
  Amounts allocatable;
  Amounts requested;
  std::vector<kube::HostPort> host_ports;  // of placed and assumed pods
  // Placed and assumed pods by their owner's uid.
  std::map<std::string, int, std::less<>> pods_by_owner;
};

// In the order of names.
using Snapshot = std::vector<std::shared_ptr<const NodeView>>;

class Cache {
 public:
  void SetNode(const Object& node);
  void RemoveNode(const std::string& name);
  // The API shows the pod on a node, or no longer running or there at all.
  void SetPlaced(const Object& pod);
  void RemovePod(const std::string& uid);
  void Assume(const PodView& pod, const std::string& node);
  // The binding failed.
  void Forget(const std::string& uid);

  bool IsAssumed(const std::string& uid) const;
  // Shares the views: cheap.
  Snapshot TakeSnapshot() const;

 private:
  struct Placement {
    PodView pod;
    std::string node;
    bool assumed = false;
  };
  void Place(Placement placement);
  NodeView* Edit(const std::string& node);

  // Copied before a change, so that snapshots never change.
  std::map<std::string, std::shared_ptr<const NodeView>> nodes_;
  absl::flat_hash_map<std::string, Placement> pods_;  // by uid
};

}  // namespace fairlead::scheduler

#endif  // FAIRLEAD_CONTROL_SCHEDULER_SNAPSHOT_H_
