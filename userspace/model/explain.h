// SPDX-License-Identifier: Apache-2.0
// Why a frontend looks as it does: its policy, and where each endpoint of its
// service port stands. For people; by the functions that Compile() uses.
// Pure functions.
#ifndef FAIRLEAD_USERSPACE_MODEL_EXPLAIN_H_
#define FAIRLEAD_USERSPACE_MODEL_EXPLAIN_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "userspace/model/compile.h"

namespace fairlead::model {

struct ExplainedEndpoint {
  L4Address address;
  EndpointTraits traits;
  EndpointStanding cluster = EndpointStanding::kSetUnused;
  EndpointStanding local = EndpointStanding::kSetUnused;

  EndpointStanding in(EndpointSet set) const {
    return set == EndpointSet::kCluster ? cluster : local;
  }
};

struct ExplainedFrontend {
  std::string port_name;
  FrontendKind kind = FrontendKind::kClusterIp;
  SetsOfFrontend sets;
  bool internal_local = false;  // internalTrafficPolicy: Local
  bool external_local = false;  // externalTrafficPolicy: Local
  std::vector<ExplainedEndpoint> endpoints;  // by address
};

// nullopt: the Service has no such frontend.
std::optional<ExplainedFrontend> ExplainFrontend(
    const kube::Service& service, absl::Span<const Slice* const> slices,
    const Places& places, const L4Address& frontend);

}  // namespace fairlead::model

#endif  // FAIRLEAD_USERSPACE_MODEL_EXPLAIN_H_
