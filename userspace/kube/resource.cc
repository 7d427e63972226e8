// SPDX-License-Identifier: Apache-2.0
#include "userspace/kube/resource.h"

#include "userspace/base/strings.h"
#include "userspace/kube/control_resources.h"
#include "userspace/kube/transport.h"

namespace fairlead::kube {
namespace {

void AppendSegment(std::string* path, std::string_view segment) {
  path->push_back('/');
  AppendPercentEncoded(path, segment);
}

Resource Core(std::string plural, std::string kind, bool namespaced = true) {
  return Resource{"", "v1", std::move(plural), std::move(kind), namespaced};
}

Resource Apps(std::string plural, std::string kind) {
  return Resource{"apps", "v1", std::move(plural), std::move(kind), true};
}

}  // namespace

std::string Resource::ApiVersion() const {
  return group.empty() ? version : StrCat(group, "/", version);
}

std::string Resource::Path(std::string_view ns, std::string_view name,
                           std::string_view subresource) const {
  std::string path = group.empty() ? "/api" : "/apis/";
  path += group;
  AppendSegment(&path, version);
  if (namespaced && !ns.empty()) {
    path += "/namespaces";
    AppendSegment(&path, ns);
  }
  AppendSegment(&path, plural);
  if (!name.empty()) AppendSegment(&path, name);
  if (!subresource.empty()) AppendSegment(&path, subresource);
  return path;
}

// Kept as function-local constants: the answers are references.
#define FL_RESOURCE(Function, ...)            \
  const Resource& Function() {                \
    static const Resource r = __VA_ARGS__;    \
    return r;                                 \
  }

FL_RESOURCE(Namespaces, Core("namespaces", "Namespace", false))
FL_RESOURCE(Nodes, Core("nodes", "Node", false))
FL_RESOURCE(Pods, Core("pods", "Pod"))
FL_RESOURCE(Services, Core("services", "Service"))
FL_RESOURCE(EndpointSlices, Resource{"discovery.k8s.io", "v1",
                                     "endpointslices", "EndpointSlice", true})
FL_RESOURCE(ConfigMaps, Core("configmaps", "ConfigMap"))
FL_RESOURCE(Secrets, Core("secrets", "Secret"))
FL_RESOURCE(ServiceAccounts, Core("serviceaccounts", "ServiceAccount"))
FL_RESOURCE(Events, Core("events", "Event"))
FL_RESOURCE(EventsV1, Resource{"events.k8s.io", "v1", "events", "Event", true})
FL_RESOURCE(Leases, Resource{"coordination.k8s.io", "v1", "leases", "Lease",
                             true})
FL_RESOURCE(ReplicaSets, Apps("replicasets", "ReplicaSet"))
FL_RESOURCE(Deployments, Apps("deployments", "Deployment"))
FL_RESOURCE(DaemonSets, Apps("daemonsets", "DaemonSet"))
FL_RESOURCE(ControllerRevisions,
            Apps("controllerrevisions", "ControllerRevision"))
FL_RESOURCE(Jobs, Resource{"batch", "v1", "jobs", "Job", true})
FL_RESOURCE(PodDisruptionBudgets,
            Resource{"policy", "v1", "poddisruptionbudgets",
                     "PodDisruptionBudget", true})
FL_RESOURCE(PriorityClasses, Resource{"scheduling.k8s.io", "v1",
                                      "priorityclasses", "PriorityClass",
                                      false})
FL_RESOURCE(ServiceCidrs, Resource{"networking.k8s.io", "v1", "servicecidrs",
                                   "ServiceCIDR", false})
FL_RESOURCE(IpAddresses, Resource{"networking.k8s.io", "v1", "ipaddresses",
                                  "IPAddress", false})
FL_RESOURCE(Endpoints, Core("endpoints", "Endpoints"))
FL_RESOURCE(ClusterRoles, Resource{"rbac.authorization.k8s.io", "v1",
                                   "clusterroles", "ClusterRole", false})
#undef FL_RESOURCE

}  // namespace fairlead::kube
