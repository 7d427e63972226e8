// SPDX-License-Identifier: Apache-2.0
// ServiceCIDR objects as a Service proxy reads them (k8s networking.k8s.io/v1).
// Values only.
#ifndef FAIRLEAD_USERSPACE_KUBE_SERVICE_CIDR_H_
#define FAIRLEAD_USERSPACE_KUBE_SERVICE_CIDR_H_

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"
#include "userspace/kube/encoded_object.h"
#include "userspace/kube/objects.h"

namespace fairlead::kube {

// Ranges that ClusterIPs are taken from.
struct ServiceCidr {
  ObjectMeta meta;
  std::vector<IpPrefix> cidrs;  // spec.cidrs

  friend bool operator==(const ServiceCidr&, const ServiceCidr&) = default;
};

// As DecodeService().
[[nodiscard]] absl::StatusOr<ServiceCidr> DecodeServiceCidr(
    const EncodedObject& from);
[[nodiscard]] absl::StatusOr<ServiceCidr> DecodeServiceCidr(
    std::string_view json);

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_SERVICE_CIDR_H_
