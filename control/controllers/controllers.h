// SPDX-License-Identifier: Apache-2.0
// All controllers of a control plane as one thing.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_CONTROLLERS_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_CONTROLLERS_H_

#include <memory>
#include <string>
#include <vector>

#include "control/controllers/cleanup.h"
#include "control/controllers/essentials.h"
#include "control/controllers/node_lifecycle.h"
#include "control/controllers/shell.h"
#include "userspace/base/ip_address.h"

namespace fairlead::controllers {

struct ControllersOptions {
  std::vector<IpPrefix> cluster_cidrs;
  NodeLifecycleOptions node_lifecycle;
  CleanupOptions cleanup;
  EssentialsOptions essentials;
  std::string root_ca_pem;  // of the cluster's authority; empty: none
};

class Controllers {
 public:
  // REQUIRES: before informers.Start(). The context's pointers outlive this.
  Controllers(const Context& context, const ControllersOptions& options);
  ~Controllers();

  // Prometheus text.
  std::string Metrics() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_CONTROLLERS_H_
