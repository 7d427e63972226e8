// SPDX-License-Identifier: Apache-2.0
// Naming a kind of object in the Kubernetes API, and its paths.
#ifndef FAIRLEAD_USERSPACE_KUBE_RESOURCE_H_
#define FAIRLEAD_USERSPACE_KUBE_RESOURCE_H_

#include <string>
#include <string_view>

namespace fairlead::kube {

struct Resource {
  std::string group;  // "" for the core group
  std::string version = "v1";
  std::string plural;  // "services"
  std::string kind;    // "Service"
  bool namespaced = true;

  std::string ApiVersion() const;  // "v1", "apps/v1"
  // "/api/v1/namespaces/ns/services/name"; an empty `ns` lists all
  // namespaces, an empty `name` is the collection.
  std::string Path(std::string_view ns, std::string_view name,
                   std::string_view subresource = "") const;
};

// The kinds that Fairlead's own programs speak of.
const Resource& Namespaces();
const Resource& Nodes();
const Resource& Pods();
const Resource& Services();
const Resource& EndpointSlices();
const Resource& ConfigMaps();
const Resource& Secrets();
const Resource& ServiceAccounts();
const Resource& Events();     // core/v1
const Resource& EventsV1();   // events.k8s.io/v1
const Resource& Leases();
const Resource& ReplicaSets();
const Resource& Deployments();

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_RESOURCE_H_
