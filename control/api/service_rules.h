// SPDX-License-Identifier: Apache-2.0
// Which fields a Service of some shape has: asked by defaults, validation and
// allocation alike. Pure functions of the object.
#ifndef FAIRLEAD_CONTROL_API_SERVICE_RULES_H_
#define FAIRLEAD_CONTROL_API_SERVICE_RULES_H_

#include <nlohmann/json_fwd.hpp>

#include "control/api/kind.h"

namespace fairlead::api {

// ClusterIP, NodePort, LoadBalancer.
bool NeedsClusterIp(const Json& service);
bool IsHeadless(const Json& service);
bool NeedsNodePorts(const Json& service);  // NodePort and LoadBalancer
// A LoadBalancer may be told to do without.
bool AllocatesNodePorts(const Json& service);
bool NeedsHealthCheckNodePort(const Json& service);
bool IsExternallyAccessible(const Json& service);

// What the allocator must know to be right before it claims anything: the
// cluster IP, IP family and policy fields, each by itself and together.
FieldErrors ValidateClusterIpFields(const Json& service);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_SERVICE_RULES_H_
