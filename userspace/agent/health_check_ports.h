// SPDX-License-Identifier: Apache-2.0
// The health-check NodePorts: an HTTP listener for each Service that has one,
// on each address that takes NodePorts. An outside load balancer asks there
// whether this node has an endpoint of the Service.
//
// A listener that can't be opened is reported once and tried again; the others
// are not affected. Owns the listeners.
//
// Threads: the event loop's only, callbacks too.
#ifndef FAIRLEAD_USERSPACE_AGENT_HEALTH_CHECK_PORTS_H_
#define FAIRLEAD_USERSPACE_AGENT_HEALTH_CHECK_PORTS_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "userspace/agent/http_server.h"
#include "userspace/base/event_loop.h"
#include "userspace/base/ip_address.h"
#include "userspace/model/cluster.h"

namespace fairlead::agent {

class HealthCheckPorts {
 public:
  // `service` is a key. After a report there is none about this port of the
  // Service until it could be opened everywhere.
  using OnFailure = std::function<void(const std::string& service, Port port,
                                       const absl::Status& status)>;
  HealthCheckPorts(EventLoop* loop, std::function<bool()> proxy_healthy,
                   OnFailure on_failure,
                   absl::Duration retry = absl::Seconds(5));

  // Where to listen from now on. Cheap if nothing changed.
  void SetAddresses(std::vector<IpAddress> addresses);
  // The Service's check as it is now; nullopt: none (any more).
  void Update(const std::string& service,
              const std::optional<model::Cluster::HealthCheck>& check);

  struct Stats {
    size_t checks = 0;
    size_t listeners = 0;
    size_t missing = 0;  // listeners that could not be opened
  };
  Stats stats() const;

 private:
  struct Check {
    model::Cluster::HealthCheck state;
    std::map<IpAddress, std::unique_ptr<HttpServer>> servers;
    size_t missing = 0;
    bool reported = false;
  };
  using Checks = std::map<std::string, Check>;

  // Opens and closes what differs; again later if some can't be opened.
  void Listen(const std::string& service, Check* check);
  void ListenAll();
  HttpReply Answer(const std::string& service, IpFamily family) const;

  EventLoop* loop_;
  std::function<bool()> proxy_healthy_;
  OnFailure on_failure_;
  absl::Duration retry_after_;
  std::vector<IpAddress> addresses_;
  Checks checks_;
  Timer retry_;
};

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_HEALTH_CHECK_PORTS_H_
