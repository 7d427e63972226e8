// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/controllers.h"

#include "control/controllers/daemon_set.h"
#include "control/controllers/deployment.h"
#include "control/controllers/disruption.h"
#include "control/controllers/endpoint_mirror.h"
#include "control/controllers/endpoint_slice.h"
#include "control/controllers/endpoints.h"
#include "control/controllers/garbage.h"
#include "control/controllers/job.h"
#include "control/controllers/namespace.h"
#include "control/controllers/node_ipam.h"
#include "control/controllers/node_ttl.h"
#include "control/controllers/replica_set.h"
#include "control/controllers/role_aggregation.h"
#include "control/controllers/root_ca.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {

class Controllers::Impl {
 public:
  Impl(const Context& context, const ControllersOptions& options)
      : namespaces_(context),
        nodes_(context, options.node_lifecycle),
        ipam_(context, options.cluster_cidrs),
        ttl_(context),
        deployments_(context),
        replica_sets_(context),
        daemon_sets_(context),
        jobs_(context),
        disruption_(context),
        endpoint_slices_(context),
        endpoints_(context),
        mirror_(context),
        essentials_(context, options.essentials),
        root_ca_(context, options.root_ca_pem),
        roles_(context),
        garbage_(context),
        cleanup_(context, options.cleanup) {}

  std::vector<Shell*> Shells() {
    return {&namespaces_.shell(),      &nodes_.shell(),
            &ipam_.shell(),            &ttl_.shell(),
            &deployments_.shell(),     &replica_sets_.shell(),
            &daemon_sets_.shell(),     &jobs_.shell(),
            &disruption_.shell(),      &endpoint_slices_.shell(),
            &endpoints_.shell(),       &mirror_.shell(),
            &essentials_.shell(),      &root_ca_.shell(),
            &roles_.shell(),           &garbage_.shell(),
            &cleanup_.shell()};
  }

 private:
  NamespaceController namespaces_;
  NodeLifecycleController nodes_;
  NodeIpamController ipam_;
  NodeTtlController ttl_;
  DeploymentController deployments_;
  ReplicaSetController replica_sets_;
  DaemonSetController daemon_sets_;
  JobController jobs_;
  DisruptionController disruption_;
  EndpointSliceController endpoint_slices_;
  EndpointsController endpoints_;
  EndpointMirrorController mirror_;
  EssentialsController essentials_;
  RootCaPublisher root_ca_;
  RoleAggregationController roles_;
  GarbageCollector garbage_;
  CleanupController cleanup_;
};

Controllers::Controllers(const Context& context,
                         const ControllersOptions& options)
    : impl_(std::make_unique<Impl>(context, options)) {}
Controllers::~Controllers() = default;

std::string Controllers::Metrics() const {
  std::string text;
  auto metric = [&](const char* name, uint64_t Shell::Stats::*field) {
    StrAppend(&text, "# TYPE ", name, " counter\n");
    for (Shell* shell : impl_->Shells()) {
      StrAppend(&text, name, "{controller=\"", shell->name(), "\"} ",
                shell->stats().*field, "\n");
    }
  };
  metric("fl_controller_plans_total", &Shell::Stats::plans);
  metric("fl_controller_writes_total", &Shell::Stats::writes);
  metric("fl_controller_conflicts_total", &Shell::Stats::conflicts);
  metric("fl_controller_errors_total", &Shell::Stats::errors);
  return text;
}

}  // namespace fairlead::controllers
