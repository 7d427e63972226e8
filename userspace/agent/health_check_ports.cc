// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/health_check_ports.h"

#include <algorithm>
#include <utility>

#include "userspace/agent/health.h"

namespace fairlead::agent {

HealthCheckPorts::HealthCheckPorts(EventLoop* loop,
                                   std::function<bool()> proxy_healthy,
                                   OnFailure on_failure, absl::Duration retry)
    : loop_(loop),
      proxy_healthy_(std::move(proxy_healthy)),
      on_failure_(std::move(on_failure)),
      retry_after_(retry) {}

void HealthCheckPorts::SetAddresses(std::vector<IpAddress> addresses) {
  if (addresses == addresses_) return;
  addresses_ = std::move(addresses);
  ListenAll();
}

void HealthCheckPorts::Update(
    const std::string& service,
    const std::optional<model::Cluster::HealthCheck>& state) {
  auto it = checks_.find(service);
  if (!state.has_value()) {
    if (it == checks_.end()) return;
    checks_.erase(it);
    // Another Service may have waited for its port.
    if (retry_.pending()) ListenAll();
    return;
  }
  if (it == checks_.end()) it = checks_.try_emplace(service).first;
  Check& check = it->second;
  if (check.state.port != state->port) {
    check.servers.clear();
    check.reported = false;
  }
  if (check.state == *state && check.missing == 0) return;
  check.state = *state;
  Listen(service, &check);
}

HealthCheckPorts::Stats HealthCheckPorts::stats() const {
  Stats stats;
  stats.checks = checks_.size();
  for (const auto& [service, check] : checks_) {
    stats.listeners += check.servers.size();
    stats.missing += check.missing;
  }
  return stats;
}

void HealthCheckPorts::Listen(const std::string& service, Check* check) {
  std::erase_if(check->servers, [&](const auto& server) {
    const IpAddress& address = server.first;
    return !check->state.local_ready(address.family()).has_value() ||
           std::find(addresses_.begin(), addresses_.end(), address) ==
               addresses_.end();
  });
  check->missing = 0;
  for (const IpAddress& address : addresses_) {
    if (!check->state.local_ready(address.family()).has_value() ||
        check->servers.contains(address)) {
      continue;
    }
    auto server = HttpServer::Listen(
        loop_, {address, check->state.port},
        [this, service, family = address.family()](std::string_view) {
          return Answer(service, family);
        });
    if (server.ok()) {
      check->servers.emplace(address, *std::move(server));
      continue;
    }
    ++check->missing;
    if (!std::exchange(check->reported, true)) {
      on_failure_(service, check->state.port, server.status());
    }
  }
  if (check->missing == 0) {
    check->reported = false;
  } else if (!retry_.pending()) {
    retry_ = loop_->After(retry_after_, [this] { ListenAll(); });
  }
}

void HealthCheckPorts::ListenAll() {
  retry_.Cancel();
  for (auto& [service, check] : checks_) Listen(service, &check);
}

HttpReply HealthCheckPorts::Answer(const std::string& service,
                                   IpFamily family) const {
  auto it = checks_.find(service);
  if (it == checks_.end()) return HttpReply();
  return ServiceHealthReply(
      service, it->second.state.local_ready(family).value_or(0),
      proxy_healthy_());
}

}  // namespace fairlead::agent
