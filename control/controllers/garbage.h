// SPDX-License-Identifier: Apache-2.0
// Deletes what lost its owners, and carries out foreground deletion and
// orphaning for the API server, which only marks objects for them.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_GARBAGE_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_GARBAGE_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

enum class OwnerState {
  kPresent,
  // Being deleted in the foreground: it waits for this object.
  kWaiting,
  kAbsent,
};

struct GarbageFacts {
  const kube::Resource* resource = nullptr;
  Object object;
  // One for each of its ownerReferences.
  std::vector<OwnerState> owners;
  // What names it as an owner.
  std::vector<std::pair<const kube::Resource*, Object>> dependents;
};

Plan PlanGarbage(const GarbageFacts& facts);

class GarbageCollector {
 public:
  explicit GarbageCollector(const Context& context);
  Shell& shell() { return shell_; }

 private:
  Plan Make(const std::string& key, const Shell::Answers& answers);
  void Changed(const kube::Resource& resource, const Object& before,
               const Object& after);
  void Add(const kube::Resource& resource, const Json& object);
  std::vector<std::pair<const kube::Resource*, Object>> Dependents(
      std::string_view uid) const;

  Context context_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_GARBAGE_H_
