// SPDX-License-Identifier: Apache-2.0
// Keeps the EndpointSlices of each Service with a selector.
#ifndef FAIRLEAD_CONTROL_CONTROLLERS_ENDPOINT_SLICE_H_
#define FAIRLEAD_CONTROL_CONTROLLERS_ENDPOINT_SLICE_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "control/controllers/object.h"
#include "control/controllers/plan.h"
#include "control/controllers/shell.h"

namespace fairlead::controllers {

// The label of a slice that names its Service.
inline constexpr char kServiceName[] = "kubernetes.io/service-name";

// An annotation of slices and of Endpoints: EndpointSliceFacts::trigger.
inline constexpr char kTriggerTime[] =
    "endpoints.kubernetes.io/last-change-trigger-time";

struct EndpointSliceFacts {
  Object service;
  std::vector<Object> pods;    // of its namespace
  std::vector<Object> slices;  // labelled with its name, whoever manages them
  absl::flat_hash_map<std::string, Object> nodes;  // by name
  // When the change happened that this plan answers to: a Service that was
  // made, a pod that became ready or ceased to be. Others leave no trace of
  // their time, as in Kubernetes: nobody measures how long they take.
  std::optional<absl::Time> trigger;
  int max_endpoints = 100;
};

// Endpoints that stay keep their slice and place, so that a change of one pod
// is a change of one slice.
Plan PlanEndpointSlices(const EndpointSliceFacts& facts);

// A change of a pod that EndpointSliceFacts::trigger counts. Either may be null.
bool ReadinessChanged(const Object& before, const Object& after);

// The ports of a slice, or of a subset of Endpoints, with their defaults
// filled in: equal when they mean the same.
Json NormalPorts(const Json& ports);

class EndpointSliceController {
 public:
  explicit EndpointSliceController(const Context& context);
  Shell& shell() { return shell_; }

 private:
  EndpointSliceFacts Facts(const std::string& key, const Object& service);
  void Add(const Object& service, std::optional<absl::Time> trigger);
  void PodChanged(const Object& before, const Object& after);
  void SliceChanged(const Object& before, const Object& after);
  void NodeChanged(const Object& before, const Object& after);

  Context context_;
  // When the oldest such change came in that has not been planned for.
  absl::flat_hash_map<std::string, absl::Time> triggers_;
  Shell shell_;
};

}  // namespace fairlead::controllers

#endif  // FAIRLEAD_CONTROL_CONTROLLERS_ENDPOINT_SLICE_H_
