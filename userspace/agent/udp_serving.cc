// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/udp_serving.h"

#include <algorithm>
#include <utility>

namespace fairlead::agent {
namespace {

using Ports = std::vector<std::shared_ptr<const UdpServing::Port>>;

// As bpf/progs/socket.bpf.c.
bool IsDeclined(const model::Frontend& frontend) {
  return frontend.internal_verdict() == FL_VERDICT_DROP ||
         ((frontend.flags & FL_SERVICE_SOURCE_RANGES) != 0 &&
          (frontend.flags & FL_SERVICE_HOST_IN_RANGES) == 0);
}

Ports UdpPortsOf(const model::DesiredService& desired) {
  Ports ports;
  for (const model::DesiredPort& from : desired.ports) {
    if (from.protocol != Protocol::kUdp || from.frontends.empty()) continue;
    auto port = std::make_shared<UdpServing::Port>();
    for (const model::Frontend& frontend : from.frontends) {
      port->frontends.push_back(frontend.address);
      if (IsDeclined(frontend)) port->declined.insert(frontend.address);
    }
    for (const model::ServingEndpoint& endpoint : from.endpoints) {
      port->endpoints.insert(endpoint.address);
    }
    ports.push_back(std::move(port));
  }
  return ports;
}

bool Includes(const absl::flat_hash_set<L4Address>& all,
              const absl::flat_hash_set<L4Address>& some) {
  return std::all_of(some.begin(), some.end(), [&](const L4Address& address) {
    return all.contains(address);
  });
}

}  // namespace

UdpServing::Change UdpServing::Update(const std::string& service,
                                      const model::DesiredService& desired) {
  Change change;
  Ports before;
  if (auto it = services_.find(service); it != services_.end()) {
    before = std::move(it->second);
    services_.erase(it);
  }
  Ports now = UdpPortsOf(desired);
  for (const auto& port : now) {
    for (const L4Address& frontend : port->frontends) {
      auto [it, added] = table_.try_emplace(frontend, port);
      if (added || (it->second->declined.contains(frontend) &&
                    !port->declined.contains(frontend))) {
        change.new_frontends.push_back(frontend);
      }
      it->second = port;
    }
  }
  for (const auto& port : before) {
    // All its frontends have one Port now, as a rule: compared once.
    const Port* same = nullptr;
    for (const L4Address& frontend : port->frontends) {
      auto it = table_.find(frontend);
      if (it == table_.end()) continue;  // another Service had it meanwhile
      if (it->second == port) {
        table_.erase(it);
        change.lost = true;
      } else if (it->second.get() != same) {
        same = it->second.get();
        change.lost |= !Includes(same->endpoints, port->endpoints);
      }
    }
  }
  if (!now.empty()) services_[service] = std::move(now);
  return change;
}

bool UdpServing::Serves(const Table& table, const L4Address& frontend,
                        const L4Address& endpoint) {
  auto it = table.find(frontend);
  if (it == table.end()) {
    it = table.find({IpAddress::Unspecified(frontend.address.family()),
                     frontend.port, frontend.protocol});
  }
  return it != table.end() && it->second->endpoints.contains(endpoint);
}

}  // namespace fairlead::agent
