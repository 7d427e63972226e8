// SPDX-License-Identifier: Apache-2.0
// Gives each namespace its default ServiceAccount and empties those that are
// being deleted.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_NAMESPACE_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_NAMESPACE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

struct NamespaceFacts {
  Object object;
  bool has_default_account = false;
  // What is left in one that is being deleted, by kind; read from the API
  // server itself.
  std::vector<std::pair<const kube::Resource*, std::vector<Json>>> content;
};

Plan PlanNamespace(const NamespaceFacts& facts, absl::Time now);

class NamespaceController {
 public:
  explicit NamespaceController(const Context& context);
  Shell& shell() { return shell_; }

 private:
  Plan Make(const std::string& key, const Shell::Answers& answers);

  Context context_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_NAMESPACE_H_
