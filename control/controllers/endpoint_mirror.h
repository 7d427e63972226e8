// SPDX-License-Identifier: Apache-2.0
// Copies Endpoints that somebody made by hand, for a Service without a
// selector, into EndpointSlices: the only form that the agent reads.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_ENDPOINT_MIRROR_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_ENDPOINT_MIRROR_H_

#include <string>
#include <vector>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

struct EndpointMirrorFacts {
  Object service;              // of the Endpoints' name; null: none
  Object endpoints;            // null: none
  std::vector<Object> slices;  // labelled with that name, whoever manages them
};

// A slice for each address family and set of ports, at most 1,000 addresses
// in each; an address that is no IP address is left out. Nothing is copied of
// Endpoints that are labelled endpointslice.kubernetes.io/skip-mirror=true,
// that are a copy of slices themselves, or that hold a leader election.
Plan PlanEndpointMirror(const EndpointMirrorFacts& facts);

class EndpointMirrorController {
 public:
  explicit EndpointMirrorController(const Context& context);
  Shell& shell() { return shell_; }

 private:
  Plan Make(const std::string& key);

  Context context_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_ENDPOINT_MIRROR_H_
