// SPDX-License-Identifier: Apache-2.0
// What every cluster has, kept true: the Service default/kubernetes with its
// EndpointSlice and Endpoints (where this API server is reached), the two
// system PriorityClasses, and the ServiceCIDR "kubernetes".
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_ESSENTIALS_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_ESSENTIALS_H_

#include <optional>
#include <string>
#include <vector>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"
#include "userspace/base/ip_address.h"

namespace fairlead::controllers {

struct EssentialsOptions {
  std::vector<IpPrefix> service_cidrs;
  // Where clients in the cluster reach the API server. None: it listens on
  // loopback alone, and the Service has no endpoint.
  std::optional<IpAddress> advertise;
  Port port = 0;
};

struct EssentialsFacts {
  bool has_default_namespace = false;
  // Null: there is none.
  Object service, slice, endpoints, node_critical, cluster_critical,
      service_cidr;
};

Plan PlanEssentials(const EssentialsFacts& facts,
                    const EssentialsOptions& options, absl::Time now);

class EssentialsController {
 public:
  EssentialsController(const Context& context,
                       const EssentialsOptions& options);
  Shell& shell() { return shell_; }

 private:
  Plan Make();

  Context context_;
  EssentialsOptions options_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_ESSENTIALS_H_
