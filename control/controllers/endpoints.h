// SPDX-License-Identifier: Apache-2.0
// Keeps the (old) Endpoints object of each Service with a selector: a copy of
// its EndpointSlices in the other form.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_ENDPOINTS_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_ENDPOINTS_H_

#include <string>
#include <vector>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

struct EndpointsFacts {
  Object service;              // null: there is none any more
  std::vector<Object> slices;  // of the slice controller, for this Service
  Object endpoints;            // of the Service's name; null: none
};

// At most 1,000 addresses are shown; an annotation says when there are more.
Plan PlanEndpoints(const EndpointsFacts& facts);

class EndpointsController {
 public:
  explicit EndpointsController(const Context& context);
  Shell& shell() { return shell_; }

 private:
  Plan Make(const std::string& key);

  Context context_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_ENDPOINTS_H_
