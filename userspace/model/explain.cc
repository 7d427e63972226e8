// SPDX-License-Identifier: Apache-2.0
#include "userspace/model/explain.h"

#include <algorithm>

namespace fairlead::model {
namespace {

std::vector<ExplainedEndpoint> ExplainEndpoints(
    const std::vector<JoinedEndpoint>& joined, const TrafficPolicy& policy) {
  std::vector<EndpointTraits> traits;
  traits.reserve(joined.size());
  for (const JoinedEndpoint& e : joined) traits.push_back(e.traits);
  const Standings standings = ExplainCategories(traits, policy);
  std::vector<ExplainedEndpoint> out;
  out.reserve(joined.size());
  for (size_t i = 0; i < joined.size(); ++i) {
    out.push_back({joined[i].address, traits[i], standings.cluster[i],
                   standings.local[i]});
  }
  return out;
}

}  // namespace

std::optional<ExplainedFrontend> ExplainFrontend(
    const kube::Service& service, absl::Span<const Slice* const> slices,
    const Places& places, const L4Address& frontend) {
  const std::vector<FrontendClaim> claims = FrontendClaims(service);
  auto claim = std::find_if(
      claims.begin(), claims.end(),
      [&frontend](const FrontendClaim& c) { return c.address == frontend; });
  if (claim == claims.end()) return std::nullopt;
  const kube::ServicePort& port = service.ports[claim->port];
  ExplainedFrontend out;
  out.port_name = port.name;
  out.kind = claim->kind;
  out.sets = SetsOf(service, claim->kind);
  out.internal_local = service.internal_local;
  out.external_local = service.external_local;
  out.endpoints = ExplainEndpoints(
      JoinEndpoints(port, claim->family, slices, places),
      PolicyOf(service, claims, claim->port, claim->family));
  return out;
}

}  // namespace fairlead::model
