// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/no_local_endpoints.h"

#include <algorithm>

namespace fairlead::agent {
namespace {

size_t IndexOf(IpFamily family) { return family == IpFamily::kIpv4 ? 0 : 1; }

// A port is dropped, and not refused, only for want of a local endpoint.
bool Drops(const model::DesiredPort& port,
           fl_verdict (model::Frontend::*verdict)() const, bool cluster_ip) {
  return std::any_of(port.frontends.begin(), port.frontends.end(),
                     [&](const model::Frontend& frontend) {
                       const bool is_cluster_ip =
                           frontend.kind == model::FrontendKind::kClusterIp;
                       return is_cluster_ip == cluster_ip &&
                              (frontend.*verdict)() == FL_VERDICT_DROP;
                     });
}

void Add(const NoLocalEndpoints::Counts& counts, int sign,
         NoLocalEndpoints::Counts* to) {
  to->internal += sign * counts.internal;
  to->external += sign * counts.external;
}

}  // namespace

void NoLocalEndpoints::Update(const std::string& service,
                              const model::DesiredService& desired) {
  ByFamily now = {};
  for (const model::DesiredPort& port : desired.ports) {
    Counts& counts = now[IndexOf(port.family)];
    counts.internal += Drops(port, &model::Frontend::internal_verdict, true);
    counts.external += Drops(port, &model::Frontend::external_verdict, false);
  }
  const bool any = std::any_of(now.begin(), now.end(), [](const Counts& c) {
    return c.internal + c.external > 0;
  });
  auto it = services_.find(service);
  for (size_t i = 0; i < now.size(); ++i) {
    if (it != services_.end()) Add(it->second[i], -1, &total_[i]);
    Add(now[i], 1, &total_[i]);
  }
  if (any) {
    services_[service] = now;
  } else if (it != services_.end()) {
    services_.erase(it);
  }
}

NoLocalEndpoints::Counts NoLocalEndpoints::total(IpFamily family) const {
  return total_[IndexOf(family)];
}

}  // namespace fairlead::agent
