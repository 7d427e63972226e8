// SPDX-License-Identifier: Apache-2.0
// Keeps the certificate of the cluster's authority in each namespace, in the
// ConfigMap kube-root-ca.crt, for pods to know the API server by: made when it
// is missing, put right when it is changed.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_ROOT_CA_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_ROOT_CA_H_

#include <string>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

struct RootCaFacts {
  Object ns;          // the namespace
  Object config_map;  // null when missing
};

Plan PlanRootCa(const RootCaFacts& facts, const std::string& ca_pem);

class RootCaPublisher {
 public:
  // `ca_pem` empty: publishes nothing.
  RootCaPublisher(const Context& context, std::string ca_pem);
  Shell& shell() { return shell_; }

 private:
  Context context_;
  std::string ca_pem_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_ROOT_CA_H_
