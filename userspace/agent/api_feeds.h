// SPDX-License-Identifier: Apache-2.0
// Follows Services, EndpointSlices and the own Node, and puts them into the
// model. An object that can't be decoded becomes the model's Problem. Follows
// ServiceCIDRs, too, if there are any: nothing waits for them, and a server
// without them, or that won't show them, isn't taken for unreachable.
//
// Threads: the event loop's only, callbacks too. The pointers outlive this.
#ifndef FAIRLEAD_USERSPACE_AGENT_API_FEEDS_H_
#define FAIRLEAD_USERSPACE_AGENT_API_FEEDS_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/objects.h"
#include "userspace/kube/reflector.h"
#include "userspace/kube/transport.h"
#include "userspace/model/cluster.h"

namespace fairlead::agent {

struct ApiFeedsCallbacks {
  // The model may have dirty Services, or a first list has been delivered.
  std::function<void()> on_change;
  // A slice's own word on when its endpoints changed.
  std::function<void(absl::Time)> on_endpoints_changed;
  // nullopt: there is no such Node.
  std::function<void(const std::optional<kube::Node>&)> on_node;
  // What the ServiceCIDR objects say now, one that is being deleted included;
  // empty: there are none, or the server hasn't them or won't show them. Not
  // before one of these is known.
  std::function<void(std::vector<IpPrefix>)> on_service_cidrs;
  // Connected (OK), or why not; only when it changes.
  std::function<void(const absl::Status&)> on_connection;
};

class ApiFeeds {
 public:
  ApiFeeds(EventLoop* loop, kube::Transport* transport,
           const std::string& node_name, model::Cluster* cluster,
           ApiFeedsCallbacks callbacks);
  ~ApiFeeds();

  void Start();
  // Services and EndpointSlices have each been listed whole.
  bool synced() const;
  bool node_synced() const;
  // OK when the watches of Services, EndpointSlices and the Node are.
  const absl::Status& connection() const;

  struct Watch {
    std::string resource;
    bool synced = false;
    std::string resource_version;
    kube::Reflector::Stats stats;
    size_t objects = 0;
    uint64_t undecodable = 0;  // without so much as a name
    uint64_t changes = 0;      // objects that were listed, put or deleted
  };
  std::vector<Watch> watches() const;
  uint64_t service_changes() const;
  uint64_t endpoint_changes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_API_FEEDS_H_
